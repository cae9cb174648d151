"""The widget that trains a network of one's own.

`widget`, `conditions` (what images are drawn from), `own_image`, `imitating` (simulate my image),
`examples`, `job` (the worker's part), `own_weights` (handed to the detect widget).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
