"""A simulated spectrum image, scanned along with a simulated image: lines of the elements, counts.

Every column sheds Gaussian lines at its place, blurred more widely than in the image
(delocalisation); a background falls off with the channel. Vacancies have a line of their own, as
one that hydrogen or oxygen filled would.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from ..config import Between, Config, Length
from ..materials import ROLES
from ..types import FloatArray, IntArray
from .acquisition import whole_counts
from .dataset import SimulatedImage
from .image import render_columns


@dataclass(frozen=True)
class SpectrumConfig(Config):
    """Settings of a simulated spectrum image.

    Parameters
    ----------
    channels : int
    step_px : int
        Pixels of the image a scan position of the spectrum image, along both axes.
    line_channel : tuple of float
        Centres of the lines of the metal, of the chalcogen atoms (of X and Y alike), and of single
        vacancies.
    line_width : float
        Their standard deviation [channels].
    counts : tuple of float
        Counts that a metal column, one chalcogen atom and a vacancy add to the spectrum image.
    background : float
        Counts of each position in the first channel.
    source_fwhm_pm : float
        Blur of the signal on top of the probe [pm].
    """

    channels: Annotated[int, Between(8, 4096)] = 64
    step_px: Annotated[int, Between(1, 16)] = 2
    line_channel: Annotated[tuple[float, ...], Length(3), Between(0, 4096)] = (14.0, 30.0, 48.0)
    line_width: Annotated[float, Between(0.3, 100)] = 2.0
    counts: Annotated[tuple[float, ...], Length(3), Between(0, 1e6)] = (40.0, 20.0, 30.0)
    background: Annotated[float, Between(0, 1e6)] = 0.2
    source_fwhm_pm: Annotated[float, Between(1, 1e4)] = 150.0


def expected_spectra(made: SimulatedImage, config: SpectrumConfig) -> FloatArray:
    """The spectrum image of a simulated image without counting noise, `(h, w, channels)`.

    Parameters
    ----------
    made : SimulatedImage
    config : SpectrumConfig
    """
    metal, vacancy = ROLES.index("metal"), ROLES.index("V1")
    atoms = np.array([2.0 * (role in ("X2", "XY", "Y2")) + (role == "V1") for role in ROLES])
    role = made.class_index
    emitters = (role == metal, atoms[role], role == vacancy)
    scan = made.config.scan
    shape = (scan.shape[0] // config.step_px, scan.shape[1] // config.step_px)
    probe = replace(made.config.probe, source_fwhm_pm=config.source_fwhm_pm)
    channel = np.arange(config.channels)
    fall = np.exp(-channel / config.channels)
    spectra = np.full((*shape, config.channels), config.background * fall)
    place = (made.position_px + 0.5) / config.step_px - 0.5
    for emitter, counts, centre in zip(emitters, config.counts, config.line_channel, strict=True):
        amount = np.asarray(emitter, dtype=float) * counts
        lit = amount > 0
        matrix = scan.matrix_pm() * config.step_px
        lateral = render_columns(place[lit], amount[lit], shape, matrix, probe)
        line = np.exp(-0.5 * ((channel - centre) / config.line_width) ** 2)
        spectra += np.clip(lateral, 0, None)[:, :, None] * (line / line.sum())
    return spectra


def simulate_spectra(
    made: SimulatedImage, config: SpectrumConfig, rng: np.random.Generator
) -> IntArray:
    """The spectrum image of a simulated image, `(h, w, channels)`: `acquisition.whole_counts`.

    Parameters
    ----------
    made : SimulatedImage
    config : SpectrumConfig
    rng : numpy.random.Generator
    """
    return whole_counts(rng.poisson(expected_spectra(made, config)).astype(float))
