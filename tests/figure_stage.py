"""Made-up results for figures, with numbers that a test can know."""

import numpy as np

from napari_defectstrain.precision.spacings import SpacingResult
from napari_defectstrain.types import (
    STRAIN_COMPONENTS,
    ClassAverage,
    ClassStack,
    DisplacementField,
    StrainField,
)

A_PM = 330.0
STEP_PM = 20.0


def lattice(radius_pm: float) -> tuple[np.ndarray, np.ndarray]:
    """Ideal sites around a chalcogen column whose nearest metals lie at 90, 210 and 330 degrees."""
    i, j = np.mgrid[-6:7, -6:7].reshape(2, -1)
    chalcogen = A_PM * np.column_stack([i + 0.5 * j, np.sqrt(0.75) * j])
    metal = chalcogen + [0.0, A_PM / np.sqrt(3)]
    site = np.concatenate([chalcogen, metal])
    is_metal = np.repeat([False, True], len(chalcogen))
    near = np.hypot(*site.T) <= radius_pm
    return site[near], is_metal[near]


def made_up_stack(name: str, centre_height: float, rng: np.random.Generator) -> ClassStack:
    site, is_metal = lattice(1600.0)
    x = STEP_PM * np.arange(-55, 56)
    window = np.zeros((x.size, x.size))
    for (sx, sy), metal in zip(site, is_metal, strict=True):
        height = 1.0 if metal else (centre_height if np.hypot(sx, sy) < 1.0 else 0.7)
        window += height * np.exp(-((x - sx) ** 2 + (-x[:, None] - sy) ** 2) / (2 * 55.0**2))
    n = 20
    return ClassStack(
        class_name=name,
        windows=window + rng.normal(scale=0.15, size=(n, *window.shape)),
        step_pm=STEP_PM,
        a_pm=A_PM,
        image_index=np.zeros(n, dtype=int),
        site_index=np.arange(n),
        position_px=np.zeros((n, 2)),
        shift_pm=np.zeros((n, 2)),
        probability=np.ones(n),
        included=np.ones(n, dtype=bool),
        reason=np.full(n, ""),
    )


def average(stack: ClassStack) -> ClassAverage:
    mean = stack.windows.mean(axis=0)
    sem = stack.windows.std(axis=0) / np.sqrt(stack.n)
    return ClassAverage(stack.class_name, mean, sem, stack.n, 3, STEP_PM, A_PM, 0.98)


def displacement(name: str, sign: float) -> DisplacementField:
    site, is_metal = lattice(1000.0)
    r2 = np.maximum((site**2).sum(axis=1, keepdims=True), 190.0**2)
    u = sign * 2.0 * 190.0 * site / r2
    return DisplacementField(name, site, is_metal, u, 0.05 * np.eye(2 * len(site)))


def strain(name: str, sign: float) -> StrainField:
    x = np.arange(-900.0, 901.0, 20.0)
    y = x[::-1]
    bump = sign * 0.01 * np.exp(-(x**2 + y[:, None] ** 2) / (2 * 250.0**2))
    bump[np.hypot(x, y[:, None]) > 900.0] = np.nan
    maps = {c: bump * (0.1 if c in ("exy", "rotation") else 1.0) for c in STRAIN_COMPONENTS}
    maps["dilation"] = 2 * bump
    sigma = {c: np.full_like(bump, 0.001) for c in STRAIN_COMPONENTS}
    return StrainField(name, x, y, maps, sigma, 60.0)


def spacing(name: str, value_pm: float, std_pm: float, rng: np.random.Generator) -> SpacingResult:
    samples = rng.normal(value_pm, std_pm, 500)
    return SpacingResult(
        name, 20, 3, value_pm, std_pm, value_pm / A_PM - 1, std_pm / A_PM, 0.002, 0.98, samples
    )
