"""The widget for series of frames: drift, sums, and what dose or time does to every site.

`widget`, `frames_table` (frames ticked off), `plots` (drift, classes and rates), `series_layers`
(sums and tracks as layers).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
