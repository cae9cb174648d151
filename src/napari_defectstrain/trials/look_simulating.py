"""Images with truth that look like somebody's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy.fft
from scipy.special import ndtr

from ..columns import ColumnProfile, ColumnRenderer
from ..materials import ROLES
from ..simulate import (
    Crystal,
    SimulatedImage,
    SimulationConfig,
    crystal_for,
    jitter_lines,
    with_truth,
)
from ..types import FloatArray, IntArray
from .look_seeing import LAST, X2
from .look_training import look_settings
from .looks import QUANTILES, Look
from .twins import coloured_noise, column_peak

_COEFFICIENTS = 24
_GREYS = 60_000
"""Grey values between the darkest and the brightest pixel of a picture without steps."""
_NO_SKEW = 1e-3
_LEAST = 0.05  # of the mean variance, below which no pixel's is


def simulate_look(
    look: Look,
    shape: Sequence[int],
    seed: int,
    name: str = "",
    rotation_deg: float | None = None,
    **changes: object,
) -> SimulatedImage:
    """An image of a look with its truth, as `simulate.write_simulated` writes it.

    Parameters
    ----------
    look : Look
    shape : sequence of int
        (H, W) [px].
    seed : int
        Of everything random: the crystal, its turn, noise, jitter and contamination.
    name : str
        Of the image; default ``like_`` and the first that the look was learnt from.
    rotation_deg : float, optional
        Angle of the crystal in the image, counter-clockwise; default drawn at random.
    changes
        Other settings of the crystal (`simulate.CrystalConfig`) than the look's.
    """
    rng = np.random.default_rng(seed)
    config = look_settings(look, (int(shape[0]), int(shape[1])))
    drawn = float(rng.uniform(0, 360))
    config = config.replace(
        crystal=config.crystal.replace(**changes),
        scan=config.scan.replace(rotation_deg=drawn if rotation_deg is None else rotation_deg),
    )
    crystal = crystal_for(config, rng)
    position = _places(look, crystal, config, rng)
    picture = _columns(look, position, _weights(look, crystal, rng), config.scan.shape)
    dirt = _contamination(look, config.scan.shape, rng)
    picture = _with_jitter(look, picture + dirt, rng)
    picture = picture + _noise(look, picture, dirt, rng)
    made = with_truth(
        _grey(look, picture), position, crystal, config, name or f"like_{look.images[0]}"
    )
    told: dict[str, object] = {"simulated": True}
    if look.shape.energy_kev is not None:
        told["beam_energy_kev"] = look.shape.energy_kev
    # not the settings: the columns' shape, noise and contamination are those of the look
    return replace(made, metadata=told)


def _places(
    look: Look, crystal: Crystal, config: SimulationConfig, rng: np.random.Generator
) -> FloatArray:
    """(y, x) of the columns [px]."""
    scan = config.scan
    origin = (np.asarray(scan.shape) - 1) / 2 + rng.uniform(-0.5, 0.5, 2) * 300 / scan.pixel_size_pm
    angle = np.deg2rad(scan.rotation_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    half, across = look.scan.shear_xx_yy.value / 2, look.scan.shear_xy.value
    stretch = np.array([[1 + half, across], [across, 1 - half]])
    xy = crystal.position_pm @ (stretch @ turn).T / scan.pixel_size_pm
    return np.asarray(origin + np.stack([-xy[:, 1], xy[:, 0]], axis=1))


def _weights(look: Look, crystal: Crystal, rng: np.random.Generator) -> FloatArray:
    """Brightness of each column, with the scatter within its class."""
    typical = np.zeros(len(ROLES))
    typical[0] = 1.0
    typical[X2:LAST] = [w.value for w in look.columns.weights]
    scatter = np.full(len(ROLES), look.columns.scatter[1].value)
    scatter[0] = look.columns.scatter[0].value
    role = crystal.class_index
    weight = typical[role] + scatter[role] * rng.standard_normal(len(role)) * (typical[role] > 0)
    return np.asarray(np.maximum(weight, 0.0))


def _columns(
    look: Look, position_px: FloatArray, weight: FloatArray, shape: Sequence[int]
) -> FloatArray:
    """Image of columns, those of weight 1 of height 1, `(H, W)`."""
    profile = look_profile(look)
    peak = column_peak(profile)
    width = float(np.sqrt(1.0 / (2 * np.pi * max(peak, 1e-9))))
    renderer = ColumnRenderer((shape[0], shape[1]), max(width, 0.8), profile.cutoff_per_pm)
    near = np.all(
        (position_px > -renderer.pad / 2) & (position_px < np.asarray(shape) + renderer.pad / 2),
        axis=1,
    )
    factor = renderer.structure_factor(renderer.spread(position_px[near]), weight[near])
    return np.asarray(renderer.image(factor * renderer.transfer(profile)), dtype=float) / peak


def look_profile(look: Look) -> ColumnProfile:
    """The profile of the columns in pixels, y down, of integral 1."""
    pixel = look.pixel_size_pm.value
    k = np.asarray(look.shape.frequency_per_pm)
    fine = np.linspace(0.0, k[-1], 8 * len(k))
    value = np.interp(fine, k, look.shape.transfer)
    flat = ColumnProfile(np.ones(_COEFFICIENTS), float(k[-1]) * pixel, np.zeros(3))
    basis = flat.basis(fine * pixel)
    middle = np.linalg.lstsq(basis[:, 1:-1], value - basis[:, 0], rcond=None)[0]
    blur = np.asarray(look.shape.blur_pm2) * np.array([1.0, -1.0, 1.0]) / pixel**2
    coefficient = np.concatenate([[1.0], middle, [0.0]])
    return replace(flat, coefficient=coefficient, blur_pm2=blur)


def _contamination(look: Look, shape: Sequence[int], rng: np.random.Generator) -> FloatArray:
    """Slow brightness of the look's texture and distribution, `(H, W)`."""
    dirt = look.background
    pixel_nm = look.pixel_size_pm.value * 1e-3
    # larger than the picture: what lies at one rim must not come back at the other
    size = [scipy.fft.next_fast_len(int(1.5 * n), real=True) for n in shape]
    k = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])) / pixel_nm
    known = np.asarray(dirt.frequency_per_nm)
    power = np.exp(
        np.interp(
            np.log(np.maximum(k, 0.5 * known[0])),
            np.log(known),
            np.log(np.maximum(dirt.power, 1e-12 * max(dirt.power))),
        )
    )
    power[k > known[-1]] = 0.0
    power[0, 0] = 0.0
    both = np.full(power.shape[1], 2.0)
    both[0] = 1.0
    variance = float((power * both).sum()) / (size[0] * size[1])
    waves = scipy.fft.rfft2(rng.standard_normal(size)) * np.sqrt(power / max(variance, 1e-30))
    field = scipy.fft.irfft2(waves, s=size)[: shape[0], : shape[1]]
    return np.asarray(np.interp(ndtr(field), np.linspace(0, 1, QUANTILES), dirt.quantiles))


