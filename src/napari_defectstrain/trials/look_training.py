"""A look in the simulator's own words: settings of an image, and what training draws from."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.fft

from ..materials import DEFECT_ROLES, ROLES, get_material
from ..simulate import (
    ELEMENTS,
    Conditions,
    CrystalConfig,
    ProbeConfig,
    ScanConfig,
    SimulationConfig,
    probe_intensity,
    relative_weight,
)
from ..types import FloatArray
from .looks import Learnt, Look

_PATCH = 96  # px of the probe's patch
_STEP_PM = 28.0
_DEFOCI_PM = np.arange(0.0, 8001.0, 1000.0)
_SPOTS = np.array([1.0, np.sqrt(3.0), 2.0, np.sqrt(7.0)])
"""Reflections by the first: where a crystal tells its probe."""
_ENERGY_KEV, _ANGLE_MRAD = 80.0, 25.0
_LEAST_SOURCE_PM = 20.0
_WIDER = (1.0, 1.15, 1.3, 1.5)  # semi-angles that are tried where a probe is sharper than the usual
_AROUND = 0.15
"""How far training goes to either side of what was learnt, as a fraction of it, at least."""
_CLEAN_DOSE = 1e10
"""Electrons per nm^2 where the noise doesn't grow with the brightness."""
_ELECTRONS = 0.025  # `ScanConfig.metal_fraction`
_LEAST_SHARE = 0.02
_ABSENT = 0.1
"""Chance that training leaves a class out."""
_MOST_DEFECTS = 0.95
"""Sites that defects may take at most when all are drawn as often as they may be."""


@lru_cache(maxsize=8)
def look_probe(look: Look) -> ProbeConfig:
    """The probe whose columns come nearest to the look's.

    Defocus and source size are fitted to the transfer function at the first reflections; energy and
    semi-angle are those stated, or the paper's, with a wider angle where the columns are sharper
    than it allows.

    Parameters
    ----------
    look : Look
    """
    stated = look.shape.semi_angle_mrad
    energy = look.shape.energy_kev or _ENERGY_KEV
    a_pm = get_material(look.material).lattice_pm
    k = _SPOTS * 2 / (np.sqrt(3) * a_pm)
    goal = np.interp(k, look.shape.frequency_per_pm, look.shape.transfer, right=0.0)
    k, goal = k[goal > 5e-3], goal[goal > 5e-3]
    best, least = ProbeConfig(energy_kev=energy), np.inf
    for wider in _WIDER if stated is None else (1.0,):
        angle = (stated or _ANGLE_MRAD) * wider
        for defocus in _DEFOCI_PM:
            probe = ProbeConfig(
                energy_kev=energy,
                semi_angle_mrad=angle,
                c1_pm=float(defocus),
                source_fwhm_pm=0.0,
                thermal_pm=0.0,
            )
            sharp = _transfer_at(probe, k)
            seen = sharp > 2e-3
            if seen.sum() < 1:
                continue
            # ln goal = ln sharp - 2 pi^2 s^2 k^2, weighted by what is there
            weight = goal[seen] * k[seen] ** 2
            ratio = np.log(sharp[seen] / goal[seen])
            sigma2 = float((weight**2 * ratio / k[seen] ** 2).sum() / (weight**2).sum())
            sigma2 /= 2 * np.pi**2
            source = 2.3548 * np.sqrt(max(sigma2 - 36.0, (_LEAST_SOURCE_PM / 2.3548) ** 2))
            fitted = probe.replace(source_fwhm_pm=float(source), thermal_pm=6.0)
            miss = float(((_transfer_at(fitted, k) - goal) ** 2).sum())
            miss += 1e-5 * (defocus / 3000.0) ** 2 + 1e-4 * (wider - 1)
            if miss < least:
                best, least = fitted, miss
    return best


def _transfer_at(probe: ProbeConfig, k_per_pm: FloatArray) -> FloatArray:
    """Transfer function of a round probe along x."""
    image = probe_intensity(probe, np.diag([_STEP_PM, _STEP_PM]), _PATCH)
    along = scipy.fft.rfft2(image)[0].real
    return np.asarray(np.interp(k_per_pm * _PATCH * _STEP_PM, np.arange(len(along)), along))


