"""Training windows rendered in batches, on a GPU or a CPU.

The steps of `windows.draw_window`, on tensors: columns, contamination, scan-line jitter, counts in
the pixels of each window's own scan, resampling, normalisation. Nearly all of it is products of
matrices, small ones that differ from window to window, so that one batch holds any pixel sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from ..finding.prepare import CONTRAST_PX
from .fourier_columns import (
    Batch,
    column_coefficients,
    packed_batches,
    sampled,
    sent,
    whole_frequencies,
)
from .processed import processed
from .render_jobs import RenderJob, grid_points
from .windows import RIM_PX


def render_batch(
    jobs: Sequence[RenderJob],
    device: torch.device,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Windows as the network sees them, from the distributions of `windows.draw_window`.

    Parameters
    ----------
    jobs : sequence of RenderJob
        Of one window size.
    device : torch.device
    generator : torch.Generator
        Of that device; draws contamination, jitter and counts.
    dtype : torch.dtype

    Returns
    -------
    images : tensor, `(b, 1, h, w)`
        Resampled and normalised.
    labels : tensor, `(b, h, w)`
        uint8, 0 is background, 1 + role elsewhere.

    Raises
    ------
    DefectStrainError
        Without windows, or with windows of different sizes.
    """
    with torch.no_grad():
        images, start = [], 0
        for batch in packed_batches(jobs, device, dtype):
            counts = _counts(batch, generator)
            pictures = processed(counts, jobs[start : start + len(counts)])
            images.append(_normalised(batch, _resampled(batch, pictures)))
            start += len(counts)
    labels = torch.from_numpy(np.stack([job.labels for job in jobs]))
    return torch.cat(images)[:, None], sent(labels, device, torch.uint8)


