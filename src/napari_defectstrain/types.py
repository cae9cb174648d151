"""The data types that travel between the stages: frozen dataclasses of arrays, validation only.

Conventions (``docs/conventions.md``): positions in images are px, (y, x), 0-based, an integer
is a pixel's centre, y down. Positions in the lattice frame are pm, (x, y), y up, origin at the
ideal chalcogen column of the defect, whose nearest metal columns lie at 90, 210 and 330 degrees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]
StrArray = npt.NDArray[np.str_]

METAL, OTHER = 0, 6
"""First and last index of `materials.ROLES`: between them are the classes of chalcogen columns.

Classes that are named beside them (`materials.NamedClass`) follow, on chalcogen sites but for those
whose name ends in `ON_METAL`.
"""

ON_METAL = "@metal"
"""What the name of a class on metal sites ends in: neither the metal nor a chalcogen column."""

Progress = Callable[[float, str], None]
"""Called with the fraction done (0-1) and what is being done; may raise `Cancelled`."""


class DefectStrainError(ValueError):
    """Bad input: the message says what was got, what was expected and what to do."""


class Cancelled(Exception):
    """Raised by a progress callback when the user asked to stop."""


def no_progress(fraction: float, message: str) -> None:
    """The progress callback that does nothing."""


@dataclass(frozen=True)
class CalibratedImage:
    """One ADF-STEM image.

    Parameters
    ----------
    data : array, `(H, W)`
        Counts or intensities, finite and real.
    pixel_size_pm : float or None
        Side of a pixel [pm]; None where the file does not say.
    name : str
        Stem of the file or name of the layer.
    metadata : mapping
        What else the file says (beam energy, dwell time, ...).
    """

    data: FloatArray
    pixel_size_pm: float | None
    name: str = "image"
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.data.ndim != 2:
            raise DefectStrainError(
                f"{self.name}: got an array of shape {self.data.shape}, expected one 2D image"
            )


@dataclass(frozen=True)
class Sites:
    """All columns found in one image.

    Parameters
    ----------
    position_px : array, `(N, 2)`
        (y, x) of each column [px].
    probabilities : array, `(N, K)`
        Probability of each class, in the order of `class_names`.
    class_index : array, `(N,)`
        Class given to each column: an index into `class_names`.
    class_names : tuple of str
        Names in the order of the roles: metal, X2, XY, Y2, V1, V2, other; then named classes.
    source : array of str, `(N,)`
        ``model``, ``manual``, ``file`` or ``truth``.
    extra : mapping of str to array of str, `(N,)`
        Further columns of the table that the sites were read from, kept as they stood there.
    weight, weight_sigma : arrays, `(N,)`, optional
        Brightness of each column in units of the metal's, and its standard error, by the image
        itself (`judge`); None where that wasn't asked, NaN for columns that weren't weighed.
    """

    position_px: FloatArray
    probabilities: FloatArray
    class_index: IntArray
    class_names: tuple[str, ...]
    source: StrArray
    extra: Mapping[str, StrArray] = field(default_factory=dict)
    weight: FloatArray | None = None
    weight_sigma: FloatArray | None = None

    def __post_init__(self) -> None:
        n = len(self.position_px)
        expected = {
            "position_px": (n, 2),
            "probabilities": (n, len(self.class_names)),
            "class_index": (n,),
            "source": (n,),
        }
        given = {name: getattr(self, name) for name in expected} | dict(self.extra)
        weighed = {"weight": self.weight, "weight_sigma": self.weight_sigma}
        given |= {name: values for name, values in weighed.items() if values is not None}
        for name, values in given.items():
            if values.shape != (shape := expected.get(name, (n,))):
                raise DefectStrainError(f"Sites.{name}: got shape {values.shape}, expected {shape}")

    def __len__(self) -> int:
        return len(self.position_px)

    def subset(self, which: BoolArray) -> Sites:
        """The columns for which `which`, `(N,)`, is True."""
        return replace(
            self,
            position_px=self.position_px[which],
            probabilities=self.probabilities[which],
            class_index=self.class_index[which],
            source=self.source[which],
            extra={name: values[which] for name, values in self.extra.items()},
            weight=None if self.weight is None else self.weight[which],
            weight_sigma=None if self.weight_sigma is None else self.weight_sigma[which],
        )

    @property
    def class_name(self) -> StrArray:
        """Name of the class of each column, `(N,)`."""
        return np.asarray(self.class_names, dtype=np.str_)[self.class_index]

    @property
    def probability(self) -> FloatArray:
        """Probability of the class given to each column, `(N,)`."""
        return self.probabilities[np.arange(len(self)), self.class_index]

    @property
    def role(self) -> IntArray:
        """Class of each column for all that asks where it lies, `(N,)`.

        `METAL`; a class of chalcogen columns; `OTHER`, as which named classes on metal sites count.
        """
        strange = [OTHER if n.endswith(ON_METAL) else i for i, n in enumerate(self.class_names)]
        return np.asarray(np.array(strange, dtype=int)[self.class_index])

    @property
    def is_metal(self) -> BoolArray:
        """True for metal columns, `(N,)`; "other" ones on their sublattice are none."""
        return np.asarray(self.class_index == METAL)

    @property
    def is_chalcogen(self) -> BoolArray:
        """True for columns of the chalcogen sublattice, those of named classes too, `(N,)`."""
        role = self.role
        return np.asarray((role > METAL) & (role != OTHER))

    @property
    def is_other(self) -> BoolArray:
        """True for columns of no class that is averaged, `(N,)`: on or between the sublattices."""
        return np.asarray(self.role == OTHER)


@dataclass(frozen=True)
class ImageLattice:
    """The average lattice of one image: an affine map from the lattice frame to pixels.

    ``position_px = origin_px + matrix @ (x_pm, y_pm)``; `matrix` is `(2, 2)`, rows (y, x) px,
    columns (x, y) pm of an ideal lattice of constant `a_pm`. The origin is one chalcogen site.

    Parameters
    ----------
    origin_px : array, `(2,)`
        (y, x) of a chalcogen site [px].
    matrix : array, `(2, 2)`
        Derivative of the position in the image [px] by that in the lattice frame [pm].
    a_pm : float
        Lattice constant of the ideal lattice that `matrix` starts from [pm].
    measured_a_pm : float or None
        Lattice constant by the image's own pixel size [pm]; None without calibration.
    residual_pm : float
        Root mean square distance per axis of the metal columns from the fitted lattice [pm].
    """

    origin_px: FloatArray
    matrix: FloatArray
    a_pm: float
    measured_a_pm: float | None
    residual_pm: float

    def to_px(self, position_pm: FloatArray) -> FloatArray:
        """Positions in the lattice frame `(..., 2)` (x, y) [pm] to the image (y, x) [px]."""
        return np.asarray(self.origin_px + position_pm @ self.matrix.T)

    def to_pm(self, position_px: FloatArray) -> FloatArray:
        """Positions in the image `(..., 2)` (y, x) [px] to the lattice frame (x, y) [pm]."""
        return np.asarray((position_px - self.origin_px) @ np.linalg.inv(self.matrix).T)


@dataclass(frozen=True)
class Neighbours:
    """Other defects in and around the windows of a `ClassStack`.

    Parameters
    ----------
    window : array of int, `(K,)`
        Which window of the stack each lies near.
    class_index : array of int, `(K,)`
        Its role: an index into `materials.ROLES`.
    site_pm : array, `(K, 2)`
        Its ideal site, (x, y) in the window's lattice frame [pm].
    reach_pm : float
        All other defects whose sites lie within this distance of a window's centre are listed,
        as far as the image shows them.
    """

    window: IntArray
    class_index: IntArray
    site_pm: FloatArray
    reach_pm: float


@dataclass(frozen=True)
class KnownProbe:
    """What is known of the images' probe before windows are fitted.

    Parameters
    ----------
    amount, sigma : float
        Of aberrations, in standard deviations of the family of probes from its mean, and its
        standard error (`columns.probe_family`).
    """

    amount: float
    sigma: float


@dataclass(frozen=True)
class ClassStack:
    """Windows around the isolated columns of one class, resampled into the lattice frame.

    Parameters
    ----------
    class_name : str
        Name of the class, for instance ``SV``.
    windows : array, `(N, P, P)`
        Intensity in units of the image's mean metal-column height; P is odd, the central pixel is
        the origin of the lattice frame, y down in memory (row 0 is the largest y).
    step_pm : float
        Side of a pixel of the windows [pm].
    a_pm : float
        Lattice constant of the lattice frame [pm].
    image_index, site_index : arrays, `(N,)`
        Which image, and which of its `Sites`, a window comes from.
    position_px : array, `(N, 2)`
        (y, x) of the window's centre in its image [px].
    shift_pm : array, `(N, 2)`
        (x, y) by which registration moved the window [pm].
    probability : array, `(N,)`
        Probability of the class given to the window's centre.
    included : array of bool, `(N,)`
        False for windows left out.
    reason : array of str, `(N,)`
        Why a window is left out; empty where it is included, but for what a person put back
        (`averages.choice.PUT_BACK`).
    probabilities : array, `(N, K)`, optional
        Probability of every class at the window's centre.
    class_names : tuple of str
        Their names; empty where `probabilities` is None.
    overconfidence : float
        How many times oftener than their probabilities say the detector's columns of this class
        are of another one, at least 1; see `purity.expected_purity`.
    group : array of int, `(N,)`, optional
        Group of images of like probe width that a window belongs to; None: all are alike.
    neighbours : Neighbours, optional
        The other defects in and around the windows; None where they are not known.
    n_columns : int or None
        Columns that a crowded average is made of, whose windows stand for tiles of the images
        (`averages.crowded`); None where every window is that of one column.
    effective_n : float or None
        As many isolated windows would have told as much.
    on_metal : bool
        Whether the windows are centred on metal sites, and turned by 180 degrees.
    image_keys : tuple of str
        Hash of the pixels of each image that `image_index` counts; empty where they aren't known.
        What is drawn or added up image by image goes by these, not by the order given.
    probe : KnownProbe or None
        What all columns of images tell of their probe; None where windows are many enough to tell.
    """

    class_name: str
    windows: FloatArray
    step_pm: float
    a_pm: float
    image_index: IntArray
    site_index: IntArray
    position_px: FloatArray
    shift_pm: FloatArray
    probability: FloatArray
    included: BoolArray
    reason: StrArray
    probabilities: FloatArray | None = None
    class_names: tuple[str, ...] = ()
    overconfidence: float = 1.0
    group: IntArray | None = None
    neighbours: Neighbours | None = None
    n_columns: int | None = None
    effective_n: float | None = None
    on_metal: bool = False
    image_keys: tuple[str, ...] = ()
    probe: KnownProbe | None = None

    def in_content_order(self) -> ClassStack:
        """The same windows, their images numbered by `image_keys`."""
        order = np.argsort(np.array(self.image_keys, dtype=np.str_), kind="stable")
        if len(order) == 0:
            return self
        place = np.empty(len(order), dtype=int)
        place[order] = np.arange(len(order))
        keys = tuple(self.image_keys[i] for i in order.tolist())
        return replace(self, image_index=place[self.image_index], image_keys=keys)

    @property
    def n(self) -> int:
        """Number of windows that count."""
        return int(self.included.sum())


@dataclass(frozen=True)
class ClassAverage:
    """Mean of the included windows of a `ClassStack`.

    Parameters
    ----------
    class_name : str
    mean, sem : arrays, `(P, P)`
        Mean and its standard error, in units of the metal-column height.
    n, n_excluded : int
        Windows averaged, and windows left out.
    step_pm, a_pm : float
        As in `ClassStack`.
    purity : float
        Expected fraction of the windows averaged that are of this class, see
        `purity.expected_purity`.
    contaminants : mapping of class to float
        Expected fraction of the windows averaged that are of each other class; empty where only
        the probability of this class is known.
    on_metal : bool
        As in `ClassStack`.
    """

    class_name: str
    mean: FloatArray
    sem: FloatArray
    n: int
    n_excluded: int
    step_pm: float
    a_pm: float
    purity: float
    contaminants: Mapping[str, float] = field(default_factory=dict)
    on_metal: bool = False


def sublattice_names(is_metal: BoolArray, on_metal: bool) -> StrArray:
    """Names of the sublattices of columns around a chalcogen site, or around a metal one."""
    return np.where(is_metal != on_metal, "metal", "chalcogen")


@dataclass(frozen=True)
class ColumnFits:
    """Columns of one class average, fitted together.

    Parameters
    ----------
    class_name : str
    site_pm : array, `(M, 2)`
        Ideal site of each column, (x, y) in the lattice frame [pm].
    is_metal : array of bool, `(M,)`
        Whether it lies on the sublattice of the nearest columns: the metals around a chalcogen
        site, the chalcogens around a metal site (`on_metal`); see `sublattice`.
    position_pm : array, `(M, 2)`
        Fitted position [pm]; NaN where the fit failed or the column is empty.
    covariance_pm2 : array, `(2M, 2M)`
        Covariance of ``position_pm.ravel()`` from the scatter of the windows [pm^2].
    weight : array, `(M,)`
        Integrated intensity of the column in units of the mean metal column.
    flag : array of int, `(M,)`
        Bits, see `columns.types.FLAGS`; 0 is good.
    on_metal : bool
        Whether the centre is a metal site, in axes turned by 180 degrees.
    """

    class_name: str
    site_pm: FloatArray
    is_metal: BoolArray
    position_pm: FloatArray
    covariance_pm2: FloatArray
    weight: FloatArray
    flag: IntArray
    on_metal: bool = False

    @property
    def sublattice(self) -> StrArray:
        """``metal`` or ``chalcogen``, `(M,)`."""
        return sublattice_names(self.is_metal, self.on_metal)

    @property
    def sigma_pm(self) -> FloatArray:
        """Standard error of each position, `(M, 2)` (x, y) [pm]."""
        return np.asarray(np.sqrt(np.diag(self.covariance_pm2)).reshape(-1, 2))


@dataclass(frozen=True)
class DisplacementField:
    """Displacement of each column: its position in the class average minus that in the reference.

    Parameters
    ----------
    class_name : str
    site_pm : array, `(M, 2)`
        Ideal sites, (x, y) in the lattice frame [pm].
    is_metal : array of bool, `(M,)`
        As in `ColumnFits`.
    u_pm : array, `(M, 2)`
        (ux, uy) [pm]; NaN where either fit failed.
    covariance_pm2 : array, `(2M, 2M)`
        Covariance of ``u_pm.ravel()`` [pm^2].
    projection : array, `(2M, 2M)`, optional
        The linear map that took a translation or an affine map out of ``u_pm.ravel()``; what is
        compared with the field goes through it too. None: nothing was taken out.
    on_metal : bool
        As in `ColumnFits`.
    """

    class_name: str
    site_pm: FloatArray
    is_metal: BoolArray
    u_pm: FloatArray
    covariance_pm2: FloatArray
    projection: FloatArray | None = None
    on_metal: bool = False

    @property
    def sublattice(self) -> StrArray:
        """``metal`` or ``chalcogen``, `(M,)`."""
        return sublattice_names(self.is_metal, self.on_metal)

    @property
    def sigma_pm(self) -> FloatArray:
        """Standard error of each displacement, `(M, 2)` (x, y) [pm]."""
        variance = np.maximum(np.diag(self.covariance_pm2), 0.0)  # zero may be rounded below it
        return np.asarray(np.sqrt(variance).reshape(-1, 2))


STRAIN_COMPONENTS = ("exx", "eyy", "exy", "rotation", "dilation")


@dataclass(frozen=True)
class StrainField:
    """Strain on a grid in the lattice frame; fractions, tension positive, rotation in radians.

    Parameters
    ----------
    class_name : str
    x_pm, y_pm : arrays, `(W,)` and `(H,)`
        Coordinates of the columns and rows of the maps [pm]; `y_pm` falls with the row (y up).
    components : mapping of str to array, `(H, W)`
        ``exx``, ``eyy``, ``exy``, ``rotation`` (counter-clockwise positive), ``dilation``.
    sigma : mapping of str to array, `(H, W)`
        Standard error of each component.
    smoothing_pm : float
        Sigma of the Gaussian that smoothed the displacement [pm].
    """

    class_name: str
    x_pm: FloatArray
    y_pm: FloatArray
    components: Mapping[str, FloatArray]
    sigma: Mapping[str, FloatArray]
    smoothing_pm: float

    @property
    def fwhm_pm(self) -> float:
        """Full width at half maximum of the smoothing Gaussian [pm]."""
        return float(np.sqrt(8.0 * np.log(2.0)) * self.smoothing_pm)
