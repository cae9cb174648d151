"""The ranges of conditions that training images are drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from ..config import PIXEL_SIZE_PM, Between, Config, Length, OneOf
from ..materials import ANY_MATERIAL, Material, get_material
from ..types import DefectStrainError
from .acquisition import ScanConfig
from .dataset import SimulationConfig
from .lookalikes import ALLOYED, LIGHTER, LOOKALIKES
from .probe import ProbeConfig
from .processing import ProcessingConfig
from .scattering import relative_weight
from .structure import LAYERED, N_DEFECTS, PATTERNS, CrystalConfig

Range = tuple[float, float]

_ANY_METALS = ("Nb", "Mo", "W")
_ANY_PAIRS = (("S", "Se"), ("Se", "S"), ("Se", "Te"), ("Te", "Se"), ("Te", "S"))
_ANY_LATTICE_PM = (310.0, 365.0)
_ANY_SINGLE = (0.07, 0.7)
_LIGHTER_BY, _HEAVIER_BY = ((0.2, 0.4), (0.62, 0.8)), ((1.3, 2.2), (1.3, 3.5))
"""Brightness of Y by that of X. Y half as bright as X would make Y2 and V1 the same."""


@dataclass(frozen=True)
class Conditions(Config):
    """Distributions of the parameters of simulated images.

    Pairs are the lower and upper end of a uniform distribution unless a name says otherwise;
    ``_std`` is the standard deviation of a normal distribution around zero.

    Parameters
    ----------
    materials : tuple of str
        Materials drawn from with equal chance; repeat one for more of it. ``any`` is one of
        random cross sections.
    pixel_size_pm : tuple of float
        Pixel size of the scan, log-uniform [pm].
    scale_std : float
        Relative error of the calibration and mean strain of the lattice.
    fractions_max : tuple of float
        Largest fraction of XY, Y2, V1, V2 columns; each is drawn from zero up.
    absent : float
        Chance of each of these classes to be missing from an image.
    spacing_change : tuple of tuple
        Range of the relaxation of XY, Y2, V1, V2.
    lookalikes : tuple of float
        Chance of an image to hold look-alikes, and the largest fraction of each kind.
    alloy, lighter : tuple of float
        The same for metals replaced by the other metal, and for lighter chalcogens in the host's
        places, by the look-alikes' names: an alloy of two metals, a converted host.
    patterns : tuple of str
        What the field of view holds besides one grain, drawn from with equal chance.
    inner_mrad, outer_mrad : tuple of float
        Angles of the detector [mrad], which the brightness of the columns follows from.
    single, pair : tuple of float
        Range of the factors by which the brightness of one chalcogen atom, and of two stacked
        ones, differs from cross sections: channelling, thermal motion, detector.
    jitter_px, jitter_max_pm
        Scan-line jitter of one frame [px], and its upper limit in coarse scans [pm].
    whole_px : float
        Chance of a single frame's lines to be shifted by whole pixels.
    correlated : tuple of float
        Chance of the read noise to be correlated, and over how much, log-uniform [pm].
    contamination : tuple of float
        Range of its mean, as a fraction of a metal column's height; small values prevail.
    background : str
        File of a measured contamination (`background.extract_background`) that takes the place
        of a simulated one in half of the images; empty for none.
    processed : float
        Chance of a picture to be worked on: each of the steps of `processing.ProcessingConfig` in
        half of those.
    smooth_pm, subtract_pm, gamma, clip, jpeg_quality
        Ranges of these steps; the background's width and gamma log-uniform, small values of `clip`
        prevail.
    """

    materials: tuple[str, ...] = ("WSe2",)
    pixel_size_pm: Annotated[Range, PIXEL_SIZE_PM] = (12.0, 42.0)
    scale_std: Annotated[float, Between(0, 0.3)] = 0.015
    fractions_max: Annotated[tuple[float, ...], Length(N_DEFECTS), Between(0, 1)] = (
        0.14,
        0.10,
        0.14,
        0.08,
    )
    absent: Annotated[float, Between(0, 1)] = 0.2
    spacing_change: Annotated[tuple[Range, ...], Length(N_DEFECTS), Between(-0.9, 0.9)] = (
        (-0.005, 0.03),
        (-0.005, 0.05),
        (-0.09, 0.0),
        (-0.17, 0.0),
    )
    lookalikes: Annotated[Range, Between(0, 1)] = (0.5, 0.012)
    alloy: Annotated[Range, Between(0, 1)] = (0.06, 0.5)
    lighter: Annotated[Range, Between(0, 1)] = (0.06, 0.1)
    tilt_mrad: Annotated[Range, Between(0, 1000)] = (0.0, 50.0)
    ripple_mrad: Annotated[Range, Between(0, 1000)] = (0.0, 20.0)
    ripple_nm: Annotated[Range, Between(0.1, 1e4)] = (2.0, 12.0)
    patterns: Annotated[tuple[str, ...], OneOf(PATTERNS)] = (
        *["whole"] * 28,
        *["edge", "holes", "twin", "grain", "1T'", "1T'"] * 2,
        *LAYERED,
    )
    inner_mrad: Annotated[Range, Between(1, 1000)] = (50.0, 85.0)
    outer_mrad: Annotated[Range, Between(1, 2000)] = (150.0, 250.0)
    single: Annotated[tuple[Range, ...], Length(2), Between(0, 10)] = ((0.85, 1.06), (0.92, 1.12))
    pair: Annotated[Range, Between(0, 10)] = (0.94, 1.05)
    disorder_pm: Annotated[Range, Between(0, 1000)] = (0.0, 6.0)
    energy_kev: Annotated[tuple[float, ...], Between(1, 3000)] = (
        40.0,
        60.0,
        60.0,
        80.0,
        80.0,
        80.0,
        80.0,
        80.0,
    )
    semi_angle_mrad: Annotated[Range, Between(0.1, 500)] = (21.0, 34.0)
    c1_std_pm: Annotated[float, Between(0, 1e7)] = 1500.0
    a1_std_pm: Annotated[float, Between(0, 1e7)] = 800.0
    b2_std_nm: Annotated[float, Between(0, 1e6)] = 40.0
    a2_std_nm: Annotated[float, Between(0, 1e6)] = 40.0
    c3_std_nm: Annotated[float, Between(0, 1e8)] = 500.0
    c5_std_mm: Annotated[float, Between(0, 100000)] = 0.5
    source_fwhm_pm: Annotated[Range, Between(0, 1e4)] = (55.0, 125.0)
    focal_spread_pm: Annotated[Range, Between(0, 1e7)] = (500.0, 4000.0)
    shear_std: Annotated[float, Between(0, 1)] = 0.02
    dose_e_per_nm2: Annotated[Range, Between(0.001, 1e15)] = (2.5e6, 4e7)
    frames: Annotated[tuple[int, ...], Between(1, 10_000)] = (1, 4, 8, 10, 10, 12)
    jitter_px: Annotated[Range, Between(0, 1000)] = (0.0, 1.5)
    jitter_max_pm: Annotated[float, Between(0, 100000)] = 40.0
    whole_px: Annotated[float, Between(0, 1)] = 0.5
    read_noise: Annotated[Range, Between(0, 1000)] = (0.0, 0.22)
    correlated: Annotated[tuple[float, float, float], Between(0, 10000)] = (0.3, 30.0, 300.0)
    contamination: Annotated[Range, Between(0, 1000)] = (0.0, 1.3)
    contamination_nm: Annotated[Range, Between(0.01, 1e4)] = (0.25, 4.0)
    patchiness: Annotated[Range, Between(0, 100)] = (0.2, 1.2)
    texture: Annotated[Range, Between(0, 100)] = (0.0, 0.5)
    grain_pm: Annotated[Range, Between(80, 10000)] = (80.0, 300.0)
    background: str = ""

    processed: Annotated[float, Between(0, 1)] = 0.4
    smooth_pm: Annotated[Range, Between(0, 1e5)] = (10.0, 60.0)
    subtract_pm: Annotated[Range, Between(0, 1e6)] = (300.0, 3000.0)
    gamma: Annotated[Range, Between(0.05, 20)] = (0.5, 1.6)
    clip: Annotated[Range, Between(0, 0.49)] = (0.0, 0.05)
    jpeg_quality: Annotated[tuple[int, int], Between(1, 100)] = (60, 98)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.materials:
            if name != ANY_MATERIAL:
                get_material(name)
        for name in ("materials", "patterns", "energy_kev", "frames"):
            if not getattr(self, name):
                raise DefectStrainError(f"Conditions.{name}: got none to draw from, expected some")

    def as_measured(self) -> Conditions:
        """The same materials under the conditions of common images.

        Rare classes, look-alikes and other phases are as rare as they are, optics tuned: what
        probabilities are calibrated for. Training oversamples what is rare or difficult.
        """
        return self.replace(
            pixel_size_pm=(14.0, 32.0),
            fractions_max=(0.11, 0.06, 0.11, 0.006),
            lookalikes=(0.5, 0.001),
            alloy=(0.0, 0.0),
            lighter=(0.0, 0.0),
            patterns=(*["whole"] * 10, "edge", "holes"),
            tilt_mrad=(0.0, 15.0),
            ripple_mrad=(0.0, 8.0),
            disorder_pm=(0.0, 4.0),
            c1_std_pm=500.0,
            a1_std_pm=300.0,
            b2_std_nm=15.0,
            a2_std_nm=15.0,
            source_fwhm_pm=(75.0, 120.0),
            dose_e_per_nm2=(5e6, 3e7),
            frames=(8, 10, 10, 12),
            jitter_px=(0.2, 1.3),
            read_noise=(0.05, 0.18),
            correlated=(0.2, 30.0, 150.0),
            contamination=(0.0, 0.7),
            contamination_nm=(0.7, 6.0),
            texture=(0.05, 0.3),
            grain_pm=(80.0, 150.0),
            processed=0.2,
        )

    def draw(self, field_pm: float, rng: np.random.Generator) -> SimulationConfig:
        """Settings of one image whose sides measure `field_pm` [pm]."""
        name = str(rng.choice(self.materials))
        sections: tuple[float, ...] = ()
        if name == ANY_MATERIAL:
            name, sections = _unknown_material(rng)
        material = get_material(name)
        pixel = _log_uniform(self.pixel_size_pm, rng)
        side = int(np.ceil(field_pm / pixel))
        probe = self._probe(rng)
        return SimulationConfig(
            crystal=self._crystal(material, rng),
            probe=probe,
            scan=self._scan(pixel, side, rng),
            weights=self._weights(material, probe.energy_kev, sections, rng),
            processing=self._processing(rng),
            cross_sections=sections,
        )

    def _crystal(self, material: Material, rng: np.random.Generator) -> CrystalConfig:
        scale = 1 + self.scale_std * float(np.clip(rng.standard_normal(), -3, 3))
        present = rng.random(len(self.fractions_max)) >= self.absent
        chance, most = self.lookalikes
        strange = rng.uniform(0, most, len(LOOKALIKES)) * (rng.random() < chance)
        for (often, more), kinds in ((self.alloy, [ALLOYED]), (self.lighter, LIGHTER)):
            if rng.random() < often:
                strange[list(kinds)] = rng.uniform(0, more, len(kinds))
        # the square favours the small tilts of a flat sheet
        tilt = self.tilt_mrad[0] + np.ptp(self.tilt_mrad) * rng.random() ** 2
        ripple = self.ripple_mrad[0] + np.ptp(self.ripple_mrad) * rng.random() ** 2
        return CrystalConfig(
            material=material.label,
            lattice_pm=material.lattice_pm * scale,
            fractions=tuple(
                float(rng.uniform(0, m) * p)
                for m, p in zip(self.fractions_max, present, strict=True)
            ),
            spacing_change=tuple(float(rng.uniform(*r)) for r in self.spacing_change),
            disorder_pm=float(rng.uniform(*self.disorder_pm)),
            lookalikes=tuple(float(f) for f in strange),
            tilt_mrad=float(tilt),
            tilt_deg=float(rng.uniform(0, 360)),
            ripple_mrad=float(ripple),
            ripple_nm=float(rng.uniform(*self.ripple_nm)),
            pattern=str(rng.choice(self.patterns)),
        )

    def _probe(self, rng: np.random.Generator) -> ProbeConfig:
        def normal(std: float) -> float:
            return float(std * np.clip(rng.standard_normal(), -3, 3))

        def azimuth() -> float:
            return float(rng.uniform(0, 360))

        return ProbeConfig(
            energy_kev=float(rng.choice(self.energy_kev)),
            semi_angle_mrad=float(rng.uniform(*self.semi_angle_mrad)),
            c1_pm=normal(self.c1_std_pm),
            a1_pm=normal(self.a1_std_pm),
            a1_deg=azimuth(),
            b2_nm=normal(self.b2_std_nm),
            b2_deg=azimuth(),
            a2_nm=normal(self.a2_std_nm),
            a2_deg=azimuth(),
            c3_nm=normal(self.c3_std_nm),
            c5_mm=normal(self.c5_std_mm),
            focal_spread_pm=float(rng.uniform(*self.focal_spread_pm)),
            source_fwhm_pm=float(rng.uniform(*self.source_fwhm_pm)),
        )

    def _scan(self, pixel: float, side: int, rng: np.random.Generator) -> ScanConfig:
        frames = int(rng.choice(self.frames))
        jitter = min(float(rng.uniform(*self.jitter_px)), self.jitter_max_pm / pixel)
        if frames < 4:
            jitter *= 0.3
        whole = frames == 1 and rng.random() < self.whole_px
        if whole:
            jitter = float(rng.uniform(*self.jitter_px))
        correlated = rng.random() < self.correlated[0]
        return ScanConfig(
            shape=(side, side),
            pixel_size_pm=pixel,
            rotation_deg=float(rng.uniform(0, 360)),
            shear_x=float(self.shear_std * rng.standard_normal()),
            shear_y=float(self.shear_std * rng.standard_normal()),
            dose_e_per_nm2=_log_uniform(self.dose_e_per_nm2, rng),
            frames=frames,
            jitter_px=jitter,
            whole_px=whole,
            read_noise=float(rng.uniform(*self.read_noise)),
            noise_pm=_log_uniform(self.correlated[1:], rng) if correlated else 0.0,
            contamination=float(rng.uniform(*self.contamination)) * float(rng.random()),
            contamination_nm=float(rng.uniform(*self.contamination_nm)),
            patchiness=float(rng.uniform(*self.patchiness)),
            texture=float(rng.uniform(*self.texture)),
            grain_pm=_log_uniform(self.grain_pm, rng),
        )

    def _processing(self, rng: np.random.Generator) -> ProcessingConfig:
        if rng.random() >= self.processed:
            return ProcessingConfig()
        smooth, subtract, gamma, clip, eight_bit, jpeg = rng.random(6) < 0.5
        return ProcessingConfig(
            smooth_pm=float(rng.uniform(*self.smooth_pm)) if smooth else 0.0,
            subtract_pm=_log_uniform(self.subtract_pm, rng) if subtract else 0.0,
            clip=tuple(float(rng.uniform(*self.clip) * rng.random() * clip) for _ in range(2)),
            gamma=_log_uniform(self.gamma, rng) if gamma else 1.0,
            eight_bit=bool(eight_bit),
            jpeg_quality=int(rng.integers(self.jpeg_quality[0], self.jpeg_quality[1] + 1))
            if jpeg
            else 0,
        )

    def _weights(
        self,
        material: Material,
        energy_kev: float,
        sections: tuple[float, ...],
        rng: np.random.Generator,
    ) -> tuple[float, ...]:
        angles = (energy_kev, rng.uniform(*self.inner_mrad), rng.uniform(*self.outer_mrad))
        x, y = sections or (
            relative_weight(element, material.metal, *angles)
            for element in (material.chalcogen, material.substituent)
        )
        x, y = x * rng.uniform(*self.single[0]), y * rng.uniform(*self.single[1])
        # the pairs channel each in their own way: three factors, partly common
        pair = rng.uniform(*self.pair) * rng.uniform(0.97, 1.03, 3)
        sums = np.array([2 * x, x + y, 2 * y]) * pair
        return (1.0, float(sums[0]), float(sums[1]), float(sums[2]), float(x), 0.0)


def _log_uniform(ends: tuple[float, ...], rng: np.random.Generator) -> float:
    low, high = np.log(np.maximum(ends, 1e-12))
    return float(np.exp(rng.uniform(low, high)))


def _unknown_material(rng: np.random.Generator) -> tuple[str, tuple[float, ...]]:
    """Name of a material that stands for one that isn't known, and its cross sections."""
    metal = rng.choice(_ANY_METALS)
    x, y = _ANY_PAIRS[int(rng.integers(len(_ANY_PAIRS)))]
    lattice = rng.uniform(*_ANY_LATTICE_PM)
    single = _log_uniform(_ANY_SINGLE, rng)
    ratios = _LIGHTER_BY if y == "S" or (x, y) == ("Te", "Se") else _HEAVIER_BY
    other = single * float(rng.uniform(*ratios[int(rng.integers(2))]))
    return f"{metal}{x}2({y}, {lattice:.1f})", (single, min(other, 0.95))
