"""The words of column fits: names of the models, and what a flagged fit failed by."""

MODELS = ("profile", "gaussians", "gaussian")

FLAGS = {
    "not_converged": 1,
    "at_bound": 2,
    "low_signal": 4,
    "overlapping": 8,
    "outside": 16,
}
"""Bits of `ColumnFits.flag`: the fit did not converge; the column left its site by more than
`ColumnConfig.max_shift_pm`; it is empty, its weight too small for a position; another column lies
closer than `ColumnConfig.min_distance_pm`; it left the pixels. A position flagged with any but
``overlapping`` is NaN."""
