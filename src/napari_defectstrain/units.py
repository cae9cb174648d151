"""The only conversion factors: everything dimensional inside is pm (arrays in px)."""

from __future__ import annotations

PM_PER_NM = 1000.0
PM_PER_ANGSTROM = 100.0
EV_PER_N_PER_M_PM2 = 1e-24 / 1.602176634e-19
"""Energy of 1 N/m times 1 pm^2 [eV]."""
BARN_PER_NM2 = 1e10
"""A barn is 1e-28 m^2."""
PM_PER_UNIT: dict[str, float] = {
    "m": 1e12,
    "cm": 1e10,
    "mm": 1e9,
    "um": 1e6,
    "µm": 1e6,
    "μm": 1e6,
    "micron": 1e6,
    "nm": PM_PER_NM,
    "å": PM_PER_ANGSTROM,
    "ang": PM_PER_ANGSTROM,
    "angstrom": PM_PER_ANGSTROM,
    "a": PM_PER_ANGSTROM,
    "pm": 1.0,
}


def pm_per_unit(unit: str) -> float | None:
    """Length of a unit [pm], or None where it is no known unit of length.

    >>> pm_per_unit("nm")
    1000.0
    >>> pm_per_unit("1/nm") is None
    True
    """
    return PM_PER_UNIT.get(unit.strip().casefold())


def shown_strain_unit(component: str) -> tuple[float, str]:
    """Factor and unit that people see a component of strain in: per cent, rotation in mrad.

    In memory and in files all of them are fractions (radians).

    >>> shown_strain_unit("dilation"), shown_strain_unit("rotation")
    ((100.0, '%'), (1000.0, 'mrad'))
    """
    return (1000.0, "mrad") if component == "rotation" else (100.0, "%")


def electron_wavelength_pm(energy_kev: float) -> float:
    """Relativistic wavelength of electrons [pm].

    >>> round(electron_wavelength_pm(80), 3)
    4.176
    """
    volts = energy_kev * 1e3
    # h / sqrt(2 m e V (1 + e V / 2 m c^2)), CODATA constants, in pm and volts
    return float(1226.4259 / (volts * (1.0 + 0.97847562e-6 * volts)) ** 0.5)
