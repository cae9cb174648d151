"""What people do to pictures before they measure them: filters, contrast, eight bits, JPEG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import scipy.fft

from ..config import Between, Config, Length
from ..types import FloatArray

BLOCK = 8
"""Side of the blocks of JPEG [px]."""
JPEG_TABLE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    dtype=float,
)
"""Steps of the brightness coefficients at quality 50 (ITU-T T.81, table K.1)."""


@dataclass(frozen=True)
class ProcessingConfig(Config):
    """How a picture was worked on after it was taken, in this order; by default not at all.

    Parameters
    ----------
    smooth_pm : float
        Standard deviation of a Gaussian low-pass filter [pm].
    subtract_pm : float
        Standard deviation of the Gaussian whose smoothed picture is subtracted as background [pm].
    clip : tuple of float
        Fractions of the pixels that are set to the darkest and to the brightest grey.
    gamma : float
        Exponent of the grey values between 0 and 1.
    eight_bit : bool
        Rounded to 256 grey values.
    jpeg_quality : int
        Of a JPEG file, 1-100; 0 for none.
    """

    smooth_pm: Annotated[float, Between(0, 1e5)] = 0.0
    subtract_pm: Annotated[float, Between(0, 1e6)] = 0.0
    clip: Annotated[tuple[float, ...], Length(2), Between(0, 0.49)] = (0.0, 0.0)
    gamma: Annotated[float, Between(0.05, 20)] = 1.0
    eight_bit: bool = False
    jpeg_quality: Annotated[int, Between(0, 100)] = 0

    @property
    def changes(self) -> bool:
        """Whether anything is done at all."""
        return self != ProcessingConfig()

    @property
    def grey_values(self) -> int:
        """How many the picture has: of eight bits or sixteen."""
        return 256 if self.eight_bit or self.jpeg_quality else 65536


def process(image: FloatArray, config: ProcessingConfig, pixel_size_pm: float) -> FloatArray:
    """A picture after it was worked on, `(H, W)`: grey values from 0 to 1.

    Parameters
    ----------
    image : array, `(H, W)`
    config : ProcessingConfig
    pixel_size_pm : float
    """
    grey = np.asarray(image, dtype=float)
    if config.smooth_pm:
        grey = _smoothed(grey, config.smooth_pm / pixel_size_pm)
    if config.subtract_pm:
        grey = grey - _smoothed(grey, config.subtract_pm / pixel_size_pm)
    low, high = np.quantile(grey, [config.clip[0], 1 - config.clip[1]])
    grey = np.clip((grey - low) / max(high - low, 1e-12), 0, 1) ** config.gamma
    grey = np.round(grey * (config.grey_values - 1)) / (config.grey_values - 1)
    return _through_jpeg(grey, config.jpeg_quality) if config.jpeg_quality else grey


def damping(n: int, sigma_px: float) -> FloatArray:
    """Factors of the n coefficients of a cosine transform that smooth by a Gaussian, `(n,)`."""
    return np.asarray(np.exp(-0.5 * (np.pi * sigma_px * np.arange(n) / n) ** 2))


def jpeg_steps(quality: int) -> FloatArray:
    """Steps of the coefficients by the quality, `(8, 8)`, as the common library scales them."""
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    return np.clip(np.floor((JPEG_TABLE * scale + 50) / 100), 1, 255)


def _smoothed(image: FloatArray, sigma_px: float) -> FloatArray:
    """By a Gaussian, the image mirrored at its rim: as cheap however wide it is."""
    spectrum = scipy.fft.dctn(image)
    spectrum *= damping(image.shape[0], sigma_px)[:, None]
    spectrum *= damping(image.shape[1], sigma_px)
    return np.asarray(scipy.fft.idctn(spectrum))


def _through_jpeg(grey: FloatArray, quality: int) -> FloatArray:
    """What a JPEG file gives back: blocks of 8 x 8 px, their cosine coefficients in steps."""
    height, width = grey.shape
    padded = np.pad(grey * 255 - 128, ((0, -height % BLOCK), (0, -width % BLOCK)), mode="edge")
    rows, columns = (n // BLOCK for n in padded.shape)
    blocks = padded.reshape(rows, BLOCK, columns, BLOCK)
    steps = jpeg_steps(quality)[:, None, :]
    spectrum = scipy.fft.dctn(blocks, axes=(1, 3), norm="ortho")
    back = scipy.fft.idctn(np.round(spectrum / steps) * steps, axes=(1, 3), norm="ortho")
    found = np.clip(np.round(back.reshape(padded.shape) + 128), 0, 255) / 255
    return np.asarray(found[:height, :width])
