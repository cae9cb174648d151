"""Simulated images with their truth, and the settings that made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np
import pandas as pd

from ..config import Between, Config, Length
from ..materials import WSE2, get_material
from ..types import CalibratedImage, FloatArray, IntArray, StrArray
from .acquisition import ScanConfig, contamination, expose
from .image import column_height, render_columns
from .lookalikes import OTHER, kind_names, layer_weights
from .patterns import crystal_with_pattern
from .probe import ProbeConfig
from .processing import ProcessingConfig, process
from .scattering import nominal_weights
from .structure import Crystal, CrystalConfig

WSE2_WEIGHTS = (1.0, 0.70, 1.06, 1.38, 0.355, 0.0)
"""Intensity of the columns W, 2Se, SeTe, 2Te, SV, DV relative to W.

ADF 63-200 mrad at 80 kV: the middle of static and frozen-phonon multislice and of Kirkland's cross
sections (0.65-0.75, 1.03-1.11, 1.32-1.43, 0.34-0.37).
"""


@dataclass(frozen=True)
class SimulationConfig(Config):
    """Everything that makes a simulated image.

    Parameters
    ----------
    crystal : CrystalConfig
    probe : ProbeConfig
    scan : ScanConfig
    weights : tuple of float
        Intensity of the columns metal, X2, XY, Y2, V1, V2, relative to the metal's; none given
        takes `WSE2_WEIGHTS` for WSe2 and `scattering.nominal_weights` for another material.
    processing : ProcessingConfig
        What was done to the picture afterwards.
    cross_sections : tuple of float
        Of one X and one Y relative to the metal, where the material is not one of its elements:
        what is known of a material that nothing else is known of. Empty for the elements'.
    """

    crystal: CrystalConfig = field(default_factory=CrystalConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    scan: ScanConfig = field(default_factory=ScanConfig)
    weights: Annotated[tuple[float, ...], Length(0, OTHER), Between(0, 100)] = ()
    processing: ProcessingConfig = field(default_factory=ProcessingConfig)
    cross_sections: Annotated[tuple[float, ...], Length(0, 2), Between(1e-3, 100)] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights:
            return
        material = get_material(self.crystal.material)
        nominal = nominal_weights(material, self.probe.energy_kev)
        object.__setattr__(self, "weights", WSE2_WEIGHTS if material == WSE2 else nominal)


@dataclass(frozen=True)
class SimulatedImage:
    """A simulated exposure and the truth behind it.

    Parameters
    ----------
    name : str
    counts : array, `(H, W)` or `(T, H, W)`
        The image or the frames of a series, uint16; uint32 where counts are more.
    position_px : array, `(N, 2)`
        True (y, x) of each column in the image [px].
    class_index : array, `(N,)`
    displacement_pm, own_displacement_pm : arrays, `(N, 2)`
        True (ux, uy) in the lattice frame [pm]: of all defects, and of the nearest alone.
    config : SimulationConfig
    metadata : mapping
        What a file of it says of itself.
    extra : mapping of str to array, `(N,)`
        Further columns of the truth table, such as ``kind``, the look-alikes' names.
    """

    name: str
    counts: IntArray
    position_px: FloatArray
    class_index: IntArray
    displacement_pm: FloatArray
    own_displacement_pm: FloatArray
    config: SimulationConfig
    metadata: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, IntArray | StrArray] = field(default_factory=dict)

    @property
    def image(self) -> CalibratedImage:
        """The exposure, or the sum of the frames, as the pipeline takes it."""
        data = self.counts if self.counts.ndim == 2 else self.counts.sum(axis=0)
        return CalibratedImage(
            np.asarray(data), self.config.scan.pixel_size_pm, self.name, self.metadata
        )

    def truth_table(self) -> pd.DataFrame:
        """Columns of a sites table (`io.sites_table`) and the true displacements."""
        names = get_material(self.config.crystal.material).class_names
        pixel_nm = self.config.scan.pixel_size_pm * 1e-3
        table: dict[str, object] = {
            "y_px": self.position_px[:, 0].round(4),
            "x_px": self.position_px[:, 1].round(4),
            "y_nm": (self.position_px[:, 0] * pixel_nm).round(6),
            "x_nm": (self.position_px[:, 1] * pixel_nm).round(6),
            "class": np.asarray(names)[self.class_index],
            "probability": 1,
        }
        present = names if (self.class_index == len(names) - 1).any() else names[:-1]
        for index, name in enumerate(present):
            table[f"p_{name}"] = (self.class_index == index).astype(int)
        table["source"] = "truth"
        for name, values in (
            ("", self.displacement_pm),
            ("_own", self.own_displacement_pm),
        ):
            table[f"ux{name}_pm"] = values[:, 0].round(4)
            table[f"uy{name}_pm"] = values[:, 1].round(4)
        return pd.DataFrame({**table, **self.extra})


def crystal_for(config: SimulationConfig, rng: np.random.Generator) -> Crystal:
    """A crystal that covers the field of view with a margin of 2 nm."""
    scan = config.scan
    diagonal = np.hypot(scan.shape[0], scan.shape[1]) * scan.pixel_size_pm
    field_pm = min(scan.shape) * scan.pixel_size_pm
    return crystal_with_pattern(config.crystal, diagonal / 2 * 1.1 + 2000, field_pm, rng)


def crystal_to_px(position_pm: FloatArray, scan: ScanConfig, origin_px: FloatArray) -> FloatArray:
    """Places in the sample (x, y) [pm] to (y, x) in the image [px]."""
    xy = position_pm @ np.linalg.inv(scan.matrix_pm()).T
    return np.asarray(xy[:, ::-1] + origin_px)


def clean_image(
    position_px: FloatArray, class_index: IntArray, config: SimulationConfig
) -> FloatArray:
    """Noise-free image in units of the height of an isolated metal column, `(H, W)`.

    Of columns that stand upright and hold what their class says.
    """
    return _rendered(position_px, np.asarray(config.weights)[class_index], config)


def crystal_image(
    crystal: Crystal, config: SimulationConfig, origin_px: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Noise-free image of a crystal, tilted as it may be, and where its columns appear.

    Parameters
    ----------
    crystal : Crystal
    config : SimulationConfig
    origin_px : array, `(2,)`
        (y, x) of the sample's origin [px].

    Returns
    -------
    image : array, `(H, W)`
        In units of the height of an isolated metal column.
    position_px : array, `(N, 2)`
        (y, x) of the columns: their centres of brightness.
    """
    atoms, weight, position = atoms_px(crystal, config, origin_px)
    return _rendered(atoms, weight, config), position


