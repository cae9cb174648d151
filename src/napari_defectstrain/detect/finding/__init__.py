"""From an image to columns: prepare, tile, predict, locate.

`predict` chains them: `prepare` (sampling and contrast), `model` (networks made ready), `tiles`,
`locate` (maps to columns); `doubts` warns. Imports `detect.network`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
