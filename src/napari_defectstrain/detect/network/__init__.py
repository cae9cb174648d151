"""The network, its settings, its weights and the calibration that travels with them.

`network` (layers and outputs), `folding` (as it is asked), `config`, `condition` (what it is told
of a material), `device`, `weights_file`, `bundled` (what is shipped), `calibration` (applied here,
fitted in training).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
