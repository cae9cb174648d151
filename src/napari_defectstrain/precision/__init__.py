"""How precise and how true: spacings, bootstrap, precision against N, the budget of errors.

`spacings`, `image_spacings` (before averaging), `bootstrap` (over windows and images), `summary`
and `curve` measure scatter, `image_scatter` what averaging leaves; `known_biases` subtracts what
contaminants and neighbours (`superposition`) add; `budget` and `budget_parts` keep what can't be
known; `class_fields` solves `field_equations` for the fields of all defects at once. Imports
`strain`, `judge` (places at the border), `columns`, `averages`, `crystal`, `io` and the words.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
