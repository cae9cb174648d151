from .measuring import measure_classes as measure_classes
from .widget import AverageWidget as AverageWidget
