"""Fields of view that hold more than one perfect grain: edges, holes, twins, another phase."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
from scipy.spatial import cKDTree

from ..materials import ROLES
from ..types import BoolArray, FloatArray, IntArray
from .lookalikes import LOOKALIKES, NOT_2H, OTHER, stacked_row
from .structure import LAYERED, Crystal, CrystalConfig, build_crystal, lattice_sites

_CLASH = 0.65
"""Least distance of the columns of two grains [a / sqrt(3)]."""
# Rows of `layer_weights`: the columns of another phase hold one chalcogen, or none.
_ONE_X, _NOTHING = ROLES.index("V1"), ROLES.index("V2")
_ONE_Y = OTHER + [look.name for look in LOOKALIKES].index("1Y")
_METAL, _TWO_X = ROLES.index("metal"), ROLES.index("X2")
_WHOLE_FIELD = 0.6
"""Share of the images of another crystal that show nothing else."""
_DIMER = 0.125
"""How far the metal rows of 1T' move towards each other in pairs [a]: 43 pm in WTe2."""


def crystal_with_pattern(
    config: CrystalConfig, radius_pm: float, field_pm: float, rng: np.random.Generator
) -> Crystal:
    """A crystal that covers a field of view, and what else `config.pattern` puts into it.

    Parameters
    ----------
    config : CrystalConfig
    radius_pm : float
        Of the flake [pm].
    field_pm : float
        Side of the field of view, which the boundary crosses [pm].
    rng : numpy.random.Generator
    """
    crystal = build_crystal(config, radius_pm, rng)
    if config.pattern == "whole":
        return crystal
    if config.pattern in LAYERED and rng.random() < _WHOLE_FIELD:
        return layered_crystal(config, radius_pm, rng)
    if config.pattern == "edge":
        return crystal.take(~beyond_line(crystal.position_pm, field_pm, rng))
    if config.pattern == "holes":
        return crystal.take(~in_holes(crystal.position_pm, field_pm, rng))
    if config.pattern == "1T'":
        second = distorted_phase(config, radius_pm, rng)
    elif config.pattern in LAYERED:
        second = layered_crystal(config, radius_pm, rng)
    else:
        turn = np.pi / 3 if config.pattern == "twin" else rng.uniform(0, 2 * np.pi / 3)
        second = turned(build_crystal(config, radius_pm, rng), turn)
    # One draw of the boundary for both grains
    seed = int(rng.integers(2**32))
    beyond = [
        beyond_line(c.position_pm, field_pm, np.random.default_rng(seed)) for c in (crystal, second)
    ]
    return joined(crystal.take(~beyond[0]), second.take(beyond[1]), config.lattice_pm)


def beyond_line(position_pm: FloatArray, field_pm: float, rng: np.random.Generator) -> BoolArray:
    """True for columns beyond a random line with a wavy course through the field, `(N,)`."""
    angle = rng.uniform(0, 2 * np.pi)
    normal, along = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    wave = np.sin(position_pm @ along / field_pm * rng.uniform(2, 20) + rng.uniform(0, 2 * np.pi))
    distance = position_pm @ normal + 0.06 * rng.random() * field_pm * wave
    return np.asarray(distance > rng.uniform(-0.3, 0.3) * field_pm)


def in_holes(position_pm: FloatArray, field_pm: float, rng: np.random.Generator) -> BoolArray:
    """True for columns in one to four holes of 0.3-1.5 nm radius with ragged rims, `(N,)`."""
    inside = np.zeros(len(position_pm), dtype=bool)
    for _ in range(rng.integers(1, 5)):
        offset = position_pm - rng.uniform(-0.5, 0.5, 2) * field_pm
        angle = np.arctan2(offset[:, 1], offset[:, 0])
        radius = np.full(len(position_pm), rng.uniform(300, 1500))
        for order in (2, 3, 5):
            swing = 0.15 * rng.standard_normal()
            radius = radius * (1 + swing * np.cos(order * angle + rng.uniform(0, 2 * np.pi)))
        inside |= np.hypot(offset[:, 0], offset[:, 1]) < radius
    return inside


