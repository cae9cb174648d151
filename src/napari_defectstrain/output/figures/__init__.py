"""The paper's figures by matplotlib: no arithmetic here, and no file is written here."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
