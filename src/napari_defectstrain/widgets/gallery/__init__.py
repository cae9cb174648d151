"""The gallery: every detection side by side, where classes are made.

`gathering` (what the layers hold, in a worker), `model` and `grid` (thumbnails), `scatter` (any two
features), `edits` (classes and choices, with undo), `walking` (what the model doubts most), `panel`
with its `controls`, `dock` (one of a viewer, for whoever opens it).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