def atoms_px(
    crystal: Crystal, config: SimulationConfig, origin_px: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """What lights the image: one atom a column where it stands upright, else one a layer.

    Returns
    -------
    atom_px, weight : arrays, `(A, 2)` and `(A,)`
        (y, x) [px] and brightness relative to a metal column.
    position_px : array, `(N, 2)`
        As in `crystal_image`.
    """
    layers = layer_weights(config.crystal.material, config.weights)[crystal.layers]  # (N, 3)
    total = layers.sum(axis=1)
    if not crystal.tilt.any():
        position = crystal_to_px(crystal.position_pm, config.scan, origin_px)
        return position, total, position
    half = get_material(config.crystal.material).thickness_pm / 2
    height = np.where(crystal.upside_down[:, None], -1.0, 1.0) * [half, 0.0, -half]  # (N, 3)
    atom = crystal.position_pm[:, None] + height[:, :, None] * crystal.tilt[:, None]  # (N, 3, 2)
    share = layers / np.maximum(total, 1e-12)[:, None]
    centre = np.where(
        total[:, None] > 0, (share[:, :, None] * atom).sum(axis=1), crystal.position_pm
    )
    lit = layers > 0
    return (
        crystal_to_px(atom[lit], config.scan, origin_px),
        layers[lit],
        crystal_to_px(centre, config.scan, origin_px),
    )


def _rendered(position_px: FloatArray, weight: FloatArray, config: SimulationConfig) -> FloatArray:
    matrix = config.scan.matrix_pm()
    shape = (config.scan.shape[0], config.scan.shape[1])
    image = render_columns(position_px, weight, shape, matrix, config.probe)
    return image / column_height(matrix, config.probe)


def simulate_image(
    config: SimulationConfig, rng: np.random.Generator, name: str = "simulated"
) -> SimulatedImage:
    """One exposure of a random crystal.

    Parameters
    ----------
    config : SimulationConfig
    rng : numpy.random.Generator
    name : str
        Name of the image.
    """
    crystal = crystal_for(config, rng)
    scan = config.scan
    origin = (np.asarray(scan.shape) - 1) / 2 + rng.uniform(-0.5, 0.5, 2) * 300 / scan.pixel_size_pm
    clean, position = crystal_image(crystal, config, origin)
    counts = recorded(clean + contamination(scan, rng), config, rng)
    return with_truth(counts, position, crystal, config, name)


def recorded(image: FloatArray, config: SimulationConfig, rng: np.random.Generator) -> IntArray:
    """What lies in the file: counts of a noise-free image, worked on as the settings say.

    As `acquisition.whole_counts` holds them; grey values as uint16.

    Parameters
    ----------
    image : array, `(H, W)`
        In units of a metal column's height.
    config : SimulationConfig
    rng : numpy.random.Generator
    """
    counts = expose(image, config.scan, rng)
    if not config.processing.changes:
        return counts
    grey = process(np.asarray(counts, dtype=float), config.processing, config.scan.pixel_size_pm)
    return np.round(grey * (config.processing.grey_values - 1)).astype(np.uint16)


def simulate_series(
    config: SimulationConfig,
    rng: np.random.Generator,
    name: str = "series",
    drift_pm_per_s: float = 5.0,
    dwell_s: float = 2e-6,
) -> SimulatedImage:
    """The frames of one region one by one, drifting steadily in a random direction.

    The drift within a frame is a row's place in time: a shear and stretch of the frame.

    Parameters
    ----------
    config : SimulationConfig
        Of the sum: its dose and read noise are shared out among `scan.frames` frames.
    rng : numpy.random.Generator
    name : str
    drift_pm_per_s : float
        Speed of the drift [pm/s].
    dwell_s : float
        Time a pixel [s].

    Returns
    -------
    SimulatedImage
        `(T, H, W)` counts, the settings of one frame, columns as they lie when the first frame
        starts; ``drift_pm_yx`` of each frame's middle in the metadata.
    """
    frames = config.scan.frames
    scan = config.scan.replace(
        dose_e_per_nm2=config.scan.dose_e_per_nm2 / frames,
        read_noise=config.scan.read_noise * float(np.sqrt(frames)),
        frames=1,
    )
    single = config.replace(scan=scan)
    crystal = crystal_for(single, rng)
    dirt = contamination(scan, rng)
    origin = (np.asarray(scan.shape) - 1) / 2
    angle = rng.uniform(0, 2 * np.pi)
    per_second = drift_pm_per_s / scan.pixel_size_pm * np.array([np.sin(angle), np.cos(angle)])
    frame_s = scan.shape[0] * scan.shape[1] * dwell_s
    atoms, weight, start = atoms_px(crystal, single, origin)
    row = np.clip(atoms[:, :1], 0, scan.shape[0]) / scan.shape[0]
    counts, drift = [], []
    for t in range(frames):
        clean = _rendered(atoms + per_second * (frame_s * (t + row)), weight, single)
        counts.append(recorded(clean + dirt, single, rng))
        drift.append((frame_s * (t + 0.5) * per_second * scan.pixel_size_pm).tolist())
    made = with_truth(np.stack(counts), start, crystal, single, name)
    extra = {"dwell_time_us": dwell_s * 1e6, "drift_pm_yx": drift}
    return replace(made, metadata={**made.metadata, **extra})


def with_truth(
    counts: IntArray,
    position: FloatArray,
    crystal: Crystal,
    config: SimulationConfig,
    name: str,
) -> SimulatedImage:
    """Counts with the truth of the columns that lie in the image; `position` is (y, x) [px]."""
    shape = np.asarray(config.scan.shape)
    inside = np.all((position >= -0.5) & (position <= shape - 0.5), axis=1)
    extra = {}
    if crystal.kind[inside].any():
        names = np.array(kind_names(get_material(config.crystal.material)))
        extra["kind"] = names[crystal.kind[inside]]
    return SimulatedImage(
        name,
        counts,
        position[inside],
        crystal.class_index[inside],
        crystal.displacement_pm[inside],
        crystal.own_displacement_pm[inside],
        config,
        metadata_of(config),
        extra,
    )


def metadata_of(config: SimulationConfig) -> dict[str, object]:
    """What a simulated file says of itself."""
    return {
        "beam_energy_kev": config.probe.energy_kev,
        "simulated": True,
        "simulation": config.to_dict(),
    }
