"""A series of frames becomes one image: drift, bad frames, scan lines, the sum.

`register` chains the steps; `shifts` and `spectra` find the drift between frames, `bad` says which
to leave out, `places` whether all show one place, `scan_lines` undoes jitter between lines, `sums`
adds up, `drift` is the table. Imports `crystal` and
the words.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
