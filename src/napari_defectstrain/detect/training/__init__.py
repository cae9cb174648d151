"""Training: windows drawn and rendered, checkpoints, calibrated probabilities.

`loop` trains; `windows`, `render_jobs`, `renderer` and `fourier_columns` make its images,
`calibrate` fits what makes its probabilities true, `resuming` looks at what was there before,
`previews` shows examples. Imports `detect.finding` and `detect.network`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
