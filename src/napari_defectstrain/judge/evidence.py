"""What an image says of the crystal that it shows, whatever it is said to be: plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..crystal.other_lattices import HEXAGONAL, seen_lattice
from ..types import BoolArray, FloatArray, IntArray
from .assignment import metal_brighter
from .cell import Tile, TileCell, find_tiles
from .cell_columns import Sublattice, sublattice_of, tile_weights, within_the_crystal

FILLED = 0.14
"""Weight of the hexagon centre, of the brightest column, from which on centres are filled."""
FOREIGN = 1.0
"""Power of waves that are none of the lattice's, over its own, from which on it isn't one."""
_SURE = (1.2, 3.0)  # standard errors: of a tile, and of all that are filled together
_LEAST_PARTS = 5
ASSIGNED = 0.1
"""Nats a column from which on weights alone tell which sublattice is the metal's."""


@dataclass(frozen=True)
class CellEvidence:
    """The cell of one image, its tiles taken together.

    Parameters
    ----------
    name : str
        Of the image.
    tiles, looked_at : int
        Tiles that show the lattice, and all that were looked at.
    ratio : float
        Brightness of the dimmer sublattice over the brighter's, hexagon centres taken as empty.
    ratio_sigma : float
        Its standard error by the scatter of the tiles.
    filled : float
        Share of the tiles whose hexagon centres are filled, as in an AB bilayer or in 1T.
    filled_ratio : float
        Typical weight of the dimmer of their two dim sites over that of the other: these hold one
        chalcogen each in 1T, and metal and chalcogens in an AB bilayer; nan where there are none.
    filled_boxes : tuple of tuple of int
        Where these tiles lie: first row and column, and those behind the last ones [px].
    centre_sigma : float
        Standard error of `centre` by the transfer where grey values are bent; 0 where they aren't.
    centre : float
        Typical weight of the hexagon centre, of the brightest column.
    sign : float
        Minus one where the columns are dark, one where they are bright.
    foreign : float
        Typical power of waves that are none of the lattice's over its own.
    bright, dim : Sublattice
        Columns of the two sublattices.
    measured_a_pm : float or None
        Lattice constant by the stated pixel size [pm]; None where none is stated.
    other_lattice : str
        Name and spacing of a lattice that the picture shows and that isn't hexagonal; empty where
        it shows none.
    mean_ratio : float
        Mean brightness of the sublattice that is dimmer in the mean over the other's: an alloy's
        chalcogens may be dimmer than the metal by most columns and brighter by their mean.
    metal_brighter : float
        Nats a column by which the one that is brighter in the mean is the metal's, by what its
        columns are like (`assignment`); negative where the dimmer one is.
    metal : Sublattice or None
        Columns of the metal's sublattice where weights alone tell it (`ASSIGNED`).
    """

    name: str
    tiles: int
    looked_at: int
    ratio: float
    ratio_sigma: float
    filled: float
    centre: float
    sign: float
    foreign: float
    bright: Sublattice
    dim: Sublattice
    measured_a_pm: float | None
    other_lattice: str = ""
    mean_ratio: float = float("nan")
    metal_brighter: float = 0.0
    metal: Sublattice | None = None
    filled_ratio: float = float("nan")
    filled_boxes: tuple[tuple[int, int, int, int], ...] = ()
    centre_sigma: float = 0.0

    @property
    def weighed(self) -> int:
        """Columns of both sublattices that were weighed."""
        return self.bright.n + self.dim.n

    def to_dict(self) -> dict[str, Any]:
        """What ``run.json`` says of it."""
        return {
            "name": self.name,
            "tiles": self.tiles,
            "ratio": _number(self.ratio),
            "ratio_sigma": _number(self.ratio_sigma),
            "hexagon_centre": _number(self.centre),
            "filled_share": _number(self.filled),
            "filled_ratio": _number(self.filled_ratio),
            "half_bright": _number(self.bright.half),
            "half_dim": _number(self.dim.half),
            "metal_brighter": _number(self.metal_brighter),
            "a_pm": _number(self.measured_a_pm),
            "other_lattice": self.other_lattice,
        }


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 4)


