from .widget import TrainWidget as TrainWidget
