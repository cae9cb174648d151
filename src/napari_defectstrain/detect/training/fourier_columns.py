"""Images of columns as Fourier sums: many windows side by side, each at its own pixel size.

An incoherent image of columns at places x_a with weights w_a has the Fourier coefficients
``F(k) = T(k) sum_a w_a exp(-2 pi i k x_a)``, with T the transfer function of the probe, and it ends
at the information limit, so that a few thousand of them hold all of it. They are summed directly:
``exp(-2 pi i k x)`` is a product of a part for y and one for x, which makes the sum a product of
two matrices, exact at any place and without a grid. The same product backwards gives the image in
the pixels of each window's own scan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.fft
import torch
from torch import Tensor

from ...simulate.probe import FOCAL_NODES
from ...types import DefectStrainError
from ..finding.prepare import resampled_shape
from ..network.config import CANONICAL_PIXEL_PM
from .render_jobs import Period, RenderJob, grid_points

_AT_ONCE = 32
"""Windows rendered side by side on a GPU; on a CPU one by one, which pads none."""
_NEAR_PM = 600.0
"""Where the brightest point of the probe is looked for: coma moves it [pm]."""
_FINEST_SLOW_PM = 50.0
"""Shortest correlation length of the slow contamination [pm]."""
_GRAIN_LIMIT = 1.05
"""Spatial frequency, times the correlation length, beyond which the texture of contamination is
below 1e-4 of its largest."""
_SLOW_LIMIT = 0.966
"""The same for a field of correlation length 1: exp(-(pi f)^2) = 1e-4."""


class Batch(NamedTuple):
    """Windows side by side: tensors `(b, 1, 1)` or as given, and their common sizes."""

    position: Tensor  # (b, N, 2) in periods of the rendered field
    weight: Tensor  # (b, N)
    dirt: Tensor | None  # (b, g, g)
    value: dict[str, Tensor]
    side: int  # of the largest scan
    square: int  # of the largest image at the network's sampling
    squares: tuple[int, ...]
    window: int
    waves: int  # harmonics of the period that hold every image
    aperture: int  # points of the grid that holds the aperture
    near: int  # points of the patch from its centre that are searched for the maximum
    slow: int  # harmonics that hold the slow contamination
    frames: int
    jitter: bool
    coloured: bool  # whether the read noise of any is correlated

    def of(self, *names: str) -> tuple[Tensor, ...]:
        """Values of these names, `(b, 1, 1)` each."""
        return tuple(self.value[name] for name in names)


def packed_batches(
    jobs: Sequence[RenderJob], device: torch.device, dtype: torch.dtype
) -> Iterator[Batch]:
    """Jobs in their order, as many at a time as a device takes.

    Raises
    ------
    DefectStrainError
        Without windows, or with windows of different sizes.
    """
    sizes = {job.labels.shape for job in jobs}
    if len(sizes) != 1:
        raise DefectStrainError(
            f"windows: got {len(jobs)} of {len(sizes)} different sizes, expected one or more of "
            "the same size"
        )
    step = 1 if device.type == "cpu" else _AT_ONCE
    for start in range(0, len(jobs), step):
        yield _packed(jobs[start : start + step], device, dtype)


def sent(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A tensor on the device; from page-locked memory it travels while the processor goes on."""
    tensor = tensor.to(dtype)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _packed(jobs: Sequence[RenderJob], device: torch.device, dtype: torch.dtype) -> Batch:
    values = [_values(job) for job in jobs]
    most = {name: max(v[name] for v in values) for name in values[0]}
    longest = max(len(job.weight) for job in jobs)
    atoms = np.zeros((len(jobs), longest, 3))
    for row, job, value in zip(atoms, jobs, values, strict=True):
        row[: len(job.weight), :2] = (job.position_px + value["margin"]) / value["length"]
        row[: len(job.weight), 2] = job.weight
    window = job.labels.shape[0]
    points = grid_points(window)
    dirt = None
    if any(job.dirt is not None for job in jobs):
        blank = np.zeros((points, points), dtype=np.float32)
        stack = np.stack([blank if job.dirt is None else job.dirt for job in jobs])
        dirt = sent(torch.from_numpy(stack), device, dtype)
    squares = tuple(int(value["square"]) for value in values)
    on_device = sent(torch.from_numpy(atoms), device, dtype)
    table = np.array([list(value.values()) for value in values])
    columns = sent(torch.from_numpy(table), device, dtype)[:, :, None, None].unbind(1)
    return Batch(
        position=on_device[..., :2],
        weight=on_device[..., 2],
        dirt=dirt,
        value=dict(zip(values[0], columns, strict=True)),
        side=int(most["side"]),
        square=max(squares),
        squares=squares,
        window=window,
        waves=int(np.ceil(most["waves"])),
        aperture=int(scipy.fft.next_fast_len(4 * int(np.ceil(most["aperture"])) + 2)),
        near=int(np.ceil(most["near"])),
        slow=int(np.ceil(most["slow"])),
        frames=int(most["frames"]),
        jitter=most["jitter"] > 0,
        coloured=most["noise_length"] > 0,
    )