def cell_evidence(
    name: str, data: FloatArray, a_px: float, measured_a_pm: float | None
) -> CellEvidence:
    """What the unit cell of an image says.

    Parameters
    ----------
    name : str
    data : array, `(H, W)`
    a_px : float
        Lattice constant [px].
    measured_a_pm : float or None
        Lattice constant by the stated pixel size [pm].
    """
    tiles, looked_at = find_tiles(data, a_px)
    if not tiles:
        none = sublattice_of(np.zeros(0))
        nan = float("nan")
        other = _other_lattice(data)
        return CellEvidence(
            name, 0, looked_at, nan, nan, 0.0, nan, nan, nan, none, none, measured_a_pm, other
        )
    all_tiles = tiles
    foreign = np.array([tile.cell.foreign for tile in tiles])
    of_another = float(np.sort(foreign)[(len(foreign) - 1) // 2])
    if of_another <= FOREIGN:  # other grains may lie in some of the tiles
        tiles = [tile for tile, its in zip(tiles, foreign, strict=True) if its <= FOREIGN]
    cells = [tile.cell for tile in tiles]
    sorted_ = np.array([_sites_of(tile) for tile in tiles])
    top = np.maximum(np.abs(sorted_).max(axis=1), 1e-30)
    middle, centre = sorted_[:, 1] / top, sorted_[:, 2] / top
    sigma = np.array([cell.sigma[0] for cell in cells]) / top
    filled = (centre > FILLED) & (centre > _SURE[0] * sigma) & (sorted_[:, 0] > 0)
    shared = np.array([cell.shared_sigma for cell in cells]) / top
    if filled.any() and _together(centre[filled], sigma[filled], shared[filled]) < _SURE[1]:
        filled[:] = False
    empty = ~filled if (~filled).any() else filled
    its_tiles = [tile for tile, it in zip(tiles, empty, strict=True) if it]
    its_cells = [tile.cell for tile in its_tiles]
    weights = _column_weights(its_tiles, all_tiles, data.shape)
    by_kind = [_by_brightness(cell, kinds) for cell, kinds in zip(its_cells, weights, strict=True)]
    bright, dim = (sublattice_of(c) for c in _two_brightest(its_cells, weights, by_kind))
    in_the_mean = _two_brightest(
        its_cells, weights, [np.argsort(-cell.weight) for cell in its_cells]
    )
    told = metal_brighter(*in_the_mean)
    metal = sublattice_of(in_the_mean[0 if told > 0 else 1]) if abs(told) > ASSIGNED else None
    ratio = (middle - centre) / np.maximum(1.0 - centre, 1e-9)
    its = ratio[empty]
    spread = 1.4826 * float(np.median(np.abs(its - np.median(its))))
    value = float(np.median(its))
    if np.isfinite(bright.second) or np.isfinite(dim.second):  # by the more frequent kind alone
        value = float(min(dim.level, bright.level) / max(dim.level, bright.level))
    return CellEvidence(
        name=name,
        tiles=len(tiles),
        looked_at=looked_at,
        ratio=value,
        ratio_sigma=max(spread, float(np.median(sigma))) / float(np.sqrt(len(its))),
        filled=_share(filled),
        centre=float(np.median(centre)),
        sign=float(np.median([cell.sign for cell in cells])),
        foreign=of_another,
        bright=bright,
        dim=dim,
        measured_a_pm=measured_a_pm,
        other_lattice=_other_lattice(data) if of_another > FOREIGN else "",
        mean_ratio=float(np.median(middle[empty])),
        metal_brighter=told,
        metal=metal,
        filled_ratio=float(np.median((centre / middle)[filled])) if filled.any() else float("nan"),
        centre_sigma=float(np.median(shared)) if tiles[0].transfer.bend != (0.0, 0.0) else 0.0,
        filled_boxes=tuple(tile.box for tile, it in zip(tiles, filled, strict=True) if it),
    )


def _column_weights(
    tiles: Sequence[Tile], all_tiles: Sequence[Tile], shape: tuple[int, ...]
) -> list[list[FloatArray]]:
    """Weights of the columns of tiles, site by site; where any tiles overlap, of one of them."""
    middles = np.array([t.corner + (np.array(t.data.shape) - 1) / 2 for t in all_tiles])
    return within_the_crystal(
        [
            tile_weights(
                tile.data,
                tile.cell,
                tile.corner,
                tile.at_border(shape),
                middles[[other is not tile for other in all_tiles]],
            )
            for tile in tiles
        ],
        [tile.cell for tile in tiles],
    )


def _sites_of(tile: Tile) -> FloatArray:
    """Weights of the three sites from bright to dim, `(3,)`; of most parts where these differ.

    Where two mirror twins meet, a tile holds the chalcogens of both: none of its sites is empty,
    but in most of its parts one is.
    """
    whole = np.sort(tile.cell.weight)[::-1]
    if whole[2] < FILLED / 2 * whole[0]:
        return whole
    weight = np.sort(tile.parts(), axis=1)[:, ::-1]
    weight = weight[weight[:, 0] > 0]
    if len(weight) < _LEAST_PARTS:
        return whole
    relative = np.median(weight / weight[:, :1], axis=0)
    return whole if relative[2] > FILLED else np.asarray(relative * whole[0])


def _two_brightest(
    cells: Sequence[TileCell],
    weights: Sequence[list[FloatArray]],
    order: Sequence[IntArray],
) -> tuple[FloatArray, FloatArray]:
    """Weights of the columns of the first two sites of every tile, in units of the cell's sum."""
    scale = [float(cell.weight.sum()) or 1.0 for cell in cells]
    first, second = (
        np.concatenate([w[o[k]] / s for w, o, s in zip(weights, order, scale, strict=True)])
        for k in range(2)
    )
    return first, second


def _other_lattice(data: FloatArray) -> str:
    """Name and spacing of a lattice that isn't hexagonal; empty where none shows."""
    seen = seen_lattice(data)
    return "" if seen is None or seen.kind == HEXAGONAL else seen.in_words()


def _together(value: FloatArray, sigma: FloatArray, shared: FloatArray) -> float:
    """Mean over its standard error, where a part of the errors is that of all alike."""
    own2 = np.maximum(sigma**2 - shared**2, 0.0).mean() / len(value)
    return float(value.mean() / max(np.sqrt(own2 + (shared**2).mean()), 1e-12))


def _share(which: BoolArray) -> float:
    """Share of the tiles; one alone of several is none."""
    count = int(np.sum(which))
    return 0.0 if count == 1 and len(which) > 3 else count / len(which)


def _by_brightness(cell: TileCell, kinds: list[FloatArray]) -> IntArray:
    """Sites from bright to dim by their brighter columns: of two kinds of metal by the heavier."""
    top = [float(np.quantile(k, 0.75)) if len(k) else float(w) for k, w in
           zip(kinds, cell.weight, strict=True)]  # fmt: skip
    return np.asarray(np.argsort(top)[::-1])
