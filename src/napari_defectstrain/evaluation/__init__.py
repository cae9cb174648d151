"""How good a detection is: scores against truth, calibration curves, and the oracle.

`scores` (Table S2), `calibration_curve`, `confusion`, `conditions`, `folders` (many images),
`oracle` (what could be known at best). Imports `io` and the words.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
