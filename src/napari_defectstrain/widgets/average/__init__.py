"""The widget that averages classes, measures them and lets people choose windows.

`widget` with its `controls` and `live_counts`; `measuring`; `results_panel`, `windows_view`,
`windows_model` and `window_pictures` show and choose windows.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
