"""Series of frames in which columns change from class to class at known rates, and migrate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from ..materials import ROLES
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
from .structure import relax_crystal

_NEIGHBOUR_REACH = 1.2  # lattice constants: the six nearest chalcogen columns


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
        If there are fewer than two frames, or chances make no sense.
    """
    _check(frames, chance, hop)
    crystal = crystal_for(config, rng)
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
        position = crystal_to_px(crystal.position_pm, config.scan, origin)
        clean = clean_image(position + drift[t], class_index, config)
        shown.append(recorded(clean + dirt, config, rng))
        classes.append(class_index.copy())
    image = with_truth(np.stack(shown), position, crystal, config, name)
    inside = np.all((position >= -0.5) & (position <= np.asarray(config.scan.shape) - 0.5), axis=1)
    image = replace(image, metadata={**image.metadata, "dwell_time_us": 4.0})
    return ChangingSeries(image, np.stack(classes)[:, inside], dict(chance), hop, drift)


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
