"""The look of somebody's images: what must be known to simulate images that look alike.

Brightness is in units of the height of a metal column, lengths are in pm, so that the look of one
camera's grey values serves for any other; how it was in the files' grey values is kept beside.
`look_learning` learns a look, `look_simulating` makes images of it, `look_training` says what a
network should be trained on, `look_comparing` tells how far simulated images differ from real ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from ..config import PIXEL_SIZE_PM, Between, Config, Length
from ..io import read_settings, write_json
from ..materials import DEFECT_ROLES, get_material
from ..types import DefectStrainError

SCHEMA = 1
"""Of ``look.json``."""
LIT = 5
"""Classes of chalcogen columns: X2, XY, Y2, V1, V2."""
QUANTILES = 33
"""Values that the distribution of the background is kept by."""


@dataclass(frozen=True)
class Learnt(Config):
    """A number that images tell.

    Parameters
    ----------
    value : float
        Mean over the images.
    sigma : float or None
        Its standard error; None where it isn't known.
    spread : float or None
        Standard deviation between the images; None for a single one.
    """

    value: Annotated[float, Between(-1e30, 1e30)]
    sigma: Annotated[float, Between(0, 1e30)] | None = None
    spread: Annotated[float, Between(0, 1e30)] | None = None


@dataclass(frozen=True)
class Shape(Config):
    """The image of one column.

    Parameters
    ----------
    frequency_per_pm, transfer : tuple of float
        Transfer function, 1 at 0, mean over all directions but for `blur_pm2`.
    blur_pm2 : tuple of float
        xx, xy, yy of what blurs it more in one direction than in the other, x along the scan lines,
        y up; of trace zero. What lines shook within a sum of frames is among it.
    fwhm_pm : Learnt
        Full width at half maximum.
    energy_kev, semi_angle_mrad : float or None
        As the files state them.
    """

    frequency_per_pm: Annotated[tuple[float, ...], Between(0, 1)]
    transfer: Annotated[tuple[float, ...], Between(-2, 2)]
    fwhm_pm: Learnt
    blur_pm2: Annotated[tuple[float, ...], Length(3), Between(-1e6, 1e6)] = (0.0, 0.0, 0.0)
    energy_kev: Annotated[float, Between(1, 3000)] | None = None
    semi_angle_mrad: Annotated[float, Between(0.1, 500)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.transfer) != len(self.frequency_per_pm) or len(self.transfer) < 4:
            raise DefectStrainError(
                f"look: got {len(self.frequency_per_pm)} frequencies and {len(self.transfer)} "
                "values of the transfer function, expected as many, 4 or more"
            )


@dataclass(frozen=True)
class Scan(Config):
    """How lines and axes of the scan are off.

    Parameters
    ----------
    line_px : Learnt
        Standard deviation of the shift of a line of the image [px]: of one frame, or of what is
        left of it in a sum of frames.
    frames : Learnt
        Frames summed, as the files state them; else as the blur along the lines tells, which is
        what they shook within the sum.
    shear_xx_yy, shear_xy : Learnt
        Distortion, as in `crystal.lattice.LatticeShape`.
    """

    line_px: Learnt
    frames: Learnt
    shear_xx_yy: Learnt
    shear_xy: Learnt


@dataclass(frozen=True)
class Noise(Config):
    """What is left of an image without columns, background and jitter.

    Parameters
    ----------
    slope : Learnt
        Growth of a pixel's variance with its brightness: one over the electrons in a pixel on top
        of a metal column.
    floor : Learnt
        Variance in the darkest places, beside what `slope` gives them.
    spectrum : tuple of tuple of float
        Its power, of mean 1, as ``numpy.fft.rfft2`` orders that of a square tile [cycles/px].
    white : Learnt
        Share of the variance that is not correlated between pixels.
    correlation_pm : Learnt
        Correlation length of the rest [pm], as in `simulate.ScanConfig.grain_pm`.
    with_background : Learnt
        By how much more the variance grows with the background's brightness: contamination has a
        texture.
    skew : Learnt
        Its third moment over its second: of counts alone the `slope`, of an amplifier's noise 0.
    """

    slope: Learnt
    floor: Learnt
    spectrum: Annotated[tuple[tuple[float, ...], ...], Between(0, 1e9)]
    white: Learnt
    correlation_pm: Learnt
    with_background: Learnt
    skew: Learnt


@dataclass(frozen=True)
class Background(Config):
    """Contamination: what varies more slowly than the lattice.

    Parameters
    ----------
    quantiles : tuple of float
        `QUANTILES` of its brightness above the image's darkest, evenly spaced from 0 to 1.
    frequency_per_nm, power : tuple of float
        Its power by spatial frequency, relative.
    mean, patchiness, correlation_nm : Learnt
        Mean brightness; standard deviation as a fraction of it; correlation length.
    """

    quantiles: Annotated[tuple[float, ...], Length(QUANTILES), Between(-100, 1000)]
    frequency_per_nm: Annotated[tuple[float, ...], Between(0, 100)]
    power: Annotated[tuple[float, ...], Between(0, 1e30)]
    mean: Learnt
    patchiness: Learnt
    correlation_nm: Learnt


@dataclass(frozen=True)
class Columns(Config):
    """Populations and brightness of the columns.

    Parameters
    ----------
    fractions : tuple of Learnt
        Share of XY, Y2, V1, V2 among the chalcogen columns.
    weights : tuple of Learnt
        Brightness of X2, XY, Y2, V1, V2 relative to the metal's: by the images where they hold the
        class, else by cross sections scaled to their X2.
    seen : tuple of float
        Columns of each that the brightness comes from.
    scatter : tuple of Learnt
        Standard deviation of the brightness of metals and of X2 columns beyond noise.
    disorder_pm : Learnt
        Random displacement of the metals per axis, across the scan lines [pm].
    spacing_change : tuple of Learnt
        Change of the spacing of the three metals around XY, Y2, V1, V2: as the columns of the
        images say, with their neighbours' fields, or the simulator's usual one.
    """

    fractions: Annotated[tuple[Learnt, ...], Length(len(DEFECT_ROLES))]
    weights: Annotated[tuple[Learnt, ...], Length(LIT)]
    seen: Annotated[tuple[float, ...], Length(LIT), Between(0, 1e12)]
    scatter: Annotated[tuple[Learnt, ...], Length(2)]
    disorder_pm: Learnt
    spacing_change: Annotated[tuple[Learnt, ...], Length(len(DEFECT_ROLES))]


@dataclass(frozen=True)
class Grey(Config):
    """Grey values of the files.

    Parameters
    ----------
    base, height : float
        Of the darkest background, and of a metal column above it.
    step : float
        Between neighbouring grey values; 0 where they are as good as continuous.
    ends : tuple of float
        Values at which pixels are clipped; empty where they aren't.
    """

    base: Annotated[float, Between(-1e30, 1e30)]
    height: Annotated[float, Between(1e-30, 1e30)]
    step: Annotated[float, Between(0, 1e30)] = 0.0
    ends: Annotated[tuple[float, ...], Length(0, 2), Between(-1e30, 1e30)] = ()


@dataclass(frozen=True)
class Look(Config):
    """What images look like, learnt from them; ``look.json``.

    Parameters
    ----------
    material : str
    images : tuple of str
        Names of those that it was learnt from.
    pixel_size_pm : Learnt
        By the lattice.
    shape, scan, noise, background, columns, grey
        See there.
    notes : tuple of str
        What couldn't be learnt, and what stands in its place.
    schema : int
        Of the file.
    """

    material: str
    images: tuple[str, ...]
    pixel_size_pm: Learnt
    shape: Shape
    scan: Scan
    noise: Noise
    background: Background
    columns: Columns
    grey: Grey
    notes: tuple[str, ...] = ()
    schema: Annotated[int, Between(1, SCHEMA)] = SCHEMA

    def __post_init__(self) -> None:
        super().__post_init__()
        get_material(self.material)
        if not PIXEL_SIZE_PM.low <= self.pixel_size_pm.value <= PIXEL_SIZE_PM.high:
            raise DefectStrainError(
                f"look: got a pixel of {self.pixel_size_pm.value:g} pm, expected one "
                f"{PIXEL_SIZE_PM} pm"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str | None = None) -> Self:
        """As `Config.from_dict`; a look of a later version is refused."""
        schema = values.get("schema", SCHEMA) if isinstance(values, Mapping) else SCHEMA
        if isinstance(schema, int) and schema > SCHEMA:
            raise DefectStrainError(
                f"{where or 'look: '}got a look of version {schema}, expected {SCHEMA} or an "
                "earlier one; a newer version of this program made it"
            )
        return super().from_dict(values, where)


def read_look(path: Path) -> Look:
    """Read a ``look.json``.

    Raises
    ------
    DefectStrainError
        If it is none.
    """
    return Look.from_dict(read_settings(path), f"{path.name}: ")


def write_look(path: Path, look: Look) -> None:
    """Write a ``look.json``."""
    write_json(path, look.to_dict())
