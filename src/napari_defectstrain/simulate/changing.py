"""Series of frames in which columns change from class to class at known rates, and migrate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from ..config import Between, Config
from ..materials import ROLES, Material, get_material
from ..types import BoolArray, DefectStrainError, FloatArray, IntArray
from .acquisition import contamination
from .dataset import (
    SimulatedImage,
    SimulationConfig,
    clean_image,
    crystal_for,
    crystal_to_px,
    recorded,
    with_truth,
)
from .structure import CrystalConfig, relax_crystal

_ONE_GRAIN = ("whole", "edge", "holes")
"""Patterns whose columns lie on the sites of one lattice."""
_NEIGHBOUR_REACH = 1.2  # lattice constants: the six nearest chalcogen columns

PER_DOSE = 1e6
"""Rates are told for so many electrons per nm2."""

FRAME_DOSE = 3.9e6
"""Of a frame where nothing else is asked for [e-/nm2], as in the bundled series."""


@dataclass(frozen=True)
class ChangesConfig(Config):
    """What is asked of a series of frames in which columns change.

    Parameters
    ----------
    frames : int
    changes : tuple of str
        ``BEFORE:AFTER=RATE``, for instance ``2Se:SV=0.0018``: how often a column of one class
        becomes one of another, per column and 1e6 e-/nm2. Empty: every X atom is knocked out at
        0.0009 (`knock_on`).
    hop_rate : float
        How often a vacancy changes places with a perfect neighbour, likewise.
    drift_pm_per_s : float
        Steady drift in a random direction [pm/s].
    dwell_us : float
        Time a pixel [us], which tells how far that is in a frame.
    """

    frames: Annotated[int, Between(2, 10**5)] = 30
    changes: tuple[str, ...] = ()
    hop_rate: Annotated[float, Between(0, 1e6)] = 0.0
    drift_pm_per_s: Annotated[float, Between(-1e6, 1e6)] = 0.0
    dwell_us: Annotated[float, Between(0.001, 1e6)] = 4.0

    def rates(self, material: Material) -> dict[tuple[str, str], float]:
        """Rate of each change by role [per column and 1e6 e-/nm2].

        Raises
        ------
        DefectStrainError
            If a change isn't one of two classes of the material that have chalcogen sites, or is
            asked for twice.
        """
        if not self.changes:
            return knock_on(0.0009)
        return dict(zip(*_unique(self.changes, material), strict=True))


def _unique(
    changes: Sequence[str], material: Material
) -> tuple[list[tuple[str, str]], list[float]]:
    """Roles and rates of the changes that are asked for."""
    names = material.class_names[1 : len(ROLES) - 1]
    pairs: list[tuple[str, str]] = []
    rates = []
    for text in changes:
        what, _, rate = text.partition("=")
        before, _, after = (part.strip() for part in what.partition(":"))
        try:
            value = float(rate)
        except ValueError:
            value = -1.0
        if before == after or not {before, after} <= set(names) or not 0 <= value < np.inf:
            raise DefectStrainError(
                f"series: got a change {text!r}, expected BEFORE:AFTER=RATE with two of "
                f"{', '.join(names)} and a rate per 1e6 e-/nm2, such as "
                f"{names[0]}:{names[3]}=0.0018"
            )
        pair = (material.role_of(before), material.role_of(after))
        if pair in pairs:
            raise DefectStrainError(
                f"series: got {before}:{after} twice, expected each change once"
            )
        pairs.append(pair)
        rates.append(value)
    return pairs, rates


@dataclass(frozen=True)
class ChangingSeries:
    """The frames of a region whose columns change, and every column's history.

    Parameters
    ----------
    image : SimulatedImage
        `(T, H, W)` counts; places and classes are those of the last frame, places on the canvas of
        the first.
    class_index : array of int, `(T, N)`
        Class of each column of `image` in every frame.
    chance : mapping of (str, str) to float
        Chance of each change in a frame, by role.
    hop : float
        Chance that a vacancy hops to a perfect neighbour in a frame.
    drift_px : array, `(T, 2)`
        (y, x) by which each frame shows the sample displaced since the first [px].
    """

    image: SimulatedImage
    class_index: IntArray
    chance: Mapping[tuple[str, str], float]
    hop: float
    drift_px: FloatArray

    def rates(self, dose: float) -> dict[tuple[str, str], float]:
        """Rates of the changes per unit of dose, `dose` being that of a frame.

        The chances of a class to become others in a frame, in continuous time:
        ``-ln(1 - sum) / dose``, shared out like the chances.
        """
        total: dict[str, float] = {}
        for (before, _), chance in self.chance.items():
            total[before] = total.get(before, 0.0) + chance
        return {
            pair: chance / total[pair[0]] * -float(np.log1p(-total[pair[0]])) / dose
            for pair, chance in self.chance.items()
            if chance > 0
        }


def chances(rates: Mapping[tuple[str, str], float], dose: float) -> dict[tuple[str, str], float]:
    """Chances of changes in a frame, the other way round than `ChangingSeries.rates`.

    Parameters
    ----------
    rates : mapping of (str, str) to float
        Per unit of dose.
    dose : float
        Of a frame.

    Examples
    --------
    >>> chances({("X2", "V1"): 0.1, ("X2", "V2"): 0.3}, 2.0)[("X2", "V1")]  # a quarter of all
    0.1376677589706...
    """
    total: dict[str, float] = {}
    for (before, _), rate in rates.items():
        total[before] = total.get(before, 0.0) + rate
    return {
        pair: rate / total[pair[0]] * -float(np.expm1(-total[pair[0]] * dose))
        for pair, rate in rates.items()
        if rate > 0
    }


def simulate_changing(
    config: SimulationConfig, asked: ChangesConfig, rng: np.random.Generator, name: str
) -> ChangingSeries:
    """`simulate_changes` by rates instead of chances, and a drift in a random direction.

    Parameters
    ----------
    config : SimulationConfig
        Of every single frame.
    asked : ChangesConfig
    rng : numpy.random.Generator
    name : str
    """
    scan = config.scan
    dose = scan.dose_e_per_nm2 / PER_DOSE
    angle = rng.uniform(0, 2 * np.pi)
    frame_s = scan.shape[0] * scan.shape[1] * asked.dwell_us * 1e-6
    step = asked.drift_pm_per_s * frame_s / scan.pixel_size_pm
    made = simulate_changes(
        config,
        rng,
        name,
        asked.frames,
        chances(asked.rates(get_material(config.crystal.material)), dose),
        -float(np.expm1(-asked.hop_rate * dose)),
        (step * float(np.sin(angle)), step * float(np.cos(angle))),
    )
    metadata = {**made.image.metadata, "dwell_time_us": asked.dwell_us}
    return replace(made, image=replace(made.image, metadata=metadata))


def history_table(series: ChangingSeries) -> pd.DataFrame:
    """Every change of a column of the truth: a row a change.

    ``column`` (the row of the truth table, from 0), ``y_px``, ``x_px``, ``frame`` (from 0: the
    first that shows the new class), ``before`` and ``after``.
    """
    material = get_material(series.image.config.crystal.material)
    names = np.array(material.class_names)
    frame, column = np.nonzero(np.diff(series.class_index, axis=0))
    place = series.image.position_px[column].round(4)  # as in the truth table
    return pd.DataFrame(
        {
            "column": column,
            "y_px": place[:, 0],
            "x_px": place[:, 1],
            "frame": frame + 1,
            "before": names[series.class_index[frame, column]],
            "after": names[series.class_index[frame + 1, column]],
        }
    )


def knock_on(loss: float) -> dict[tuple[str, str], float]:
    """Chances where every X atom is lost with the same chance in a frame."""
    return {("X2", "V1"): 2 * loss, ("V1", "V2"): loss}


def simulate_changes(
    config: SimulationConfig,
    rng: np.random.Generator,
    name: str,
    frames: int,
    chance: Mapping[tuple[str, str], float],
    hop: float = 0.0,
    drift_px: tuple[float, float] = (0.0, 0.0),
) -> ChangingSeries:
    """Frames of a field in which columns change between one frame and the next.

    Parameters
    ----------
    config : SimulationConfig
        Of every single frame: its dose is that of a frame.
    rng : numpy.random.Generator
    name : str
    frames : int
        How many, at least 2.
    chance : mapping of (str, str) to float
        Chance of a change from one role to another between two frames, such as `knock_on`.
    hop : float
        Chance that a vacancy (V1) changes places with a perfect neighbour (X2).
    drift_px : tuple of float
        Steady drift a frame, (y, x) [px].

    Raises
    ------
    DefectStrainError
        If there are fewer than two frames, chances make no sense, or the crystal holds what can't
        change: look-alikes, several grains or layers, tilt, ripples.
    """
    _check(frames, chance, hop)
    _check_crystal(config.crystal)
    crystal = crystal_for(config, rng)
    disorder = crystal.disorder_pm
    class_index = crystal.class_index.copy()
    dirt = contamination(config.scan, rng)
    origin = (np.asarray(config.scan.shape) - 1) / 2
    shown, classes = [], []
    drift = np.arange(frames)[:, None] * np.asarray(drift_px, dtype=float)
    for t in range(frames):
        if t:
            class_index = _changed(class_index, chance, rng)
            if hop:
                near = _near(crystal.site_pm, crystal.is_metal, config)
                class_index = _hopped(class_index, near, hop, rng)
        crystal = relax_crystal(config.crystal, crystal.site_pm, crystal.is_metal, class_index, rng)
        crystal = replace(crystal, disorder_pm=disorder)  # static: that of every frame
        position = crystal_to_px(crystal.position_pm, config.scan, origin)
        clean = clean_image(position + drift[t], class_index, config)
        shown.append(recorded(clean + dirt, config, rng))
        classes.append(class_index.copy())
    image = with_truth(np.stack(shown), position, crystal, config, name)
    inside = np.all((position >= -0.5) & (position <= np.asarray(config.scan.shape) - 0.5), axis=1)
    image = replace(image, metadata={**image.metadata, "dwell_time_us": 4.0})
    return ChangingSeries(image, np.stack(classes)[:, inside], dict(chance), hop, drift)


def _check_crystal(crystal: CrystalConfig) -> None:
    """Every frame is relaxed anew on the sites of one lattice, and its columns stand upright."""
    got = {
        "look-alikes": any(crystal.lookalikes),
        f"the pattern {crystal.pattern}": crystal.pattern not in _ONE_GRAIN,
        "a tilt": crystal.tilt_mrad != 0,
        "ripples": crystal.ripple_mrad != 0,
    }
    wrong = [what for what, there in got.items() if there]
    if wrong:
        raise DefectStrainError(
            f"series: got {', '.join(wrong)}, expected a crystal without: columns of one upright "
            f"grain ({', '.join(_ONE_GRAIN)}) can change from frame to frame"
        )


def _check(frames: int, chance: Mapping[tuple[str, str], float], hop: float) -> None:
    if frames < 2:
        raise DefectStrainError(f"series: got {frames} frame(s), expected 2 or more")
    unknown = sorted({role for pair in chance for role in pair} - set(ROLES[1:-1]))
    if unknown:
        raise DefectStrainError(
            f"series: got changes of {', '.join(unknown)}, "
            f"expected some of {', '.join(ROLES[1:-1])}"
        )
    wrong = [p for p in (*chance.values(), hop) if not 0 <= p <= 1]
    if wrong:
        raise DefectStrainError(f"series: got a chance of {wrong[0]:g}, expected 0 to 1")


def _changed(
    class_index: IntArray, chance: Mapping[tuple[str, str], float], rng: np.random.Generator
) -> IntArray:
    """Classes a frame later: one draw a column decides on all changes that are open to it."""
    drawn = rng.random(len(class_index))
    result = class_index.copy()
    below = np.zeros(len(ROLES))
    for (before, after), p in chance.items():
        i = ROLES.index(before)
        hit = (class_index == i) & (drawn >= below[i]) & (drawn < below[i] + p)
        result[hit] = ROLES.index(after)
        below[i] += p
    return result


def _near(site_pm: FloatArray, is_metal: BoolArray, config: SimulationConfig) -> list[IntArray]:
    """The chalcogen columns next to each one."""
    chalcogen = np.flatnonzero(~is_metal)
    reach = _NEIGHBOUR_REACH * config.crystal.lattice_pm
    tree = cKDTree(site_pm[chalcogen])
    near = [np.zeros(0, dtype=int)] * len(site_pm)
    for i, found in zip(chalcogen, tree.query_ball_point(site_pm[chalcogen], reach), strict=True):
        near[i] = chalcogen[[k for k in found if chalcogen[k] != i]]
    return near


def _hopped(
    class_index: IntArray, near: list[IntArray], hop: float, rng: np.random.Generator
) -> IntArray:
    x2, v1 = ROLES.index("X2"), ROLES.index("V1")
    result = class_index.copy()
    for i in np.flatnonzero(class_index == v1):
        if rng.random() >= hop:
            continue
        free = [k for k in near[i] if result[k] == x2]
        if free and result[i] == v1:
            to = int(rng.choice(free))
            result[i], result[to] = x2, v1
    return result
