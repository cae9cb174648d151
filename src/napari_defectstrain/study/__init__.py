"""A study: images, regions, columns and every correction of them, kept in a folder of open formats.

``NAME.defectstrain/`` is described in ``docs/file-formats.md``. `opening` is the study itself
(`create_study`, `open_study`) and `folder` its images and settings; `layout` its files, their
schema and how older ones are migrated; `journal` the edits, one line each, `replay` what they make
of the model's answer, `corrections` both with the files they are about; `windows` those left out by
hand; `locking` sees that one process at a time writes; `images` finds files again by their hash.
Imports `pipeline` and the rooms above; of what writes results it knows only where they lie.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
