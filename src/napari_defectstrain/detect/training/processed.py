"""What people do to pictures, on tensors: `simulate.processing.process` where a GPU renders.

One window after the other, each in the pixels of its own scan; smoothing is a product of matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import scipy.fft
import torch
from torch import Tensor

from ...simulate.processing import BLOCK, ProcessingConfig, damping, jpeg_steps
from .render_jobs import RenderJob


def processed(images: Tensor, jobs: Sequence[RenderJob]) -> Tensor:
    """Counts in the pixels of each job's scan, `(b, n, n)`, worked on as the jobs say."""
    if not any(job.processing.changes for job in jobs):
        return images
    images = images.clone()
    for image, job in zip(images, jobs, strict=True):
        n = job.scan.shape[0]
        if job.processing.changes:
            image[:n, :n] = process_tensor(image[:n, :n], job.processing, job.scan.pixel_size_pm)
    return images


def process_tensor(image: Tensor, config: ProcessingConfig, pixel_size_pm: float) -> Tensor:
    """A picture `(n, n)` after it was worked on: grey values from 0 to 1."""
    grey = image
    if config.smooth_pm:
        grey = _smoothed(grey, config.smooth_pm / pixel_size_pm)
    if config.subtract_pm:
        grey = grey - _smoothed(grey, config.subtract_pm / pixel_size_pm)
    # sorted rather than torch.quantile, which ends at 16 million elements
    ordered = grey.flatten().sort().values
    low, high = (_at_fraction(ordered, f) for f in (config.clip[0], 1 - config.clip[1]))
    grey = ((grey - low) / (high - low).clamp(min=1e-12)).clamp(0, 1) ** config.gamma
    steps = config.grey_values - 1
    grey = (grey * steps).round() / steps
    return _through_jpeg(grey, config.jpeg_quality) if config.jpeg_quality else grey


def _at_fraction(ordered: Tensor, fraction: float) -> Tensor:
    """Quantile of sorted values, between two of them as numpy takes it."""
    place = fraction * (len(ordered) - 1)
    below = min(int(place), len(ordered) - 2)
    return torch.lerp(ordered[below], ordered[below + 1], place - below)


def _smoothed(image: Tensor, sigma_px: float) -> Tensor:
    n = image.shape[0]
    factors = torch.from_numpy(damping(n, sigma_px)).to(image)
    basis = _cosines(n, image.device, image.dtype)
    smooth = basis.mT @ (factors[:, None] * basis)
    return smooth @ image @ smooth.mT


@lru_cache(maxsize=64)
def _cosines(n: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Orthonormal cosine transform of n points, `(n, n)`: coefficients by rows."""
    basis = scipy.fft.dct(np.eye(n), axis=0, norm="ortho")
    return torch.from_numpy(basis).to(device, dtype)


def _through_jpeg(grey: Tensor, quality: int) -> Tensor:
    height, width = grey.shape
    lack = (0, -width % BLOCK, 0, -height % BLOCK)
    padded = torch.nn.functional.pad((grey * 255 - 128)[None, None], lack, mode="replicate")[0, 0]
    rows, columns = (n // BLOCK for n in padded.shape)
    blocks = padded.reshape(rows, BLOCK, columns, BLOCK).transpose(1, 2)
    basis = _cosines(BLOCK, grey.device, grey.dtype)
    steps = torch.from_numpy(jpeg_steps(quality)).to(grey)
    spectrum = ((basis @ blocks @ basis.mT) / steps).round() * steps
    back = (basis.mT @ spectrum @ basis).transpose(1, 2).reshape(padded.shape)
    return ((back + 128).round().clamp(0, 255) / 255)[:height, :width]
