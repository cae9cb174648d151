"""The widget for series of frames: drift, sums, and what dose or time does to every site.

`widget`, `frames_table` (frames ticked off), `judged_frames` (what a study keeps of them), `plots`
(drift, classes and rates), `series_layers` (sums and tracks as layers).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
