"""From sites to class averages: isolated defects, windows, registration, means with errors.

`candidates` chooses defects, `patches` and `windows` cut them out, `align` registers, `outliers`
decides which windows are left out and why, `average` means them; `probe_width` groups images,
`purity` says what a stack is expected to hold, `choice` and `counts` serve hand-picking,
`symmetry` averages over C3v. `detections` lists every detection for a person to look through,
`thumbnails` and `looks` say how each looks, `relabel` moves windows to the class that she gave
them. Imports `io`, `crystal` and the words.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