def look_settings(look: Look, shape: tuple[int, int]) -> SimulationConfig:
    """Settings of the simulator that come nearest to a look.

    Parameters
    ----------
    look : Look
    shape : tuple of int
        (H, W) of the image [px].
    """
    columns = look.columns
    fractions = np.array([f.value for f in columns.fractions])
    pixel = look.pixel_size_pm.value
    dirt, noise = look.background, look.noise
    dose, read = _dose(look), float(np.sqrt(max(noise.floor.value, 0.0)))
    white = noise.white.value > 0.5
    return SimulationConfig(
        crystal=CrystalConfig(
            material=look.material,
            fractions=tuple(float(f) for f in fractions / max(1.0, fractions.sum())),
            disorder_pm=columns.disorder_pm.value,
            spacing_change=tuple(c.value for c in columns.spacing_change),
        ),
        probe=look_probe(look),
        scan=ScanConfig(
            shape=shape,
            pixel_size_pm=pixel,
            shear_x=look.scan.shear_xy.value,
            shear_y=look.scan.shear_xy.value,
            dose_e_per_nm2=dose,
            frames=_frames(look),
            jitter_px=look.scan.line_px.value * float(np.sqrt(_frames(look))),
            read_noise=read,
            noise_pm=0.0 if white else min(noise.correlation_pm.value, 10000.0),
            contamination=max(dirt.mean.value, 0.0),
            contamination_nm=float(np.clip(dirt.correlation_nm.value, 0.01, 10000.0)),
            patchiness=float(np.clip(dirt.patchiness.value, 0.0, 100.0)),
            texture=_texture(look),
        ),
        weights=(1.0, *(w.value for w in columns.weights)),
    )


def _frames(look: Look) -> int:
    return max(1, round(look.scan.frames.value))


def _dose(look: Look) -> float:
    """Electrons per nm^2 of noise that grows as much with the brightness."""
    pixel_nm2 = (look.pixel_size_pm.value * 1e-3) ** 2
    slope = look.noise.slope.value
    if slope <= 0:
        return _CLEAN_DOSE
    return float(np.clip(1.0 / (slope * pixel_nm2 * _ELECTRONS), 1e3, _CLEAN_DOSE))


def _texture(look: Look) -> float:
    """Amorphous texture whose variance is that by which noise grows with the background."""
    mean = look.background.mean.value
    if mean <= 0.01:
        return 0.0
    return float(np.sqrt(np.clip(look.noise.with_background.value / mean, 0.0, 1.0)))


