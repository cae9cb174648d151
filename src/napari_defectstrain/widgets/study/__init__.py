"""Studies in napari: every edit kept as one works, the window as it was, the same in other words.

`keeper` writes edits of layers into an open study, `ties` says which layer is which of its images,
`restoring` makes the layers of a study, `arrangement` the rest of the window, `opening` opens and
saves, `bar` is the row of buttons, `reading` what napari calls for a folder that is dropped,
`copying` the buttons that copy a widget as command or Python.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
