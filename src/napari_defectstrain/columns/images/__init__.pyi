from .measure import ImageColumnConfig as ImageColumnConfig
from .measure import ImageColumns as ImageColumns
from .measure import fit_image_columns as fit_image_columns
from .rendering import ColumnRenderer as ColumnRenderer
from .rendering import ComplexArray as ComplexArray
from .rendering import SpreadPoints as SpreadPoints
from .types import NOISES as NOISES
from .types import Aberrations as Aberrations
