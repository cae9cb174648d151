"""Images with known truth: crystal, defects, probe, scan, dose, contamination.

`structure`, `patterns`, `lookalikes` and `relaxing` put atoms in place, `scattering` weighs
them, `probe` and `image` render, `acquisition` and `background` spoil; `dataset` chains them,
`conditions` draws settings for training, `samples` makes the bundled images. Imports `io`,
`crystal` and the words.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
