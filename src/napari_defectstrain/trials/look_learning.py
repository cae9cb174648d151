"""What the images of one microscope say together: a look, pooled over them with its spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.fft
from scipy.special import ndtri

from ..materials import DEFECT_ROLES, ROLES, get_material
from ..progress import subprogress
from ..simulate import ELEMENTS, CrystalConfig, nominal_weights
from ..types import CalibratedImage, DefectStrainError, FloatArray, Progress, Sites, no_progress
from .look_seeing import LAST, X2, Seen, background_quantiles, see_image
from .looks import Background, Columns, Grey, Learnt, Look, Noise, Scan, Shape

_FREQUENCIES = 24
_KNOWN = 0.12
"""How well cross sections tell a class's brightness from that of X2, as a fraction."""
_OTHER = 0.005
_UNKNOWN_WEIGHTS = (0.7, 1.05, 1.4, 0.35, 0.0)
"""Of X2, XY, Y2, V1, V2 where nothing is known of the elements."""


def learn_look(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    material: str,
    progress: Progress = no_progress,
) -> Look:
    """Learn from images what simulated ones must have to look alike.

    Parameters
    ----------
    images : sequence of CalibratedImage
    sites : sequence of Sites
        Their columns, as they were judged or corrected.
    material : str
    progress : Progress

    Raises
    ------
    DefectStrainError
        If none of them can be learnt from. One that can't is left out, and the notes say why.
    """
    seen, notes = [], []
    for i, (image, columns) in enumerate(zip(images, sites, strict=True)):
        part = subprogress(progress, i / len(images), (i + 1) / len(images), f"{image.name}: ")
        try:
            seen.append(see_image(image, columns, material, part))
        except DefectStrainError as error:
            notes.append(f"{image.name}: nothing learnt from it: {error}")
    if not seen:
        raise DefectStrainError(
            "look: got no image that can be learnt from, expected one with a lattice of "
            f"{get_material(material).name}: " + "; ".join(notes)
        )
    progress(1.0, "learnt")
    return pooled_look(seen, notes)


def pooled_look(seen: Sequence[Seen], notes: Sequence[str] = ()) -> Look:
    """The look of images that were seen one by one.

    Parameters
    ----------
    seen : sequence of Seen
        At least one.
    notes : sequence of str
        To be kept with it.
    """
    said = [*notes, *(note for one in seen for note in one.notes)]
    first = seen[0]
    energy, angle = (_stated(seen, name) for name in _STATED)
    for value, name in ((energy, "beam energy"), (angle, "semi-angle")):
        if value is None:
            said.append(f"{name}: the files don't state it; training assumes the default's")
    base, height, *greys = first.grey
    return Look(
        material=first.material,
        images=tuple(s.name for s in seen),
        pixel_size_pm=_pooled(seen, "pixel_size_pm"),
        shape=_shape(seen, energy, angle),
        scan=Scan(
            line_px=_pooled(seen, "line_px"),
            frames=_pooled(seen, "frames"),
            shear_xx_yy=_pooled(seen, "shear_xx_yy"),
            shear_xy=_pooled(seen, "shear_xy"),
        ),
        noise=Noise(
            slope=_pooled(seen, "slope"),
            floor=_pooled(seen, "floor"),
            spectrum=_rounded_rows(np.mean([s.spectrum for s in _of_one_size(seen)], axis=0)),
            white=_pooled(seen, "white"),
            correlation_pm=_pooled(seen, "correlation_pm"),
            with_background=_pooled(seen, "with_background"),
            skew=_pooled(seen, "skew"),
        ),
        background=_background(seen),
        columns=_columns(seen, said),
        grey=Grey(
            float(np.mean([s.grey[0] for s in seen])) if len(seen) > 1 else base,
            float(np.mean([s.grey[1] for s in seen])) if len(seen) > 1 else height,
            greys[0],
            tuple(greys[1:]),
        ),
        notes=tuple(said),
    )


