from .report_writing import ReportWriting as ReportWriting
from .widget import StrainWidget as StrainWidget
