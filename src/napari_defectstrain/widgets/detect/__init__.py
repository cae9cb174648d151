"""The widget that finds columns and lets people correct them.

`widget`, `edit_panel` (by hand), `pixel_size` and `calibrator`, `population_files` (tables); below
the viewer `weights_panel`, `patterns_panel` (do defects lie at random?) and `audit_panel`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
