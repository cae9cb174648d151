"""The widget that shows displacement and strain beside theory.

`widget` with its `controls` and `table`; `reference_choice`; `comparing` (the worker's part),
`comparison_view`, `comparison_layers` and `comparison_text`; `profile_line` and `profile_plot`;
`figure_files`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