def _with_jitter(look: Look, picture: FloatArray, rng: np.random.Generator) -> FloatArray:
    line = look.scan.line_px.value
    if line <= 0:
        return picture
    return jitter_lines(picture, rng.normal(0.0, line, (1, len(picture))))


def _noise(
    look: Look, picture: FloatArray, dirt: FloatArray, rng: np.random.Generator
) -> FloatArray:
    noise = look.noise
    variance = noise.floor.value + noise.slope.value * picture + noise.with_background.value * dirt
    variance = np.maximum(variance, _LEAST * max(float(variance.mean()), 0.0))
    made = coloured_noise(picture.shape, np.asarray(noise.spectrum), rng)
    width = np.sqrt(variance)
    return np.asarray(_skewed(made, noise.skew.value / width) * width)


def _skewed(normal: FloatArray, skewness: FloatArray) -> FloatArray:
    """Normal numbers made gamma distributed, of unit variance and the skewness given.

    By Wilson and Hilferty's cube (1931, doi:10.1073/pnas.17.12.684).
    """
    sign = np.sign(skewness)
    size = np.clip(np.abs(skewness), 1e-6, 2.0)
    shape = 4.0 / size**2
    third = 1.0 - 1.0 / (9.0 * shape) + sign * normal / (3.0 * np.sqrt(shape))
    cube = np.sqrt(shape) * (np.maximum(third, 0.0) ** 3 - 1.0)
    return np.where(size > _NO_SKEW, sign * cube, normal)


def _grey(look: Look, picture: FloatArray) -> IntArray:
    """As grey values of a file, uint16."""
    grey = look.grey
    value = grey.base + grey.height * picture
    if grey.ends:
        value = np.clip(value, grey.ends[0], grey.ends[1])
    step = grey.step
    if not step or (value.max() - value.min()) / step > _GREYS:
        step = float(value.max() - value.min()) / _GREYS
    low = grey.ends[0] if grey.ends else float(value.min())
    return np.clip(np.round((value - low) / step), 0, 65535).astype(np.uint16)
