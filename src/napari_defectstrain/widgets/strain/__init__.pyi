from .widget import StrainWidget as StrainWidget
