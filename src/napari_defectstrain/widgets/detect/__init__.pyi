from .widget import FROM_FILE as FROM_FILE
from .widget import DetectWidget as DetectWidget
