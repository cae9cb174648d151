"""The paper's figures by matplotlib: no arithmetic here, and files in one place.

`maps`, `detection`, `populations`, `strain`, `profiles`, `precision` and `spacings` are figures by
subject, `panels` what they are put together from, `files` how they look in print and how they are
written.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
