"""Our types to napari layers and back: readers, samples, columns, averages, fields, edits.

`readers` and `samples` (File > Open), `placing`; `sites` (``Sites`` to a Points layer and back),
`corrections`, `editing` and `window_edits` (by hand, undone), `edit_history` (which came when);
`regions`; `averages`, `symmetric`, `column_points`, `column_shapes`, `fields` (arrows and maps),
`view_buttons`; `detected` (all images that were searched), `audit_marker` (one column to judge, and
nothing else), `window_marker` (where a window lies).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
