from .live_counts import gathering_of as gathering_of
from .measuring import measure_classes as measure_classes
from .results_panel import MEASUREMENT as MEASUREMENT
from .trying import run_of as run_of
from .widget import AverageWidget as AverageWidget
