"""The crystal without its defects: lattice, domains, regions, structures.

`calibration` (pixel size by the lattice; refuses a stated one that is far off), `lattice` and
`honeycomb` (sites), `domains` and `regions` (grains, other phases, holes, dirt), found by
`region_search` on `region_evidence` and kept by `region_files`, `overlaps` (images of one place),
`populations` (counts and concentrations), `dispersion` (do they differ between images?),
`defect_patterns` (do defects lie at random? by `site_pairs`, `random_placement`, `pattern_counts`,
`envelopes` and `pattern_tables`), `structure_files` and `structures` (relaxed
supercells), `robust` (a sigma that outliers don't move). Imports the words and `io`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
