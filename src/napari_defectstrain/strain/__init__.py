"""Displacement and strain fields with their errors, and what is read off them.

`displacement`, `field` (maps), `interpolation`, `bands` (over the bootstrap), `triangles` (strain
without interpolation), `sublattices`, `lines` (along a line), `extrema`; `chi_squared` compares
fields. Imports the words only.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
