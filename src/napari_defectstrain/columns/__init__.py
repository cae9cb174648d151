"""A column's image, and fits of columns in class averages and in whole images.

`profiles`, `asymmetry` and `noise` are models that both fits share. `averages` and `images` hold
the fits. Imports `averages` (the room), `crystal` and the words.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
