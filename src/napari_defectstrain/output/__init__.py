"""Results as files: the folder of a run, its tables, its figures.

`results` writes a run's folder and, as the last, its ``run.json``; `tables` makes the tables,
`evaluation` writes an evaluation; `figures` draws. Imports `pipeline`, `evaluation` and the rooms
above.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
