from .cramer_rao import average_bounds as average_bounds
from .measure import ColumnConfig as ColumnConfig
from .measure import ColumnFitModel as ColumnFitModel
from .measure import ColumnMeasurement as ColumnMeasurement
from .measure import fit_columns as fit_columns
from .measure import influence as influence
from .measure import measure_columns as measure_columns
from .measure import windows_covariance as windows_covariance