_STATED = (("beam_energy_kev",), ("semi_angle_mrad", "convergence_semi_angle_mrad"))


def _stated(seen: Sequence[Seen], names: Sequence[str]) -> float | None:
    """What the files' metadata state; None where they don't."""
    values = [s.metadata.get(name) for s in seen for name in names]
    numbers = [float(v) for v in values if isinstance(v, (int, float)) and v > 0]
    return float(np.median(numbers)) if numbers else None


def _pooled(seen: Sequence[Seen], name: str) -> Learnt:
    """A number of all images that have it, with its error and spread."""
    values = np.array([s.number[name] for s in seen if name in s.number])
    errors = np.array([s.sigma.get(name, np.nan) for s in seen if name in s.number])
    if not len(values):
        return Learnt(0.0)
    sigma = None
    if len(values) > 1:
        sigma = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    if np.isfinite(errors).all():
        # few images may agree by chance: their own errors are the least
        own = float(np.sqrt((errors**2).sum()) / len(errors))
        sigma = max(own, sigma or 0.0)
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Learnt(float(values.mean()), sigma, spread)


def _shape(seen: Sequence[Seen], energy: float | None, angle: float | None) -> Shape:
    end = max(float(s.frequency_per_pm[-1]) for s in seen)
    k = np.linspace(0.0, end, len(seen[0].frequency_per_pm))
    transfer = np.mean(
        [np.interp(k, s.frequency_per_pm, s.transfer, right=0.0) for s in seen], axis=0
    )
    blur = np.mean([s.blur_pm2 for s in seen], axis=0)
    return Shape(
        frequency_per_pm=tuple(float(f"{v:.6g}") for v in k),
        transfer=tuple(round(float(v), 6) for v in transfer),
        fwhm_pm=_pooled(seen, "fwhm_pm"),
        blur_pm2=tuple(float(v) for v in blur),
        energy_kev=energy,
        semi_angle_mrad=angle,
    )


def _rounded_rows(table: FloatArray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(f"{v:.4g}") for v in row) for row in table)


def _of_one_size(seen: Sequence[Seen]) -> list[Seen]:
    """Images small enough for smaller tiles count where all are."""
    side = max(len(s.spectrum) for s in seen)
    return [s for s in seen if len(s.spectrum) == side]


def _background(seen: Sequence[Seen]) -> Background:
    frequency, power = _slow_power(seen)
    return Background(
        quantiles=tuple(round(float(q), 5) for q in background_quantiles([*_backgrounds(seen)])),
        frequency_per_nm=tuple(float(f"{v:.5g}") for v in frequency),
        power=tuple(float(f"{v:.5g}") for v in power),
        mean=_pooled(seen, "contamination"),
        patchiness=_pooled(seen, "patchiness"),
        correlation_nm=_pooled(seen, "contamination_nm"),
    )


def _backgrounds(seen: Sequence[Seen]) -> list[FloatArray]:
    return [s.background for s in seen]


def _slow_power(seen: Sequence[Seen]) -> tuple[FloatArray, FloatArray]:
    """Frequencies [1/nm] and mean power of the backgrounds there, of their normal scores."""
    longest = max(max(s.background.shape) * s.number["pixel_size_pm"] for s in seen) * 1e-3
    a_nm = get_material(seen[0].material).lattice_pm * 1e-3
    edges = np.geomspace(0.7 / longest, 0.7 / a_nm, _FREQUENCIES + 1)
    total, count = np.zeros(_FREQUENCIES), np.zeros(_FREQUENCIES)
    for one in seen:
        field = _scores(one.background)
        window = np.hanning(field.shape[0] + 2)[1:-1, None] * np.hanning(field.shape[1] + 2)[1:-1]
        field = (field - np.average(field, weights=window)) * window
        power = np.abs(scipy.fft.rfft2(field)) ** 2 / (window**2).sum()
        pixel_nm = one.number["pixel_size_pm"] * 1e-3
        k = (
            np.hypot(np.fft.fftfreq(field.shape[0])[:, None], np.fft.rfftfreq(field.shape[1]))
            / pixel_nm
        )
        place = np.digitize(k, edges) - 1
        inside = (place >= 0) & (place < _FREQUENCIES)
        # per area, so that pixels of several sizes agree
        total += np.bincount(place[inside], power[inside] * pixel_nm**2, minlength=_FREQUENCIES)
        count += np.bincount(place[inside], minlength=_FREQUENCIES)
    there = count > 0
    middle, power = np.sqrt(edges[1:] * edges[:-1])[there], total[there] / count[there]
    # the window takes much of what varies over the whole image: it is no weaker than what is faster
    slowest = middle < 2 / longest
    power[slowest] = np.maximum.accumulate(power[::-1])[::-1][slowest]
    return middle, power


