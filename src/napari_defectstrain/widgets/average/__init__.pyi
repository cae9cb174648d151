from .measuring import measure_classes as measure_classes
from .results_panel import MEASUREMENT as MEASUREMENT
from .widget import AverageWidget as AverageWidget
