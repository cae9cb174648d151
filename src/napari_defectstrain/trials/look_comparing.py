"""How far simulated images are from real ones, in numbers, and what of it is chance.

Everything is seen in the same way in both (`look_seeing`). The yardstick is how much simulated
images of the same look differ among each other: their seeds differ in crystal, contamination, noise
and jitter, as two images of one session do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
import scipy.fft
from scipy.stats import ks_2samp, t, wasserstein_distance

from ..materials import DEFECT_ROLES, ROLES, get_material
from ..simulate import SimulatedImage
from ..types import FloatArray, Progress, Sites, no_progress
from .look_seeing import LAST, Seen, see_image

BANDS = {
    "slower than the lattice (0.1 to 0.5 of its first spots)": (0.1, 0.5),
    "below the first spots (0.5 to 0.85)": (0.5, 0.85),
    "at the first spots (0.85 to 1.15)": (0.85, 1.15),
    "at the next spots (1.6 to 2.15)": (1.6, 2.15),
    "between and beyond them (2.15 to 3)": (2.15, 3.0),
    "noise (3 of the first spots to the end)": (3.0, np.inf),
}
"""Of spatial frequency, in units of the lattice's first spots."""
_QUANTILES = (0.005, 0.995)
_NUMBERS = (
    ("line_px", "jitter of the lines", "px"),
    ("fwhm_pm", "width of the columns", "pm"),
    ("noise", "noise", "heights"),
    ("skew", "noise, third moment over second", "heights"),
    ("white", "white share of the noise", ""),
    ("correlation_pm", "correlation length of the noise", "pm"),
    ("contamination", "background, mean", "heights"),
    ("patchiness", "background, patchiness", ""),
    ("contamination_nm", "background, correlation length", "nm"),
    ("disorder_pm", "disorder of the metals", "pm"),
    ("scatter_metal", "scatter of the metals' brightness", ""),
)
TABLE = ("quantity", "unit", "real", "simulated", "difference", "by_chance", "within")
"""Columns of ``look.csv``."""


@dataclass(frozen=True)
class Spectrum:
    """Mean power by spatial frequency.

    Parameters
    ----------
    frequency : array, `(K,)`
        In units of the lattice's first spots.
    power : array, `(K,)`
        In squared heights of a metal column, per pixel.
    """

    frequency: FloatArray
    power: FloatArray


def true_columns(made: SimulatedImage) -> Sites:
    """The columns of a simulated image as certain `Sites`."""
    names = get_material(made.config.crystal.material).class_names
    return Sites(
        position_px=np.array(made.position_px, dtype=float),
        probabilities=np.eye(len(names))[made.class_index],
        class_index=np.array(made.class_index, dtype=np.int64),
        class_names=names,
        source=np.full(len(made.class_index), "truth"),
    )


def see_simulated(made: SimulatedImage, progress: Progress = no_progress) -> Seen:
    """What is seen of a simulated image whose columns are known."""
    return see_image(made.image, true_columns(made), made.config.crystal.material, progress)


def radial_spectrum(seen: Seen) -> Spectrum:
    """Power of an image by spatial frequency, mean over directions."""
    data = seen.picture - seen.picture.mean()
    window = np.hanning(data.shape[0] + 2)[1:-1, None] * np.hanning(data.shape[1] + 2)[1:-1]
    power = np.abs(scipy.fft.rfft2(data * window)) ** 2 / (window**2).sum()
    spot = _spot_per_px(seen)
    k = np.hypot(np.fft.fftfreq(data.shape[0])[:, None], np.fft.rfftfreq(data.shape[1])) / spot
    edges = np.arange(0.5 * _STEP, 0.5 / spot, _STEP)
    place = np.digitize(k.ravel(), edges) - 1
    inside = (place >= 0) & (place < len(edges) - 1)
    total = np.bincount(place[inside], power.ravel()[inside], minlength=len(edges) - 1)
    count = np.bincount(place[inside], minlength=len(edges) - 1)
    there = count > 0
    middle = (edges[1:] + edges[:-1]) / 2
    return Spectrum(middle[there], total[there] / count[there])


_STEP = 0.05


def _spot_per_px(seen: Seen) -> float:
    """Frequency of the first spots [1/px]."""
    a_px = get_material(seen.material).lattice_pm / seen.number["pixel_size_pm"]
    return float(2.0 / (np.sqrt(3.0) * a_px))


def _band(seen: Seen, low: float, high: float) -> float:
    """Power in a band [dB of a squared height]."""
    spectrum = radial_spectrum(seen)
    inside = (spectrum.frequency >= low) & (spectrum.frequency < high)
    if not inside.any():
        return np.nan
    power = (spectrum.power * spectrum.frequency)[inside].sum() / spectrum.frequency[inside].sum()
    return float(10 * np.log10(max(power, 1e-30)))


