"""One dock for the whole way: detect, average, strain, report.

`steps` says from the layers how far the work is and what comes next.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
