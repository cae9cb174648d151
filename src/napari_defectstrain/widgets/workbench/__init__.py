"""One dock for the whole way: detect, average, strain, report.

`widget` holds the other widgets as its steps, `steps` says from the layers how far the work is and
what comes next, `run_all` takes the remaining steps, `report` is the last of them. `preferences`
and `key_list` are dialogs, `tour` leads through the sample, `layer_list` keeps the list of layers
short.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
