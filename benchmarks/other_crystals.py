"""Crystals of the second simulator: strained, rotated, with defects and their relaxations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
# Change of the W-W spacing around SeTe, 2Te, SV, DV: as measured by the paper, and by PBE.
SPACING_CHANGE = {
    "paper": (0.006, 0.012, -0.048, -0.08),
    "PBE": (0.020, 0.039, -0.073, -0.155),
}
LATTICE_PM = {"WSe2": 329.5, "MoS2": 316.0}
# Alien columns: where they sit, and their weight in W's; X, Y and XY stand for the image's own.
ALIENS: dict[str, tuple[str, Callable[[dict[str, float]], float]]] = {
    "Te alone": ("chalcogen", lambda w: w["2Te"] / 2),
    "Se+O": ("chalcogen", lambda w: w["SV"] + w["O"]),
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
    """All columns of an image and around it; places in pm, (y, x) with y down."""

    place: Array
    weight: Array
    label: npt.NDArray[np.str_]
    kind: npt.NDArray[np.str_]


def grow(
    material: str,
    aliens: float,
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
        for name, (where, its_weight) in ALIENS.items():
            free = np.flatnonzero((lattice == where) & np.isin(kind, [metal, perfect]))
            # Kinds that share a sublattice don't crowd out one another's share.
            share = aliens * (lattice == where).sum() / len(free)
            chosen = free[rng.random(len(free)) < share]
            label[chosen], kind[chosen], weight[chosen] = "other", name, its_weight(weights)
            present[chosen] = True
    moved = ideal + relaxation(ideal, kind, a, setting) + rng.normal(0, 3.0, ideal.shape)
    return Crystal(moved[present], weight[present], label[present], kind[present])


def relaxation(
    ideal: Array, kind: npt.NDArray[np.str_], a: float, setting: dict[str, Any]
) -> Array:
    """Displacement (pm) of every column by all defects: radial, damped, oscillating outwards."""
    change = dict(
        zip(("SeTe", "2Te", "SV", "DV"), SPACING_CHANGE[setting["relaxation"]], strict=True)
    )
    change["Te alone"] = change["SeTe"] / 2
    tree = cKDTree(ideal)
    total = np.zeros_like(ideal)
    first = a / np.sqrt(3)
    for name, by in change.items():
        centres = np.flatnonzero(kind == name)
        near = tree.query_ball_point(ideal[centres], RADIUS_PM)
        who = np.concatenate([np.asarray(n, int) for n in near] or [np.empty(0, int)])
        away = ideal[who] - ideal[np.repeat(centres, [len(n) for n in near])]
        r = np.hypot(*away.T)
        away, who, r = away[r > 1], who[r > 1], r[r > 1]
        size = by * first * first / r * np.exp(-(r - first) / setting["decay_pm"])
        size *= np.cos(setting["ripple_per_pm"] * (r - first))
        np.add.at(total, who, away * (size / r)[:, None])
    return total
