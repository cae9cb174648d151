"""The ranges of conditions that training images are drawn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..config import Config
from ..types import BoolArray, FloatArray
from .acquisition import ScanConfig
from .dataset import SimulationConfig
from .probe import ProbeConfig
from .structure import CrystalConfig

Range = tuple[float, float]


@dataclass(frozen=True)
class Conditions(Config):
    """Distributions of the parameters of simulated images.

    Pairs are the lower and upper end of a uniform distribution unless a name says otherwise;
    ``_std`` is the standard deviation of a normal distribution around zero.

    Parameters
    ----------
    material : str
        Preset of `materials`.
    pixel_size_pm : tuple of float
        Pixel size of the scan, log-uniform [pm].
    scale_std : float
        Relative error of the calibration and mean strain of the lattice.
    fractions_max : tuple of float
        Largest fraction of XY, Y2, V1, V2 columns; each is drawn from zero up.
    spacing_change : tuple of tuple
        Range of the relaxation of XY, Y2, V1, V2.
    weights : tuple of tuple
        Range of the intensities of one X and one Y atom relative to the metal column, and of the
        factor by which two stacked atoms exceed their sum.
    edge_fraction : float
        Fraction of the images that the crystal's edge crosses.
    """

    material: str = "WSe2"
    pixel_size_pm: Range = (12.0, 42.0)
    scale_std: float = 0.015
    fractions_max: tuple[float, ...] = (0.14, 0.10, 0.14, 0.08)
    spacing_change: tuple[Range, ...] = (
        (-0.005, 0.03),
        (-0.005, 0.05),
        (-0.09, 0.0),
        (-0.17, 0.0),
    )
    weights: tuple[Range, ...] = ((0.31, 0.39), (0.62, 0.74), (0.92, 1.06))
    disorder_pm: Range = (0.0, 6.0)
    energy_kev: tuple[float, ...] = (60.0, 80.0, 80.0, 80.0)
    semi_angle_mrad: Range = (21.0, 34.0)
    c1_std_pm: float = 1500.0
    a1_std_pm: float = 800.0
    b2_std_nm: float = 40.0
    a2_std_nm: float = 40.0
    c3_std_nm: float = 500.0
    c5_std_mm: float = 0.5
    source_fwhm_pm: Range = (55.0, 125.0)
    focal_spread_pm: Range = (500.0, 4000.0)
    shear_std: float = 0.02
    dose_e_per_nm2: Range = (2.5e6, 4e7)
    frames: tuple[int, ...] = (1, 4, 8, 10, 10, 12)
    jitter_px: Range = (0.0, 1.4)
    read_noise: Range = (0.0, 0.20)
    contamination: Range = (0.0, 0.5)
    contamination_nm: Range = (0.7, 6.0)
    texture: Range = (0.0, 0.35)
    edge_fraction: float = 0.06

    def draw(self, field_pm: float, rng: np.random.Generator) -> SimulationConfig:
        """Settings of one image whose sides measure `field_pm` [pm]."""
        low, high = np.log(self.pixel_size_pm)
        pixel = float(np.exp(rng.uniform(low, high)))
        side = int(np.ceil(field_pm / pixel))
        return SimulationConfig(
            crystal=self._crystal(rng),
            probe=self._probe(rng),
            scan=self._scan(pixel, side, rng),
            weights=self._weights(rng),
        )

    def _crystal(self, rng: np.random.Generator) -> CrystalConfig:
        scale = 1 + self.scale_std * float(np.clip(rng.standard_normal(), -3, 3))
        return CrystalConfig(
            material=self.material,
            lattice_pm=330.0 * scale,
            fractions=tuple(float(rng.uniform(0, m)) for m in self.fractions_max),
            spacing_change=tuple(float(rng.uniform(*r)) for r in self.spacing_change),
            disorder_pm=float(rng.uniform(*self.disorder_pm)),
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
        jitter = float(rng.uniform(*self.jitter_px)) * min(1.0, 20.74 / pixel)
        if frames < 4:
            jitter *= 0.3
        low, high = np.log(self.dose_e_per_nm2)
        return ScanConfig(
            shape=(side, side),
            pixel_size_pm=pixel,
            rotation_deg=float(rng.uniform(0, 360)),
            shear_x=float(self.shear_std * rng.standard_normal()),
            shear_y=float(self.shear_std * rng.standard_normal()),
            dose_e_per_nm2=float(np.exp(rng.uniform(low, high))),
            frames=frames,
            jitter_px=jitter,
            read_noise=float(rng.uniform(*self.read_noise)),
            contamination=float(rng.uniform(*self.contamination)) * float(rng.random()),
            contamination_nm=float(rng.uniform(*self.contamination_nm)),
            texture=float(rng.uniform(*self.texture)),
        )

    def _weights(self, rng: np.random.Generator) -> tuple[float, ...]:
        x, y = rng.uniform(*self.weights[0]), rng.uniform(*self.weights[1])
        # the pairs channel each in their own way: three factors, partly common
        pair = rng.uniform(*self.weights[2]) * rng.uniform(0.97, 1.03, 3)
        sums = np.array([2 * x, x + y, 2 * y]) * pair
        return (1.0, float(sums[0]), float(sums[1]), float(sums[2]), float(x), 0.0)


def crystal_edge(position_px: FloatArray, side: int, rng: np.random.Generator) -> BoolArray:
    """True for columns on the crystal's side of a random straight edge with a wavy rim, `(N,)`."""
    angle = rng.uniform(0, 2 * np.pi)
    normal = np.array([np.sin(angle), np.cos(angle)])
    along = position_px @ np.array([np.cos(angle), -np.sin(angle)])
    wave = 0.06 * side * np.sin(along / side * rng.uniform(4, 20) + rng.uniform(0, 2 * np.pi))
    distance = (position_px - side / 2) @ normal + wave
    return np.asarray(distance < rng.uniform(-0.2, 0.3) * side)
