"""What every widget needs: panels, controls, workers, docks, settings, canvases.

`forms` (the panel and its controls), `numbers` (boxes), `worker` (jobs off the GUI's thread) and
`pacing`, `docking` and `lifetime`, `settings` (remembered choices), `saving`, `canvases` and
`spacing_plots`, `symbols`; `help` (the *?* of a widget), `keys` (declared once, listed), `texts`
(what people read, ready for translation).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