def _scores(field: FloatArray) -> FloatArray:
    """A field with its values made normally distributed."""
    at = np.quantile(field, np.linspace(0, 1, 257))
    rank = np.interp(field, at, np.linspace(0, 1, 257))
    return np.asarray(ndtri(np.clip(rank, 1e-3, 1 - 1e-3)))


def _columns(seen: Sequence[Seen], said: list[str]) -> Columns:
    material = get_material(seen[0].material)
    known = {material.metal, material.chalcogen, material.substituent} <= set(ELEMENTS)
    typical = np.array(nominal_weights(material)[1:] if known else _UNKNOWN_WEIGHTS)
    x2 = _pooled(seen, "weight_X2")
    scale = x2.value / typical[0] if x2.value > 0 else 1.0
    weights, counts = [], []
    for index in range(X2, LAST):
        counts.append(float(sum(len(s.weight[index]) for s in seen)))
        usual = scale * float(typical[index - X2])
        one = _pooled(seen, f"weight_{ROLES[index]}")
        if index == X2:
            weights.append(one)
        elif one.sigma is None:
            weights.append(Learnt(usual))
            said.append(
                f"{material.class_names[index]}: {counts[-1]:.0f} columns, too few to tell how "
                "bright they are; taken from cross sections"
            )
        else:
            weights.append(_shrunk(one, usual, x2.value, material.class_names[index], said))
    other = float(np.mean([s.number["share_other"] for s in seen]))
    if other > _OTHER:
        said.append(
            f"{100 * other:.1f} % of the columns are none of {material.name}: neither learnt nor "
            "simulated"
        )
    return Columns(
        fractions=tuple(_pooled(seen, f"share_{role}") for role in DEFECT_ROLES),
        weights=tuple(weights),
        seen=tuple(counts),
        scatter=tuple(_pooled(seen, f"scatter_{ROLES[i]}") for i in (0, X2)),
        disorder_pm=_pooled(seen, "disorder_pm"),
        spacing_change=tuple(_changes(seen)),
    )


def _shrunk(one: Learnt, usual: float, x2: float, name: str, said: list[str]) -> Learnt:
    """Brightness of a class by its columns and by cross sections, each as far as it is known."""
    own, known = one.sigma or 0.0, _KNOWN * max(usual, 0.2 * x2)
    if abs(one.value - usual) > 3 * np.hypot(own, known):
        said.append(
            f"{name}: seen at {one.value:.2f} of a metal column, cross sections say {usual:.2f}; "
            "are these columns what they are taken for?"
        )
    share = known**2 / (own**2 + known**2)
    value = share * one.value + (1 - share) * usual
    return Learnt(max(value, 0.0), float(own * np.sqrt(share)), one.spread)


def _changes(seen: Sequence[Seen]) -> list[Learnt]:
    """Relaxation of each class by the images, or the usual one; none beyond what settings take."""
    found = []
    for role, usual in zip(DEFECT_ROLES, CrystalConfig().spacing_change, strict=True):
        key = f"change_{role}"
        one = _pooled(seen, key) if any(key in s.number for s in seen) else Learnt(usual)
        found.append(one.replace(value=float(np.clip(one.value, -0.2, 0.2))))
    return found
