"""The image as the judge: a column's class by its weight, in the picture in front of us.

`judge_images` takes the columns that a network found and what their image itself says: its column
profile, scan lines, background and noise (`picture`), and so the weight of every column with its
error; then the classes by a mixture whose means, widths and shares are the images' own (`mixture`,
`solving`). Needs no truth and no labels. Imports the words, `crystal`, `columns` and the cross
sections of `simulate`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
