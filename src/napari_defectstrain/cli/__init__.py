"""The command line, one module a command: thin layers over `pipeline` and `output`.

`main` holds the parser and the commands of the chain, `inputs` what these are made from, `resuming`
what is known already and who does the work; `columns`, `evaluate`, `merging`, `simulate`, `train`
and `watching` hold theirs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
