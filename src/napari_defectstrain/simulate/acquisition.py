"""From a noise-free image to counts: contamination, scan-line jitter, dose, detector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import scipy.fft

from ..config import PIXEL_SIZE_PM, Between, Config, Length
from ..types import DefectStrainError, FloatArray, IntArray


@dataclass(frozen=True)
class ScanConfig(Config):
    """How the image is taken.

    Parameters
    ----------
    shape : tuple of int
        (H, W) [px].
    pixel_size_pm : float
    rotation_deg : float
        Angle by which the crystal is turned in the image, counter-clockwise.
    shear_x, shear_y : float
        Horizontal and vertical shear of the scan.
    dose_e_per_nm2 : float
        Total dose of all frames [e-/nm^2].
    frames : int
        Frames summed after registration; each has its own scan-line jitter.
    jitter_px : float
        Standard deviation of the shift of a scan line in one frame [px].
    whole_px : bool
        Lines are shifted by whole pixels, as where a line's start is found by a clock.
    metal_fraction : float
        Fraction of the beam that the detector counts on top of a metal column.
    read_noise : float
        Standard deviation of the detector's noise in the summed image, as a fraction of a metal
        column's height.
    noise_pm : float
        Correlation length of that noise [pm]; 0 for white noise.
    gain : float
        Counts an electron.
    offset_counts : float
        Dark level that keeps counts positive.
    contamination : float
        Mean intensity of contamination as a fraction of a metal column's height.
    contamination_nm : float
        Correlation length of the contamination [nm].
    patchiness : float
        Standard deviation of the contamination's thickness as a fraction of its mean.
    texture : float
        Amorphous texture of the contamination, as a fraction of it.
    grain_pm : float
        Correlation length of that texture [pm].
    """

    shape: Annotated[tuple[int, ...], Length(2), Between(32, 2**15)] = (1024, 1024)
    pixel_size_pm: Annotated[float, PIXEL_SIZE_PM] = 20.74
    rotation_deg: Annotated[float, Between(-10000, 10000)] = 0.0
    shear_x: Annotated[float, Between(-1, 1)] = 0.0
    shear_y: Annotated[float, Between(-1, 1)] = 0.0
    dose_e_per_nm2: Annotated[float, Between(0.001, 1e15)] = 1.24e7
    frames: Annotated[int, Between(1, 10000)] = 10
    jitter_px: Annotated[float, Between(0, 1000)] = 1.0
    whole_px: bool = False
    metal_fraction: Annotated[float, Between(1e-6, 1)] = 0.025
    read_noise: Annotated[float, Between(0, 1000)] = 0.12
    noise_pm: Annotated[float, Between(0, 10000)] = 0.0
    gain: Annotated[float, Between(1e-6, 1e6)] = 1.0
    offset_counts: Annotated[float, Between(0, 1e9)] = 100.0
    contamination: Annotated[float, Between(0, 1000)] = 0.1
    contamination_nm: Annotated[float, Between(0.01, 10000)] = 3.0
    patchiness: Annotated[float, Between(0, 100)] = 0.6
    texture: Annotated[float, Between(0, 100)] = 0.1
    grain_pm: Annotated[float, Between(80, 10000)] = 100.0

    def matrix_pm(self) -> FloatArray:
        """Place in the sample (x right, y up) [pm] by that in the scan (x right, y down) [px]."""
        angle = np.deg2rad(self.rotation_deg)
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        shear = np.array([[1.0, self.shear_x], [self.shear_y, 1.0]])
        flip = np.diag([1.0, -1.0])
        return np.asarray(rotation @ flip @ shear * self.pixel_size_pm)


def random_field(
    shape: tuple[int, int], correlation_px: float, rng: np.random.Generator
) -> FloatArray:
    """A Gaussian random field with a Gaussian correlation, `shape`.

    Of unit variance where many correlation lengths fit into the image; of less where it holds
    but one or two, down to 0.65: a slow field hardly varies there.
    """
    pad = int(3 * correlation_px) + 1
    size = [scipy.fft.next_fast_len(n + pad, real=True) for n in shape]
    # A long correlation needs few numbers: draw on a coarse grid in Fourier space only.
    noise = scipy.fft.rfft2(rng.standard_normal(size))
    # exp(-(pi c f)^2) along each axis: the filter is separable, and so is its mean square
    down, across = (
        np.exp(-((np.pi * correlation_px * f) ** 2))
        for f in (np.fft.fftfreq(size[0]), np.fft.rfftfreq(size[1]))
    )
    noise *= down[:, None]
    noise *= across
    field = scipy.fft.irfft2(noise, s=size)[: shape[0], : shape[1]]
    # Unit variance of the process, not of this draw: a small image may lie on one slope.
    norm = np.sqrt(np.mean(down**2) * np.mean(across**2))
    return np.asarray(field / norm)


def contamination(config: ScanConfig, rng: np.random.Generator) -> FloatArray:
    """Intensity of surface contamination in units of a metal column's height, never negative.

    Low-frequency contrast with the texture of amorphous carbon on top, `(H, W)`.
    """
    shape = (config.shape[0], config.shape[1])
    slow = random_field(shape, config.contamination_nm * 1e3 / config.pixel_size_pm, rng)
    thickness = np.clip(1 + config.patchiness * slow, 0, None)
    if config.texture:
        grain = random_field(shape, config.grain_pm / config.pixel_size_pm, rng)
        thickness = thickness * np.clip(1 + config.texture * grain, 0, None)
    return np.asarray(config.contamination * thickness)


def jitter_lines(image: FloatArray, shift_px: FloatArray) -> FloatArray:
    """Mean over frames of an image whose lines are shifted along x.

    Parameters
    ----------
    image : array, `(H, W)`
    shift_px : array, `(T, H)`
        Shift of each line in each frame [px].
    """
    pad = 32
    padded = np.pad(image, ((0, 0), (pad, pad)), mode="reflect")
    width = scipy.fft.next_fast_len(padded.shape[1], real=True)
    spectrum = scipy.fft.rfft(padded, n=width, axis=1)
    # The sum over frames of exp(-2 pi i f s) = z^k. With k = 32 j + b it is a sum of products
    # z^(32 j) z^b, a matrix product for each line: a hundredth of the exponentials.
    blocks = 32
    fine = np.exp(-2j * np.pi / width * shift_px.T[:, :, None] * np.arange(blocks))  # (H, T, 32)
    steps = blocks * np.arange(-(-spectrum.shape[1] // blocks))
    coarse = np.exp(-2j * np.pi / width * shift_px.T[:, None, :] * steps[:, None])  # (H, J, T)
    phase = (coarse @ fine).reshape(len(spectrum), -1)
    spectrum *= phase[:, : spectrum.shape[1]] / len(shift_px)
    return np.asarray(scipy.fft.irfft(spectrum, n=width, axis=1)[:, pad : pad + image.shape[1]])


def expose(image: FloatArray, config: ScanConfig, rng: np.random.Generator) -> IntArray:
    """Counts of a noise-free image in units of a metal column's height.

    Scan-line jitter of every frame, Poisson statistics of the dose, read noise and dark level;
    rounded to whole counts, `(H, W)`, as `whole_counts` holds them.

    Raises
    ------
    DefectStrainError
        If there are more than any file can hold.
    """
    blurred = image
    if config.jitter_px:
        shift = rng.normal(0, config.jitter_px, (config.frames, image.shape[0]))
        # registration of whole frames removes their mean shift
        shift -= shift.mean(axis=1, keepdims=True)
        blurred = jitter_lines(image, np.round(shift) if config.whole_px else shift)
    pixel_nm2 = (config.pixel_size_pm * 1e-3) ** 2
    height = config.dose_e_per_nm2 * pixel_nm2 * config.metal_fraction
    counts = rng.poisson(np.clip(blurred, 0, None) * height).astype(float)
    if config.read_noise:
        if config.noise_pm:
            noise = random_field(counts.shape, config.noise_pm / config.pixel_size_pm, rng)
        else:
            noise = rng.standard_normal(image.shape)
        counts += noise * (config.read_noise * height)
    counts *= config.gain
    return whole_counts(counts + config.offset_counts)


def whole_counts(counts: FloatArray) -> IntArray:
    """Counts as a file holds them: none below zero; uint16, or uint32 where they are more.

    Parameters
    ----------
    counts : array

    Raises
    ------
    DefectStrainError
        If there are more than 32 bits can tell.
    """
    whole = np.clip(np.round(counts), 0, None)
    most = float(whole.max(initial=0.0))
    if not most <= np.iinfo(np.uint32).max:
        raise DefectStrainError(
            f"simulation: got {most:.3g} counts in a pixel, expected at most "
            f"{np.iinfo(np.uint32).max:.3g}; choose a lower dose or gain"
        )
    return whole.astype(np.uint16 if most <= np.iinfo(np.uint16).max else np.uint32)
