"""What people touch in napari: `base`, `layers`, and a folder for each of the four widgets.

The only room that imports napari, Qt or magicgui. No arithmetic: controls become a frozen config,
a worker calls the core, `layers` shows what comes back.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
