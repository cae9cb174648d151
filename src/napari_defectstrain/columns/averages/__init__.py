"""Fits of class averages: all classes at once, with errors, bias and bounds.

`measure` chains them; `crowded` is the model of one average, `joint` its least squares, `models`
the three models, `single` the paper's Gaussians, `correction` their bias by simulation,
`probe_groups` images of unlike probe width, `cramer_rao` what noise allows; `types` are the
settings and results.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
