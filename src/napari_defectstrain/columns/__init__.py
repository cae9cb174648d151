"""A column's image, and fits of columns in class averages and in whole images.

`profiles` (the image of one column, a spline learnt from the data), `asymmetry`, `gaussian`
and `noise` are models that both fits share, `types` their words. `columns.averages` and
`columns.images` hold the fits. Imports `averages` (the room), `crystal`, `io` and the words.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
