"""Strain of single-atom defects from ADF-STEM images of 2D crystals: a napari plugin.

The names below (``__all__``) are what a notebook needs; each is imported when it is first used.
"""

import lazy_loader

__version__ = "1.0.0rc1"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
