"""Theory beside measurement: Eshelby's inclusion, relaxed structures, multislice.

`elasticity` fits the inclusion, `field_symmetry` tests what it leaves, `reference` turns relaxed
supercells into fields, `multislice` into images. Imports `strain`, `columns`, `crystal` and the
words.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