def _values(job: RenderJob) -> dict[str, float]:
    """Numbers of a job that the formulas need, lengths in pixels of its scan unless named."""
    scan, probe = job.scan, job.probe
    matrix = scan.matrix_pm()
    period = Period(scan, probe)
    pitch = float(np.sqrt(abs(np.linalg.det(matrix))))
    patch = period.patch / period.fineness
    # a frequency k [1/pm] is matrix^T k [1/px]: at most this much of its length along an axis
    reach = float(np.linalg.norm(matrix, axis=0).max())
    rim = 1 / (patch * pitch)
    limit = (probe.information_limit_per_pm + rim) * reach
    grain = _GRAIN_LIMIT * scan.pixel_size_pm / scan.grain_pm
    slow = max(scan.contamination_nm * 1e3, _FINEST_SLOW_PM) / scan.pixel_size_pm
    slow_period = period.length_px + period.margin_px + 3 * slow
    inverse = np.linalg.inv(matrix).T
    dose = scan.dose_e_per_nm2 * (scan.pixel_size_pm * 1e-3) ** 2
    sigma2 = (probe.source_fwhm_pm / 2.3548200450309493) ** 2 + probe.thermal_pm**2
    measured = job.dirt is not None
    return {
        "side": scan.shape[0],
        "square": resampled_shape(scan.shape, scan.pixel_size_pm, CANONICAL_PIXEL_PM)[0],
        "length": period.length_px,
        "margin": period.margin_px,
        "fineness": period.fineness,
        "patch": patch,
        "points": period.patch,
        "waves": max(limit, grain) * period.length_px,
        "aperture": (probe.information_limit_per_pm + rim) / 2 * reach * patch,
        "near": _NEAR_PM / pitch * period.fineness,
        "kxx": inverse[0, 0],
        "kxy": inverse[0, 1],
        "kyx": inverse[1, 0],
        "kyy": inverse[1, 1],
        "wavelength": probe.wavelength_pm,
        "alpha": probe.semi_angle_mrad * 1e-3,
        "rim": probe.wavelength_pm * rim,
        "c1": probe.c1_pm,
        "a1": probe.a1_pm,
        "a1_angle": np.deg2rad(probe.a1_deg),
        "b2": probe.b2_nm * 1e3,
        "b2_angle": np.deg2rad(probe.b2_deg),
        "a2": probe.a2_nm * 1e3,
        "a2_angle": np.deg2rad(probe.a2_deg),
        "c3": probe.c3_nm * 1e3,
        "c5": probe.c5_mm * 1e9,
        "focal_spread": probe.focal_spread_pm,
        "sigma2": sigma2,
        "frames": scan.frames,
        "jitter": scan.jitter_px,
        "height": dose * scan.metal_fraction,
        "read_noise": scan.read_noise,
        "noise_length": scan.noise_pm / scan.pixel_size_pm,
        "whole_px": float(scan.whole_px),
        "gain": scan.gain,
        "offset": scan.offset_counts,
        "contamination": 0.0 if measured else scan.contamination,
        "patchiness": scan.patchiness,
        "texture": scan.texture,
        "grain_length": scan.grain_pm / scan.pixel_size_pm,
        "slow_length": slow,
        "slow_period": slow_period,
        "slow": _SLOW_LIMIT * slow_period / slow,
    }


