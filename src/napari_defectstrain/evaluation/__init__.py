"""How good a detection is: scores against truth, calibration curves, and the oracle.

`score` (hits and Table S2), `calibration_curve`, `confusion`, `conditions`, `truth_tables` (what is
true, in any spelling), `folders` (many images), `tables`; `audit` (columns drawn for somebody to
label), `audit_scores`, `audit_folders`; `oracle` (what could be known at best) rests on
`known_image`. Imports `judge`, `crystal`, `io` and the words.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