def compare_looks(real: Sequence[Seen], simulated: Sequence[Seen]) -> pd.DataFrame:
    """Differences between real and simulated images, and what of them is chance.

    Parameters
    ----------
    real : sequence of Seen
    simulated : sequence of Seen
        Two or more of other seeds, so that chance is known.

    Returns
    -------
    DataFrame
        `TABLE`: means of both; ``difference``, for distributions a distance between them;
        ``by_chance``, what it would be in 95 of 100 looks that are alike, NaN where it isn't known;
        whether it is ``within`` that.
    """
    rows = [
        _number_row(
            f"power {name}",
            "dB",
            [_band(s, *ends) for s in real],
            [_band(s, *ends) for s in simulated],
        )
        for name, ends in BANDS.items()
    ]
    rows += [
        _number_row(
            f"grey values, {name}",
            "heights",
            [compute(s.picture) for s in real],
            [compute(s.picture) for s in simulated],
        )
        for name, compute in _GREYS
    ]
    rows.append(_distance_row("grey values, distance", "heights", real, simulated, _grey_distance))
    for first, last, name in ((0, 1, "metals"), (1, LAST, "chalcogen columns")):
        rows.append(
            _distance_row(
                f"brightness of {name}, distance",
                "",
                real,
                simulated,
                partial(_weight_distance, first=first, last=last),
            )
        )
    for key, name, unit in _NUMBERS:
        rows.append(
            _number_row(
                name,
                unit,
                [s.number[key] for s in real if key in s.number],
                [s.number[key] for s in simulated if key in s.number],
            )
        )
    classes = get_material(real[0].material).class_names
    for role in DEFECT_ROLES:
        key = f"share_{role}"
        rows.append(
            _number_row(
                f"share of {classes[ROLES.index(role)]}",
                "",
                [s.number[key] for s in real],
                [s.number[key] for s in simulated],
            )
        )
    return pd.DataFrame(rows, columns=list(TABLE))


_GREYS: tuple[tuple[str, Callable[[FloatArray], float]], ...] = (
    ("mean", lambda v: float(v.mean())),
    ("standard deviation", lambda v: float(v.std())),
    ("skewness", lambda v: float(((v - v.mean()) ** 3).mean() / max(v.std(), 1e-12) ** 3)),
)


def _number_row(
    quantity: str, unit: str, real: Sequence[float], simulated: Sequence[float]
) -> dict[str, object]:
    one, two = np.asarray(real, dtype=float), np.asarray(simulated, dtype=float)
    one, two = one[np.isfinite(one)], two[np.isfinite(two)]
    if not len(one) or not len(two):
        return _row(quantity, unit, np.nan, np.nan, np.nan, np.nan)
    chance = np.nan
    if len(two) > 1:
        # one further image, or the mean of several, by the scatter of few
        reach = float(t.ppf(0.975, len(two) - 1)) * np.sqrt(1 / len(one) + 1 / len(two))
        chance = float(two.std(ddof=1) * reach)
    return _row(quantity, unit, one.mean(), two.mean(), two.mean() - one.mean(), chance)


def _distance_row(
    quantity: str,
    unit: str,
    real: Sequence[Seen],
    simulated: Sequence[Seen],
    distance: Callable[[Seen, Seen], float],
) -> dict[str, object]:
    found = float(np.mean([distance(a, b) for a in real for b in simulated]))
    among = [distance(a, b) for a, b in combinations(simulated, 2)]
    chance = np.nan
    if len(among) > 1:
        reach = float(t.ppf(0.975, len(among) - 1))
        chance = float(np.mean(among) + reach * np.std(among, ddof=1))
    return _row(quantity, unit, np.nan, np.nan, found, chance)


def _row(
    quantity: str, unit: str, real: float, simulated: float, difference: float, chance: float
) -> dict[str, object]:
    within = bool(abs(difference) <= chance) if np.isfinite([difference, chance]).all() else None
    values = (quantity, unit, float(real), float(simulated), float(difference), chance, within)
    return dict(zip(TABLE, values, strict=True))


def _grey_distance(one: Seen, two: Seen) -> float:
    """Wasserstein's between the grey values [heights of a metal column]."""
    values = []
    for seen in (one, two):
        every = max(1, seen.picture.size // 40_000)
        values.append(np.sort(seen.picture.ravel()[::every]))
    return float(wasserstein_distance(*values))


def _weight_distance(one: Seen, two: Seen, first: int, last: int) -> float:
    """Kolmogorov and Smirnov's between the columns' brightness."""
    values = [np.concatenate(s.weight[first:last]) for s in (one, two)]
    if min(len(v) for v in values) < 2:
        return np.nan
    return float(ks_2samp(*values).statistic)


def grey_limits(seen: Sequence[Seen]) -> tuple[float, float]:
    """Black and white that suit all of them [heights]: quantiles of their grey values."""
    ends = [np.quantile(s.picture, _QUANTILES) for s in seen]
    return float(min(e[0] for e in ends)), float(max(e[1] for e in ends))
