"""Files in, tables out: microscope files, pictures, tables of columns, JSON; checked, atomic.

Where to look: `files` (what others call), `formats` (a decoder for each kind of file: add new
ones there), `tiff`, `mrc`, `velox`, `file_limits` and `dm_tags` (sizes checked before a reader
believes them), `own_metadata` (what our own files may say), `file_names`, `rasters` (what a grey
image is), `pixels` (hot, dead and clipped ones), `tables` (``sites.csv``), `writing` (whole files
or none), `out_folder` and `unfinished` (folders of results and their mark). Imports the words only.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