def look_conditions(look: Look) -> Conditions:
    """What a network for such images should be trained on: `detect.TrainConfig.conditions`.

    Ranges around what was learnt, as wide as the images differ, at least by 15 %; the classes are
    drawn from none up to twice their share, so that their mean share is nearly the look's (less
    where defects would take more sites than there are). Noise of which a part is correlated stands
    for images of which that part has correlated noise: the simulator mixes none within one. What a
    look doesn't tell (look-alikes, tilts, other phases) stays as it is for common images.

    Parameters
    ----------
    look : Look
    """
    settings = look_settings(look, (256, 256))
    probe, scan = settings.probe, settings.scan
    usual = Conditions(materials=(look.material,)).as_measured()
    pixel = _around(look.pixel_size_pm, 0.1)
    frames = scan.frames
    # single frames of the simulator shake by three tenths of what is drawn
    lines = np.array(_around(look.scan.line_px, 0.25)) * (
        np.sqrt(frames) if frames > 3 else 1 / 0.3
    )
    dirt = look.background.mean
    slope = look.noise.slope
    about = max(0.4, (slope.spread or 0.0) / slope.value if slope.value > 0 else 0.4)
    x, y = _factors(look, probe.energy_kev)
    correlated = 1.0 - look.noise.white.value
    length = max(look.noise.correlation_pm.value, 1.0)
    return usual.replace(
        pixel_size_pm=pixel,
        fractions_max=_most_of(look),
        absent=_ABSENT,
        inner_mrad=(63.0, 63.0),
        outer_mrad=(200.0, 200.0),
        single=(x, y),
        pair=_pairs(look),
        energy_kev=(probe.energy_kev,),
        semi_angle_mrad=_within(probe.semi_angle_mrad, 0.07, 0.1, 500.0),
        c1_std_pm=max(abs(probe.c1_pm), 300.0),
        source_fwhm_pm=_within(probe.source_fwhm_pm, _AROUND, 0.0, 1e4),
        focal_spread_pm=_within(probe.focal_spread_pm, 0.25, 0.0, 1e7),
        disorder_pm=(0.0, max(2 * look.columns.disorder_pm.value, 1.0)),
        dose_e_per_nm2=(scan.dose_e_per_nm2 / (1 + about), scan.dose_e_per_nm2 * (1 + about)),
        frames=(frames,),
        jitter_px=(float(lines[0]), float(lines[1])),
        jitter_max_pm=max(usual.jitter_max_pm, 1.2 * float(lines[1]) * pixel[1]),
        whole_px=0.0,
        read_noise=_within(scan.read_noise, 0.25, 0.0, 1000.0),
        correlated=(float(np.clip(correlated, 0.0, 1.0)), 0.7 * length, 1.4 * length),
        # the simulator multiplies by a number between 0 and 1
        contamination=(1.4 * max(dirt.value, 0.0), 2.6 * max(dirt.value, 0.0)),
        contamination_nm=_within(scan.contamination_nm, 0.3, 0.01, 1e4),
        patchiness=_within(scan.patchiness, 0.3, 0.0, 100.0),
        texture=_within(scan.texture, 0.3, 0.0, 100.0),
        processed=0.0 if look.grey.step == 0 else 0.1,
    )


def _most_of(look: Look) -> tuple[float, ...]:
    """Greatest share of each class of defects, of which none up to all are drawn."""
    share = np.array([f.value for f in look.columns.fractions[: len(DEFECT_ROLES)]])
    most = np.maximum(2 * share / (1 - _ABSENT), _LEAST_SHARE)
    return tuple(float(m) for m in most * min(1.0, _MOST_DEFECTS / most.sum()))


def _around(learnt: Learnt, least: float) -> tuple[float, float]:
    """A range that holds the images: twice their spread, or a fraction of the value."""
    reach = max(2 * (learnt.spread or 0.0), least * abs(learnt.value), learnt.sigma or 0.0)
    return max(learnt.value - reach, 0.0), learnt.value + reach


def _within(value: float, part: float, low: float, high: float) -> tuple[float, float]:
    ends = np.clip([value * (1 - part), value * (1 + part)], low, high)
    return float(ends[0]), float(ends[1])


def _factors(look: Look, energy_kev: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """By how much one X and one Y are brighter than cross sections say, as ranges."""
    material = get_material(look.material)
    x2, _, y2, v1 = (w.value for w in look.columns.weights[:4])
    made: list[tuple[float, float]] = []
    for element, pair, single in (
        (material.chalcogen, x2, v1),
        (material.substituent, y2, y2 / 2),
    ):
        if not {element, material.metal} <= set(ELEMENTS) or pair <= 0:
            made.append((0.85, 1.06) if not made else (0.92, 1.12))
            continue
        one = relative_weight(element, material.metal, energy_kev, 63.0, 200.0)
        # a vacancy's brightness is of few columns: it counts as far as it is known
        known = look.columns.weights[3].sigma
        value = single if known is not None and element == material.chalcogen else pair / 2
        made.append(_within(value / one, 0.06, 0.05, 10.0))
    return made[0], made[1]


def _pairs(look: Look) -> tuple[float, float]:
    """Brightness of two stacked X over twice that of one."""
    x2, v1 = look.columns.weights[0].value, look.columns.weights[ROLES.index("V1") - 1].value
    if look.columns.weights[ROLES.index("V1") - 1].sigma is None or v1 <= 0:
        return 0.94, 1.05
    return _within(x2 / (2 * v1), 0.04, 0.3, 3.0)
