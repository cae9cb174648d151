"""Shapes at the columns of a displacement field: error ellipses and triangles, y down."""

import numpy as np

from ...strain.displacement import error_ellipses
from ...strain.triangles import TriangleStrain
from ...types import DisplacementField


def ellipse_corners(field: DisplacementField, enlargement: float) -> list[np.ndarray]:
    """Corners of the boxes of error ellipses of one sigma at the tips of the arrows, y down [pm].

    Enlarged as the arrows are.
    """
    found = error_ellipses(field)
    known = np.isfinite(found.angle_rad) & np.isfinite(field.u_pm).all(axis=1)
    tip = field.site_pm[known] + enlargement * field.u_pm[known]
    angle, size = found.angle_rad[known], enlargement * found.semi_axes_pm[known]
    major = size[:, :1] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    minor = size[:, 1:] * np.stack([-np.sin(angle), np.cos(angle)], axis=1)
    corners = [tip + a * major + b * minor for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    xy = np.stack(corners, axis=1)  # (n, 4, 2)
    return list(np.stack([-xy[..., 1], xy[..., 0]], axis=-1))


def triangle_corners(triangles: TriangleStrain) -> list[np.ndarray]:
    """Corners of triangles of columns at their ideal sites, y down [pm]."""
    xy = triangles.vertices_pm  # (n, 3, 2)
    return list(np.stack([-xy[..., 1], xy[..., 0]], axis=-1))