def exposures(
    jobs: Sequence[RenderJob],
    device: torch.device,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> list[Tensor]:
    """Counts in the pixels of each job's scan, `(n, n)`, as `acquisition.expose` draws them."""
    with torch.no_grad():
        found = [
            image
            for b in packed_batches(jobs, device, dtype)
            for image in _counts(b, generator).unbind()
        ]
    sides = [job.scan.shape[0] for job in jobs]
    return [image[:n, :n] for image, n in zip(found, sides, strict=True)]


def _counts(batch: Batch, generator: torch.Generator) -> Tensor:
    """Counts in the pixels of each scan, `(b, n, n)`: `simulate.acquisition.expose`."""
    coefficients = column_coefficients(batch) + _contamination(batch, generator)
    phase = _jitter(batch, generator) if batch.jitter else None
    image = sampled(batch, coefficients, phase)
    height, read_noise, gain, offset = batch.of("height", "read_noise", "gain", "offset")
    counts = torch.poisson(image.clamp(min=0) * height, generator=generator)
    noise = _normal(batch, image.shape, generator)
    if batch.coloured:
        filters = _noise_filter(batch)
        noise = filters @ noise @ filters.mT
    counts += noise * (read_noise * height)
    return (counts * gain + offset).round_().clamp_(0, 65535)


def _normal(batch: Batch, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    like = batch.weight
    return torch.randn(*shape, generator=generator, device=like.device, dtype=like.dtype)


def _noise_filter(batch: Batch) -> Tensor:
    """Matrices that give white noise the correlation of `acquisition.random_field`, `(b, n, n)`.

    Rows of unit length keep its variance at the rim too; without a correlation it is the identity.
    """
    length, side = batch.of("noise_length", "side")
    pixel = torch.arange(batch.side, device=batch.weight.device, dtype=batch.weight.dtype)
    apart = (pixel[:, None] - pixel) / length.clamp(min=0.05)
    matrix = torch.exp(-(apart.square())) * (pixel < side)
    return matrix / matrix.square().sum(dim=2, keepdim=True).sqrt().clamp(min=1e-12)


def _jitter(batch: Batch, generator: torch.Generator) -> Tensor:
    """Mean over frames of the phases that shift each line, `(b, n, K + 1)`."""
    jitter, side, frames, length = batch.of("jitter", "side", "frames", "length")
    like = batch.weight
    shift = _normal(batch, (len(like), batch.frames, batch.side), generator) * jitter
    line = torch.arange(batch.side, device=like.device)
    # registration of whole frames removes the mean shift of the scan's own lines
    shift = shift - (shift * (line < side)).sum(dim=2, keepdim=True) / side
    (whole,) = batch.of("whole_px")
    shift = torch.where(whole > 0, shift.round(), shift)
    wave = torch.arange(batch.waves + 1, device=like.device, dtype=like.dtype)
    frequency = -2 * torch.pi * wave / length  # (b, 1, K + 1)
    real = torch.zeros(len(like), batch.side, batch.waves + 1, device=like.device, dtype=like.dtype)
    imaginary = torch.zeros_like(real)
    for number in range(batch.frames):
        angle = shift[:, number, :, None] * frequency
        counted = (number < frames).to(like.dtype) / frames
        real.addcmul_(angle.cos(), counted)
        imaginary.addcmul_(angle.sin(), counted)
    return torch.complex(real, imaginary)


def _contamination(batch: Batch, generator: torch.Generator) -> Tensor:
    """Fourier coefficients of the contamination, `(b, 2 K + 1, K + 1)`, laid out as the columns'.

    Made on a grid of its own, fine enough for its texture (`simulate.acquisition.contamination`).
    """
    n = grid_points(batch.window)
    amount, patchiness, texture = batch.of("contamination", "patchiness", "texture")
    thickness = (1 + patchiness * _slow_field(batch, n, generator)).clamp(min=0)
    field = amount * thickness * (1 + texture * _grain(batch, n, generator)).clamp(min=0)
    if batch.dirt is not None:
        field = field + batch.dirt
    spectrum = torch.fft.rfft2(field, norm="forward")  # (b, n, n / 2 + 1)
    known = min(batch.waves, (n - 1) // 2)
    spectrum = torch.cat([spectrum[:, n - known :], spectrum[:, : known + 1]], dim=1)
    beyond = batch.waves - known
    return torch.nn.functional.pad(spectrum[:, :, : known + 1], (0, beyond, beyond, beyond))


def _grain(batch: Batch, n: int, generator: torch.Generator) -> Tensor:
    """Gaussian random field of unit variance with a Gaussian correlation, periodic, `(b, n, n)`."""
    grain, length = batch.of("grain_length", "length")
    noise = torch.fft.rfft2(_normal(batch, (len(batch.weight), n, n), generator))
    damping = torch.exp(
        -((torch.pi * grain / length * whole_frequencies(n, batch.weight)) ** 2)
    )  # (b, 1, n)
    noise *= damping.mT * damping[:, :, : n // 2 + 1]
    variance = damping.square().mean(dim=2, keepdim=True) ** 2
    return torch.fft.irfft2(noise, s=(n, n)) / variance.sqrt()


def _slow_field(batch: Batch, n: int, generator: torch.Generator) -> Tensor:
    """The same for a correlation as long as the field, whose seam is faded over in the margin.

    A sum of few harmonics of a longer period, so that opposite rims of the scan are independent.
    """
    slow, period, length, margin = batch.of("slow_length", "slow_period", "length", "margin")
    like = batch.weight
    wave = torch.arange(-batch.slow, batch.slow + 1, device=like.device, dtype=like.dtype)
    damping = torch.exp(-((torch.pi * slow / period * wave) ** 2))  # (b, 1, s)
    place = torch.arange(n, device=like.device, dtype=like.dtype)[:, None] / n * length  # (b, n, 1)
    angle = place / period * wave * (2 * torch.pi)
    further = angle + length / period * wave * (2 * torch.pi)
    fade = (place / margin).clamp(max=1)
    one = torch.ones_like(angle)
    basis = fade * torch.polar(one, angle) + (1 - fade) * torch.polar(one, further)  # (b, n, s)
    basis = basis * (damping / damping.square().sum(dim=2, keepdim=True).sqrt())
    size = (len(like), 2 * batch.slow + 1, 2 * batch.slow + 1)
    draw = torch.complex(_normal(batch, size, generator), _normal(batch, size, generator))
    return (basis @ draw @ basis.mT).real


def _resampled(batch: Batch, image: Tensor) -> Tensor:
    """Scans at the network's sampling, `(b, m, m)`: `prepare.resample` as a product of matrices.

    Cosine transform to n coefficients, cut or padded to m, and back:
    ``sum_k e_k cos(pi k (i + 1/2) / m) cos(pi k (j + 1/2) / n) / n``, e_0 = 1 and e_k = 2.
    """
    side, square = batch.of("side", "square")
    like = batch.weight
    most = max(batch.side, batch.square)
    whole = torch.arange(most, device=like.device, dtype=like.dtype)
    k = whole[: min(batch.side, batch.square)]
    new, old = whole[: batch.square, None], whole[: batch.side, None]
    counted = torch.where(k < torch.minimum(side, square), 2.0, 0.0) / side  # (b, 1, k)
    counted[:, :, 0] /= 2
    to = torch.cos((new + 0.5) * k * (torch.pi / square)) * (new < square)
    of = torch.cos((old + 0.5) * k * (torch.pi / side)) * (old < side)
    matrix = (to * counted) @ of.mT  # (b, m, n)
    return matrix @ image @ matrix.mT


def _normalised(batch: Batch, image: Tensor) -> Tensor:
    """Local mean and contrast evened out, and the rim cut off: `prepare.normalise`, `(b, h, h)`."""
    smooth = torch.stack(
        [_smoothing(m, batch.square, image.device, image.dtype) for m in batch.squares]
    )
    image = image - smooth @ image @ smooth.mT
    local = (smooth @ image.square() @ smooth.mT).clamp(min=0).sqrt()
    (square,) = batch.of("square")
    place = torch.arange(batch.square, device=image.device)
    inside = (place < square) & (place[:, None] < square)
    known = torch.where(inside, local, torch.nan).flatten(1)
    floor = known.nanmedian(dim=1).values[:, None, None] * 0.5 + 1e-12
    cut = slice(RIM_PX, RIM_PX + batch.window)
    return (image / torch.maximum(local, floor))[:, cut, cut]


@lru_cache(maxsize=16)
def _smoothing(n: int, size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Matrix `(size, size)` that smooths the first n points as `prepare.normalise` does."""
    matrix = np.zeros((size, size))
    matrix[:n, :n] = gaussian_filter1d(np.eye(n), CONTRAST_PX, axis=0, mode="reflect", truncate=2.5)
    return torch.from_numpy(matrix).to(device, dtype)
