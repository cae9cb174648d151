"""A series of frames becomes one image: drift, bad frames, scan lines, the sum.

`register` chains the steps; `shifts` and `spectra` find how frames lie, `bad` which to leave out,
`scan_lines` jitter between lines, `sums` the common field, `drift` the table. Imports the words
only.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
