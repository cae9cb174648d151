from .measure import ImageColumnConfig as ImageColumnConfig
from .measure import ImageColumns as ImageColumns
from .measure import fit_image_columns as fit_image_columns
from .types import NOISES as NOISES
