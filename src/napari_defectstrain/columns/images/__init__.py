"""Fits of every column of whole images by maximum likelihood, neighbours included.

`measure` chains them; `start`, `fit`, `rendering`, `derivatives`, `system` and `steps` are the
fit's parts, `background` and `noise` what lies under and over the columns, `single` the paper's
Gaussians; `parts` cuts large images; `types` are the settings and results.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
