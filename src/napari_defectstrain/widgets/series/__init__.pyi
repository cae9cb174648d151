from .widget import SeriesWidget as SeriesWidget
