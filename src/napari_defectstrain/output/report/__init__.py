"""The report of a folder of results: one page for a browser, one document for print.

`folder` reads what a run left, `checklist`, `methods`, `sheets` and `pictures` say what is in it,
`contents` puts that in order as `blocks`, `page` makes HTML of them and `document` a PDF. Imports
`output` and the rooms above; nothing is measured here.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
