"""Elastic constants of monolayers, and settings of what elastic theory makes of a defect.

In the plane a 2H monolayer is elastically isotropic. Its two constants are forces over lengths, so
that no thickness has to be agreed on:

``K = (C11 + C12) / 2``, ``mu = (C11 - C12) / 2``, ``nu = C12 / C11`` (of a sheet with free faces).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ..config import Between, Config, Length
from ..materials import Material
from ..types import DefectStrainError

ELASTIC_SOURCE = "density functional theory, ions relaxed, doi:10.1021/jz3012436"
"""Duerloo, Ong & Reed, J. Phys. Chem. Lett. 3, 2871 (2012); the numbers are as remembered, not
compared with the paper's table. Indentation finds 25 to 40 % more for MoS2 and WS2 (Liu et al.,
Nano Lett. 14, 5097, 2014); give your own where that matters."""

C11_C12_N_PER_M = {
    "MoS2": (130.0, 32.0),
    "MoSe2": (108.0, 25.0),
    "WS2": (144.0, 31.0),
    "WSe2": (119.0, 23.0),
}
"""(C11, C12) of 2H monolayers [N/m] by `ELASTIC_SOURCE`."""


@dataclass(frozen=True)
class ElasticConstants:
    """Of a sheet that is isotropic in its plane.

    Parameters
    ----------
    c11, c12 : float
        [N/m].
    source : str
        Where they come from; stands beside what is made of them.

    Raises
    ------
    DefectStrainError
        If a sheet with these constants would not be stable.

    Examples
    --------
    >>> ElasticConstants(120.0, 24.0, "made up").poisson
    0.2
    """

    c11: float
    c12: float
    source: str

    def __post_init__(self) -> None:
        if not self.c11 > abs(self.c12):  # NaN too
            raise DefectStrainError(
                f"elastic constants: got C11 = {self.c11:g} and C12 = {self.c12:g} N/m, expected "
                "C11 above C12 and above -C12, those of a stable sheet"
            )

    @property
    def bulk(self) -> float:
        """Modulus of the area, ``K`` [N/m]."""
        return 0.5 * (self.c11 + self.c12)

    @property
    def shear(self) -> float:
        """``mu`` [N/m]."""
        return 0.5 * (self.c11 - self.c12)

    @property
    def poisson(self) -> float:
        """``nu``."""
        return self.c12 / self.c11


@dataclass(frozen=True)
class TheoryConfig(Config):
    """Settings of the numbers for elastic theory.

    Parameters
    ----------
    c11_n_per_m, c12_n_per_m : float or None
        Elastic constants of the material; both or none. None: those of `C11_C12_N_PER_M`.
    force_n_per_m : tuple of 4 float, or empty
        A force field of one's own for lattice statics, see `lattice_statics.CONSTANTS`; its
        elastic constants are then those of the lattice model alone.
    far_spacings : float
        Distance of the nearest columns that count as far field, in lattice constants.
    enabled : bool
        Whether a run compares its classes with theory.
    """

    c11_n_per_m: Annotated[float, Between(1.0, 5000.0)] | None = None
    c12_n_per_m: Annotated[float, Between(-5000.0, 5000.0)] | None = None
    force_n_per_m: Annotated[tuple[float, ...], Length(0, 4), Between(0.0, 1e5)] = ()
    far_spacings: Annotated[float, Between(0.5, 10.0)] = 1.5
    enabled: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.c11_n_per_m is None) != (self.c12_n_per_m is None):
            lacking = "c12_n_per_m" if self.c12_n_per_m is None else "c11_n_per_m"
            raise DefectStrainError(
                f"elastic constants: got one of two, expected {lacking}, too, or neither"
            )
        if self.c11_n_per_m is not None and self.c12_n_per_m is not None:
            ElasticConstants(self.c11_n_per_m, self.c12_n_per_m, "")

    def elastic(self, material: Material) -> ElasticConstants | None:
        """Those that were given, those known of the material, or None."""
        if self.c11_n_per_m is not None and self.c12_n_per_m is not None:
            return ElasticConstants(self.c11_n_per_m, self.c12_n_per_m, "as given")
        known = C11_C12_N_PER_M.get(material.name)
        return None if known is None else ElasticConstants(*known, ELASTIC_SOURCE)
