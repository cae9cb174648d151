"""From an image to its columns, by a network: `network`, `finding`, `training`.

`finding` needs no training, `training` needs both and calibrates the probabilities;
`detect.weights` and `detect.recipes` are files. torch is imported within modules that nothing
imports at import time. Imports `simulate`, `crystal`, `io` and the words.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