def turned(crystal: Crystal, angle: float) -> Crystal:
    """The crystal turned counter-clockwise about the origin, a chalcogen site [rad]."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    names = ("site_pm", "displacement_pm", "own_displacement_pm", "disorder_pm", "tilt")
    return replace(crystal, **{name: getattr(crystal, name) @ turn for name in names})


def joined(first: Crystal, second: Crystal, lattice_pm: float) -> Crystal:
    """Both grains, without the columns of the second that clash with the first."""
    free = np.ones(len(second.site_pm), dtype=bool)
    if len(first.site_pm) and len(second.site_pm):
        distance = cKDTree(first.position_pm).query(second.position_pm)[0]
        free = distance > _CLASH * lattice_pm / np.sqrt(3)
    parts = (first, second.take(free))
    return Crystal(
        *(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Crystal))
    )


def distorted_phase(config: CrystalConfig, radius_pm: float, rng: np.random.Generator) -> Crystal:
    """A flake of 1T': octahedral, metal rows paired into zigzag chains, `kind` `NOT_2H`.

    In projection the two chalcogens of a metal lie on either side, each alone; the cell doubles
    across the chains and its chalcogens follow a little (Heising and Kanatzidis,
    doi 10.1021/ja983043c). Substituted and missing atoms are drawn as in the 2H crystal. Turned by
    a random one of the three directions that chains may take.
    """
    a = config.lattice_pm
    chalcogen, is_metal = lattice_sites(a, radius_pm)
    metal = chalcogen[is_metal]
    bond = np.array([0.0, a / np.sqrt(3)])
    # rows of metals along x, numbered by y: pairs move together
    row = np.rint(metal[:, 1] / (a * np.sqrt(3) / 2) - 2 / 3).astype(int)
    toward = np.where(row % 2 == 0, 1.0, -1.0)[:, None] * [0.0, 1.0]
    distortion = rng.uniform(0.7, 1.2) * _DIMER * a
    spread = rng.uniform(0.2, 0.6) * distortion
    site = np.concatenate([metal + distortion * toward, metal + bond, metal - bond])
    site[len(metal) : 2 * len(metal)] += spread * toward
    site[2 * len(metal) :] -= spread * toward
    n = len(metal)
    substituted = rng.random(2 * n) < config.fractions[0] / 2 + config.fractions[1]
    layers = np.concatenate([np.zeros(n, dtype=int), np.where(substituted, _ONE_Y, _ONE_X)])
    gone = rng.random(3 * n) < config.fractions[2] / 2 + config.fractions[3]
    layers[gone & (layers != 0)] = _NOTHING
    angle = float(rng.integers(3)) * 2 * np.pi / 3
    return turned(_not_2h(config, site, np.arange(3 * n) < n, layers, rng), angle)


def layered_crystal(config: CrystalConfig, radius_pm: float, rng: np.random.Generator) -> Crystal:
    """A flake of a bilayer, of graphene or of hBN, `kind` `NOT_2H`, with atoms missing.

    2H (AA') puts the metals of one layer onto the chalcogens of the other: two equal sublattices.
    3R (AB) puts the second layer a bond aside: M, M+2X, and 2X in the centres of the hexagons.
    Graphene and hBN have one atom a column. All have the lattice of the material: by it the image
    is sampled, whatever its true size.
    """
    bond = np.array([0.0, config.lattice_pm / np.sqrt(3)])
    site, is_metal = lattice_sites(config.lattice_pm, radius_pm)
    both = stacked_row("M+2X")
    if config.pattern == "bilayer 3R":
        hexagon = site[~is_metal] - bond
        layers = np.concatenate([np.where(is_metal, _METAL, both), np.full(len(hexagon), _TWO_X)])
        site = np.concatenate([site, hexagon])
        is_metal = np.concatenate([is_metal, np.zeros(len(hexagon), dtype=bool)])
    elif config.pattern == "hBN":
        layers = np.where(is_metal, _METAL, stacked_row("B"))
    else:
        layers = np.full(len(site), both if config.pattern == "bilayer 2H" else _METAL)
    # a chalcogen is missing of a column of two layers, an atom of a column of one
    gone = rng.random(len(site)) < min(config.fractions[2], 0.1)
    fewer = {both: stacked_row("M+X"), _TWO_X: _ONE_X}
    alone = _NOTHING if config.pattern in ("graphene", "hBN") else _METAL
    for row in np.unique(layers):
        layers[gone & (layers == row)] = fewer.get(int(row), alone if row == _METAL else _NOTHING)
    return _not_2h(config, site, is_metal, layers, rng)


def _not_2h(
    config: CrystalConfig,
    site: FloatArray,
    is_metal: BoolArray,
    layers: IntArray,
    rng: np.random.Generator,
) -> Crystal:
    """Columns of another phase, without those that hold nothing."""
    n, zeros = len(site), np.zeros_like(site)
    disorder = rng.normal(0, config.disorder_pm, site.shape) if config.disorder_pm else zeros
    flake = Crystal(
        site,
        np.full(n, OTHER),
        is_metal,
        zeros,
        zeros,
        np.asarray(disorder),
        np.full(n, NOT_2H),
        layers,
        np.zeros(n, dtype=bool),
        zeros,
    )
    return flake.take(layers != _NOTHING)
