from .widget import AverageWidget as AverageWidget