def column_coefficients(batch: Batch) -> Tensor:
    """Fourier coefficients of the columns' image in units of a metal column's height.

    `(b, 2 K + 1, K + 1)`: harmonics -K to K along y, 0 to K along x.
    """
    wave = torch.arange(batch.waves + 1, device=batch.weight.device, dtype=batch.weight.dtype)
    cycles = batch.position[..., None] * wave  # (b, N, 2, K + 1)
    angle = (cycles - cycles.round()) * (-2 * torch.pi)
    cosine, sine = angle.cos(), angle.sin()
    y = torch.cat([cosine[:, :, 0], sine[:, :, 0]], dim=-1)  # (b, N, 2 K + 2)
    x = torch.cat([cosine[:, :, 1], sine[:, :, 1]], dim=-1) * batch.weight[..., None]
    product = y.mT @ x
    half = batch.waves + 1
    cc, cs = product[:, :half].split(half, dim=2)
    sc, ss = product[:, half:].split(half, dim=2)
    positive = torch.complex(cc - ss, cs + sc)
    negative = torch.complex(cc + ss, cs - sc)
    structure = torch.cat([negative[:, 1:].flip(1), positive], dim=1)
    transfer, height = _transfer(batch)
    length, fineness = batch.of("length", "fineness")
    return structure * transfer / (height * (length * fineness) ** 2)


def _transfer(batch: Batch) -> tuple[Tensor, Tensor]:
    """Transfer function of the probe at the harmonics, and the height of its patch, `(b, 1, 1)`.

    `simulate.probe.probe_intensity` makes the probe on a patch, which `render_columns` puts into
    an empty field. So the transfer function at any frequency is the interpolation of that at the
    patch's own frequencies q with the kernel of a patch that ends, ``sin(pi S d) / (S sin(pi d))``.
    """
    otf = _patch_transfer(batch)  # (b, q, q)
    like = batch.weight
    q = whole_frequencies(batch.aperture, like)
    points, length, fineness = batch.of("points", "length", "fineness")
    wave = torch.arange(-batch.waves, batch.waves + 1, device=like.device, dtype=like.dtype)
    apart = wave[:, None] / (length * fineness) - q / points  # (b, 2 K + 1, q) cycles by point
    kernel = torch.sinc(apart * points) / torch.sinc(apart)
    parts = torch.cat([otf.real, otf.imag], dim=2)  # real products cost half
    real, imaginary = (kernel @ parts).split(batch.aperture, dim=2)
    across = kernel[:, batch.waves :].mT
    transfer = torch.complex(real @ across, imaginary @ across)
    place = torch.arange(-batch.near, batch.near + 1, device=like.device, dtype=like.dtype)
    basis = _phase(place[:, None] * q / points)  # (b, j, q)
    intensity = (basis @ otf @ basis.mT).real / points**2
    return transfer, intensity.amax(dim=(1, 2), keepdim=True)


