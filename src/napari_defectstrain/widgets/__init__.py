"""What people touch in napari: a folder for each of the six widgets, and what they share.

`widgets.base` (panels, workers, docks), `widgets.layers` (our types to layers and back: a Points
layer becomes ``Sites`` there), `widgets.study` (edits kept in a study), `widgets.gallery` (every
detection, side by side), `widgets.detect`, `widgets.average`, `widgets.strain`, `widgets.train`,
`widgets.series`, and `widgets.workbench`, one dock for all. The only room that imports napari, Qt
or magicgui. No arithmetic: controls become a frozen config, a worker calls the core, layers show
what comes back.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
