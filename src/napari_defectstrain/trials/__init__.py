"""What a microscope can measure, tried out on the user's own images.

`known_fields` says what is built in, and where; `moving` moves columns of an image by shifting what
is there; `twins` simulates images with the profile, noise and contamination of given ones. A look
(`looks`) is what images of one microscope say together: `look_seeing` asks one image,
`look_learning` pools them, `look_simulating` makes images of it, `look_training` tells what to
train on.
Imports `io`, `judge`, `simulate`, `averages`, `columns`, `crystal` and the words.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
