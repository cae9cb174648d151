"""Crystals of the second simulator: strained, rotated, with defects and their relaxations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

Array = npt.NDArray[np.floating[Any]]

RADIUS_PM = 1200.0  # where a column's image and a defect's relaxation end

# Column weights relative to W, 63-200 mrad at 80 kV: 2Se, SeTe, 2Te, SV, DV.
WEIGHTS = {
    "multislice": (0.654, 1.048, 1.389, 0.338, 0.0),
    "frozen phonons": (0.736, 1.105, 1.430, 0.354, 0.0),
    "Kirkland": (0.749, 1.032, 1.315, 0.374, 0.0),
}
DEFECTS = ("SeTe", "2Te", "SV", "DV")
STRUCTURES = Path(__file__).resolve().parents[1] / "sample_data"
# Change of the W-W spacing around SeTe, 2Te, SV, DV: as measured by the paper, and by PBE.
SPACING_CHANGE = {
    "paper": (0.006, 0.012, -0.048, -0.08),
    "PBE": (0.020, 0.039, -0.073, -0.155),
}
DRAWN_RELAXATIONS = list(SPACING_CHANGE)  # "structures", by relaxed supercells, on request only
LATTICE_PM = {"WSe2": 329.5, "MoS2": 316.0}
LOOKALIKES = (
    "Te alone",
    "Se+O",
    "Se on a hexagon",
    "W on a hexagon",
    "Se on W",
    "W vacancy",
    "Mo for W",
    "2Se for W",
    "W for 2Se",
)
# Alien columns: where they sit, and their weight in W's; X, Y and XY stand for the image's own.
ALIENS: dict[str, tuple[str, Callable[[dict[str, float]], float]]] = {
    "Te alone": ("chalcogen", lambda w: w["2Te"] / 2),
    "Se+O": ("chalcogen", lambda w: w["SV"] + w["O"]),
    "Se+S": ("chalcogen", lambda w: w["SV"] + w["S"]),
    "Se on a hexagon": ("hexagon", lambda w: w["2Se"] / 2),
    "W on a hexagon": ("hexagon", lambda w: 1.0),
    "Se on W": ("metal", lambda w: 1 + w["2Se"] / 2),
    "W vacancy": ("metal", lambda w: 0.0),
    "Mo for W": ("metal", lambda w: w["Mo"]),
    "2Se for W": ("metal", lambda w: w["2Se"]),
    "W for 2Se": ("chalcogen", lambda w: 1.0),
}


@dataclass(frozen=True)
class Crystal:
    """All columns of an image and around it; places in pm, (y, x) with y down.

    `moved` is the displacement by all defects, part of `place`.
    """

    place: Array
    moved: Array
    weight: Array
    label: npt.NDArray[np.str_]
    kind: npt.NDArray[np.str_]


def grow(
    material: str,
    aliens: dict[str, float],
    half_pm: Array,
    weights: dict[str, float],
    setting: dict[str, Any],
    rng: np.random.Generator,
) -> Crystal:
    """A strained, rotated crystal with defects, centred on (0, 0)."""
    a = LATTICE_PM[material]
    metal = material[:2].rstrip("S")
    perfect = "2" + material[len(metal) : -1]
    reach = int(1.3 * np.hypot(*half_pm) / a) + 8
    index = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1).T
    cell = index @ (a * np.array([[0.0, 1.0], [np.sqrt(0.75), 0.5]]))
    shift = a / np.sqrt(3) * np.array([[0.0, 0], [np.sin(np.pi / 6), np.cos(np.pi / 6)]])
    ideal = np.concatenate([cell, cell + shift[1], cell + 2 * shift[1]])
    lattice = np.repeat(["metal", "chalcogen", "hexagon"], len(cell))
    angle, shear = setting["rotation_rad"], setting["shear"]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    strain = np.array([[1.0, shear[0]], [shear[1], 1.0]])
    ideal = (ideal + rng.uniform(-a, a, 2)) @ turn.T @ strain.T
    near = np.all(np.abs(ideal) < half_pm + RADIUS_PM + a, axis=1)
    ideal, lattice = ideal[near], lattice[near]
    frame = strain @ turn
    flip = np.zeros(len(ideal), dtype=bool)
    if setting.get("twin"):
        flip = ideal @ [np.sin(angle), np.cos(angle)] > setting["twin_pm"]
        mirrored = {"chalcogen": "hexagon", "hexagon": "chalcogen", "metal": "metal"}
        lattice = np.where(flip, [mirrored[name] for name in lattice], lattice)

    label = np.where(lattice == "metal", metal, perfect).astype("U16")
    chalcogen = np.flatnonzero(lattice == "chalcogen")
    fractions = setting["fractions"]
    drawn = rng.choice(
        [perfect, *fractions], len(chalcogen), p=[1 - sum(fractions.values()), *fractions.values()]
    )
    label[chalcogen] = drawn
    kind, weight = label.copy(), np.array([weights[name] for name in label])
    present = lattice != "hexagon"
    if aliens:
        for name, one_share in aliens.items():
            where, its_weight = ALIENS[name]
            free = np.flatnonzero((lattice == where) & np.isin(kind, [metal, perfect]))
            # Kinds that share a sublattice don't crowd out one another's share.
            share = one_share * (lattice == where).sum() / len(free)
            chosen = free[rng.random(len(free)) < share]
            label[chosen], kind[chosen], weight[chosen] = "other", name, its_weight(weights)
            present[chosen] = True
    if setting["relaxation"] == "structures":
        by = by_structures(ideal, kind, flip, a, frame)
    else:
        by = relaxation(ideal, kind, a, setting)
    place = ideal + by + rng.normal(0, setting["disorder_pm"], ideal.shape)
    return Crystal(place[present], by[present], weight[present], label[present], kind[present])


def spacing_change(name: str) -> dict[str, float]:
    """Change of the W-W spacing around each defect that a relaxation builds in."""
    if name != "structures":
        return dict(zip(DEFECTS, SPACING_CHANGE[name], strict=True))
    found = {}
    for defect in DEFECTS:
        offset, moved, _ = supercell_field(defect)
        three = np.argsort(np.hypot(*offset.T))[1:4]  # after the defect's own column
        before, after = (
            np.hypot(*(p - np.roll(p, 1, axis=0)).T).mean()
            for p in (offset[three], (offset + moved)[three])
        )
        found[defect] = float(after / before - 1)
    return found


def pairs_around(
    ideal: Array, centres: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Array]:
    """Columns within `RADIUS_PM` of centres, their centres, and the way there."""
    near = cKDTree(ideal).query_ball_point(ideal[centres], RADIUS_PM)
    who = np.concatenate([np.asarray(n, int) for n in near] or [np.empty(0, int)])
    of = np.repeat(centres, [len(n) for n in near]).astype(int)
    return who, of, ideal[who] - ideal[of]


def relaxation(
    ideal: Array, kind: npt.NDArray[np.str_], a: float, setting: dict[str, Any]
) -> Array:
    """Displacement (pm) of every column by all defects: radial, damped, oscillating outwards."""
    change = spacing_change(setting["relaxation"])
    change["Te alone"] = change["SeTe"] / 2
    total = np.zeros_like(ideal)
    first = a / np.sqrt(3)
    for name, by in change.items():
        who, _, away = pairs_around(ideal, np.flatnonzero(kind == name))
        r = np.hypot(*away.T)
        away, who, r = away[r > 1], who[r > 1], r[r > 1]
        size = by * first * first / r * np.exp(-(r - first) / setting["decay_pm"])
        size *= np.cos(setting["ripple_per_pm"] * (r - first))
        np.add.at(total, who, away * (size / r)[:, None])
    return total


def by_structures(
    ideal: Array, kind: npt.NDArray[np.str_], flip: npt.NDArray[np.bool_], a: float, frame: Array
) -> Array:
    """Displacement (pm) of every column by relaxed supercells around all defects."""
    total = np.zeros_like(ideal)
    for name in DEFECTS:
        offset, moved, its_a = supercell_field(name)
        tree = cKDTree(offset)
        who, of, away = pairs_around(ideal, np.flatnonzero(kind == name))
        sense = np.where(flip[of], -1.0, 1.0)[:, None]
        distance, column = tree.query(away @ np.linalg.inv(frame).T * sense * its_a / a)
        near = distance < 60.0
        by = moved[column[near]] * sense[near] * a / its_a
        np.add.at(total, who[near], by @ frame.T)
    return total


@lru_cache
def supercell_field(defect: str) -> tuple[Array, Array, float]:
    """Offsets of a supercell's columns from the defect, their displacements, lattice constant.

    (y, x) in pm; turned so that the nearest metals lie as `grow` puts them. The defect's own
    column comes with no displacement.
    """
    cell, names, perfect = _read_extxyz(STRUCTURES / "pristine_9x9.extxyz")
    _, its_names, relaxed = _read_extxyz(STRUCTURES / f"{defect}_9x9.extxyz")
    apart = perfect[:, None] - relaxed[None]
    apart[..., :2] -= np.rint(apart[..., :2] @ np.linalg.inv(cell)) @ cell
    distance = np.linalg.norm(apart, axis=2)
    twin = distance.argmin(axis=1)
    lost = (distance.min(axis=1) > 80.0) | (names != its_names[twin])
    moved = np.where(lost[:, None], 0.0, -apart[np.arange(len(twin)), twin][:, :2])
    centre = perfect[np.flatnonzero(lost)[0], :2]
    offset = perfect[:, :2] - centre
    offset -= np.rint(offset @ np.linalg.inv(cell)) @ cell
    wrapped = offset[:, None] + np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)]) @ cell
    nearest = np.hypot(*np.moveaxis(wrapped, -1, 0)).argmin(axis=1)
    offset = wrapped[np.arange(len(offset)), nearest]
    # the two chalcogens of a column are one, displaced by the mean of those that are there
    same = np.hypot(*(offset[:, None] - offset[None]).transpose(2, 0, 1)) < 40.0
    there = same & ~lost[None]
    moved = there @ moved / np.maximum(there.sum(axis=1), 1)[:, None]
    moved[np.hypot(*offset.T) < 40.0] = 0.0
    keep = np.unique(same.argmax(axis=1))
    offset, moved = offset[keep], moved[keep]
    metal = np.isin(names[keep], ["W", "Mo"])
    a = float(np.sqrt(3) * np.hypot(*offset[metal].T).min())
    offset, moved = offset[:, ::-1] * [-1, 1], moved[:, ::-1] * [-1, 1]  # (x, y up) to (y, x) down
    first = offset[metal][np.hypot(*offset[metal].T).argmin()]
    if np.cos(3 * (np.arctan2(*first) - np.arctan2(-0.5, -np.cos(np.pi / 6)))) < 0:
        offset, moved = -offset, -moved
    return offset, moved, a


def _read_extxyz(path: Path) -> tuple[Array, npt.NDArray[np.str_], Array]:
    """In-plane cell (2, 2) as rows, elements, and places (x, y, z), in pm."""
    lines = path.read_text().splitlines()
    cell = np.array(lines[1].split('Lattice="')[1].split('"')[0].split(), dtype=float)
    rows = [line.split() for line in lines[2 : 2 + int(lines[0])]]
    place = np.array([row[1:4] for row in rows], dtype=float)
    return 100 * cell.reshape(3, 3)[:2, :2], np.array([row[0] for row in rows]), 100 * place