def _patch_transfer(batch: Batch) -> Tensor:
    """Transfer function of the probe at the frequencies of its patch, `(b, q, q)`, 1 at zero."""
    patch, wavelength = batch.of("patch", "wavelength")
    kxx, kxy, kyx, kyy = batch.of("kxx", "kxy", "kyx", "kyy")
    q = whole_frequencies(batch.aperture, batch.weight)
    fy, fx = q[:, None] / patch, q / patch
    x = (kxx * fx + kxy * fy) * wavelength  # angle in the aperture [rad], (b, q, q)
    y = (kyx * fx + kyy * fy) * wavelength
    theta2 = x**2 + y**2
    alpha, rim = batch.of("alpha", "rim")
    aperture = ((alpha - theta2.sqrt()) / rim + 0.5).clamp(0, 1)
    chi = _aberrations(batch, x, y, theta2) * (2 * torch.pi / wavelength)
    (spread,) = batch.of("focal_spread")
    intensity = torch.zeros_like(theta2)
    for node, weight in zip(*np.polynomial.hermite_e.hermegauss(FOCAL_NODES), strict=True):
        defocus = (torch.pi * float(node)) * spread / wavelength * theta2
        wave = torch.fft.ifft2(torch.polar(aperture, -chi - defocus))
        intensity += float(weight) * (wave.real**2 + wave.imag**2)
    otf = torch.fft.fft2(intensity)
    (sigma2,) = batch.of("sigma2")
    blur = torch.exp(-2 * torch.pi**2 * sigma2 / wavelength**2 * theta2)
    return otf * (blur / otf.real[:, :1, :1])


def _aberrations(batch: Batch, x: Tensor, y: Tensor, theta2: Tensor) -> Tensor:
    """Path of the aberration function [pm], as `simulate.probe.aberration_phase` defines it."""
    phi = torch.atan2(y, x)
    c1, a1, a1_angle, b2, b2_angle = batch.of("c1", "a1", "a1_angle", "b2", "b2_angle")
    a2, a2_angle, c3, c5 = batch.of("a2", "a2_angle", "c3", "c5")
    theta = theta2.sqrt()
    return theta2 * (
        (c1 + a1 * torch.cos(2 * (phi - a1_angle))) / 2
        + theta * (b2 * torch.cos(phi - b2_angle) + a2 / 3 * torch.cos(3 * (phi - a2_angle)))
        + theta2 * (c3 / 4 + c5 / 6 * theta2)
    )


def _phase(cycles: Tensor) -> Tensor:
    """``exp(2 pi i c)``."""
    angle = (cycles - cycles.round()) * (2 * torch.pi)
    return torch.complex(angle.cos(), angle.sin())


def whole_frequencies(n: int, like: Tensor) -> Tensor:
    """0, 1, ..., -2, -1: cycles by period of a Fourier transform of n points, `(n,)`."""
    return torch.fft.fftfreq(n, 1 / n, device=like.device, dtype=like.dtype)


def sampled(batch: Batch, coefficients: Tensor, phase: Tensor | None) -> Tensor:
    """Image in the pixels of each scan, `(b, n, n)`, its lines shifted where a phase says so."""
    length, margin = batch.of("length", "margin")
    like = batch.weight
    pixel = torch.arange(batch.side, device=like.device, dtype=like.dtype)[:, None]
    wave = torch.arange(-batch.waves, batch.waves + 1, device=like.device, dtype=like.dtype)
    cycles = (pixel + margin) / length * wave  # (b, n, 2 K + 1)
    angle = (cycles - cycles.round()) * (2 * torch.pi)
    cosine, sine = angle.cos(), angle.sin()
    lines = torch.complex(cosine, sine) @ coefficients  # (b, n, K + 1)
    if phase is not None:
        lines = lines * phase
    # the harmonics of negative kx are the conjugates of those of positive kx
    lines = torch.cat([lines.real, -lines.imag], dim=2)
    x = torch.cat([cosine[:, :, batch.waves :], sine[:, :, batch.waves :]], dim=2)
    twice = torch.full((batch.waves + 1,), 2.0, device=like.device, dtype=like.dtype)
    twice[0] = 1.0
    return lines @ (x * twice.repeat(2)).mT
