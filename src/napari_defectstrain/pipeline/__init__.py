"""The only place that chains the stages: from files to measured classes.

`loading` (files to calibrated images), `placement` (tables of columns checked against pictures),
`runs` (settings and results), `chain` (detect, average, measure), `by_image` (what one image
answers for), `work` and `workers` (done once, here or elsewhere), `class_measurement`,
`measurement_cache` (nothing is fitted twice), `comparison` (measurement beside theory), `selftest`
(what is built in is found), `imitation` (simulated images that look alike), `companions` (other
signals at the same sites). Imports every room above but `evaluation`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
