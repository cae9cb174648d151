"""What a training window shows, drawn and not yet rendered: light work for a processor core."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.fft

from ...simulate.acquisition import ScanConfig
from ...simulate.background import measured_contamination
from ...simulate.conditions import Conditions
from ...simulate.dataset import SimulationConfig, atoms_px
from ...simulate.image import PATCH_PM, sampling
from ...simulate.probe import ProbeConfig
from ...simulate.processing import ProcessingConfig
from ...simulate.structure import Crystal
from ...types import DefectStrainError, FloatArray
from ..finding.prepare import resampled_shape, to_resampled
from ..network.config import CANONICAL_PIXEL_PM
from .windows import RIM_PX, draw_scene, label_columns, told_condition

_MARGIN_PM = 700.0
"""How far outside the scan columns still light it [pm], as in `simulate.image.render_columns`."""


@dataclass(frozen=True)
class RenderJob:
    """One window before it is rendered: atoms, optics, scan and labels.

    Parameters
    ----------
    position_px : array, `(N, 2)`
        (y, x) of the atoms in the scan [px], those that light it.
    weight : array, `(N,)`
        Brightness of each relative to a metal column's.
    probe : ProbeConfig
    scan : ScanConfig
        Square.
    labels : array, `(h, h)`
        uint8, as `windows.Window.labels`.
    material : str
    condition : array, `(conditions,)`
        As `windows.Window.condition`.
    processing : ProcessingConfig
    dirt : array, `(g, g)`, or None
        A measured contamination in units of a metal column's height, in place of a simulated one:
        one period of the rendered field at `grid_points(h)` points a side.
    """

    position_px: FloatArray
    weight: FloatArray
    probe: ProbeConfig
    scan: ScanConfig
    labels: npt.NDArray[np.uint8]
    material: str
    condition: FloatArray
    processing: ProcessingConfig = field(default_factory=ProcessingConfig)
    dirt: npt.NDArray[np.float32] | None = None


class Period:
    """The field that is rendered: the scan, a margin on either side, continued periodically.

    The same as in `simulate.image.render_columns`, so that both make the same image.

    Parameters
    ----------
    scan : ScanConfig
    probe : ProbeConfig

    Attributes
    ----------
    margin_px, length_px : float
        Margin before the scan's first pixel, and one period [px].
    fineness : int
        Points of the probe's patch by pixel.
    patch : int
        Points along a side of the patch, whose rim cuts the probe's tails.
    """

    def __init__(self, scan: ScanConfig, probe: ProbeConfig) -> None:
        if scan.shape[0] != scan.shape[1]:
            raise DefectStrainError(
                f"window: got a scan of {scan.shape[0]} x {scan.shape[1]} px, expected a square one"
            )
        pitch, self.fineness = sampling(scan.matrix_pm(), probe)
        self.margin_px = int(np.ceil(_MARGIN_PM / pitch))
        points = (scan.shape[0] + 2 * self.margin_px) * self.fineness
        self.length_px = scipy.fft.next_fast_len(points, real=True) / self.fineness
        self.patch = scipy.fft.next_fast_len(int(np.ceil(PATCH_PM * self.fineness / pitch)))


def grid_points(window_px: int) -> int:
    """Points along a side of the grid that contamination is made on: about one in 40 pm.

    >>> grid_points(128)
    192
    """
    margins = 2 * int(np.ceil(_MARGIN_PM / CANONICAL_PIXEL_PM))
    return int(scipy.fft.next_fast_len(window_px + 2 * RIM_PX + margins + 2, real=True))


def draw_job(conditions: Conditions, window_px: int, rng: np.random.Generator) -> RenderJob:
    """A fresh window of `window_px` x `window_px`, all but its rendering.

    The draws of `windows.draw_window` up to the noise: the same generator gives the same columns,
    optics and labels.

    Parameters
    ----------
    conditions : Conditions
    window_px : int
        Side of the window at the network's sampling [px].
    rng : numpy.random.Generator
    """
    config, crystal, origin = draw_scene(conditions, window_px, rng)
    dirt = None
    if conditions.background and rng.random() < 0.5:
        dirt = _measured_dirt(Path(conditions.background), config, window_px, rng)
    return job_of(crystal, config, origin, window_px, dirt)


def job_of(
    crystal: Crystal,
    config: SimulationConfig,
    origin_px: FloatArray,
    window_px: int,
    dirt: npt.NDArray[np.float32] | None = None,
) -> RenderJob:
    """The window that shows a given crystal.

    Parameters
    ----------
    crystal : Crystal
    config : SimulationConfig
    origin_px : array, `(2,)`
        (y, x) of the sample's origin in the scan [px].
    window_px : int
        Side of the window at the network's sampling [px]; the scan covers it and its rim.
    dirt : array, optional
        `RenderJob.dirt`.

    Raises
    ------
    DefectStrainError
        If the scan isn't square or is too small for the window.
    """
    scan = config.scan
    shape = resampled_shape(scan.shape, scan.pixel_size_pm, CANONICAL_PIXEL_PM)
    if min(shape) < window_px + 2 * RIM_PX:
        raise DefectStrainError(
            f"window: got a scan of {min(shape)} px at {CANONICAL_PIXEL_PM:g} pm, expected "
            f"{window_px + 2 * RIM_PX} or more for a window of {window_px} px"
        )
    position, weight, centre = atoms_px(crystal, config, origin_px)
    margin = Period(scan, config.probe).margin_px
    lights = (weight > 0) & np.all(
        (position > -margin) & (position < np.asarray(scan.shape) + margin), axis=1
    )
    labels = label_columns(to_resampled(centre, scan.shape, shape), crystal.class_index, shape)
    cut = slice(RIM_PX, RIM_PX + window_px)
    return RenderJob(
        position[lights],
        weight[lights],
        config.probe,
        scan,
        labels[cut, cut].astype(np.uint8),
        config.crystal.material,
        told_condition(config),
        config.processing,
        dirt,
    )


def _measured_dirt(
    path: Path, config: SimulationConfig, window_px: int, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """A cut of a measured contamination, made periodic within the margin, `(g, g)`."""
    points = grid_points(window_px)
    period = Period(config.scan, config.probe)
    pitch_px = period.length_px / points
    over = int(period.margin_px / pitch_px)
    grid = config.scan.replace(
        shape=(points + over, points + over), pixel_size_pm=config.scan.pixel_size_pm * pitch_px
    )
    field = measured_contamination(path, grid, rng)
    # the first points fade in from those that follow on the last: the seam lies outside the scan
    fade = np.arange(over)[:, None] / max(over, 1)
    field[:over] = fade * field[:over] + (1 - fade) * field[points:]
    field[:, :over] = fade.T * field[:, :over] + (1 - fade.T) * field[:, points:]
    return np.asarray(field[:points, :points], dtype=np.float32)
