"""Images of what is no monolayer of the asked material, with the second simulator's microscope.

Bilayers, graphene, boron nitride, square lattices, alloys of two metals, annular bright field, and
monolayers beside them, with probes, contamination and scan of `other_simulator`; `processed` does
to them what people do to pictures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from other_crystals import Array, Crystal
from other_simulator import contamination, render, scan, with_tails
from scipy.ndimage import gaussian_filter

# Brightness of a chalcogen pair over the metal, lattice constant [pm], the other metal's over it.
MATERIALS = {
    "WSe2": (0.73, 330.0, 0.49),
    "MoS2": (0.42, 316.0, 2.04),
    "WS2": (0.21, 315.3, 0.49),
    "MoSe2": (1.51, 328.8, 2.04),
}
KINDS = ("monolayer", "AA'", "AB", "graphene", "hBN", "square", "alloy", "ABF")
_PATCH_COUNTS = 1.2e7 * 5e-3  # e/nm2 times the cross section of W [nm2 A2 / A2]


def sites_of(kind: str, material: str, rng: np.random.Generator) -> tuple[Array, float]:
    """Weights of the three sites of a cell, of the brightest, and the lattice constant [pm]."""
    ratio, a_pm, _ = MATERIALS[material]
    r = ratio * float(np.exp(rng.normal(0, 0.05)))
    weights = {
        "AA'": (1 + r, 1 + r, 0.0),
        "AB": (1.0, 1 + r, r),
        "graphene": (1.0, 1.0, 0.0),
        "hBN": (1.0, 0.56, 0.0),
        "ABF": (1.0, r**0.45, 0.0),
    }.get(kind, (1.0, r, 0.0))
    a_pm = {"graphene": 246.0, "hBN": 250.4}.get(kind, a_pm)
    return np.array(weights) / max(weights), a_pm


def columns(
    kind: str, material: str, half_pm: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Places (y, x) [pm] and weights of a crystal that covers a field, turned at random."""
    weights, a = sites_of(kind, material, rng)
    n = int(1.5 * (half_pm + 900) / a) + 3
    index = np.mgrid[-n : n + 1, -n : n + 1].reshape(2, -1).T
    if kind == "square":
        parts = [index * a, (index + 0.5) * a]
        weights = np.array([1.0, rng.uniform(0, 1)])
    else:
        cell = index @ (a * np.array([[0.0, 1.0], [np.sqrt(0.75), 0.5]]))
        step = a / np.sqrt(3) * np.array([0.5, np.sqrt(0.75)])
        parts = [cell + k * step for k in range(3)]
    placed, weighed = [], []
    for k, part in enumerate(parts):
        its = np.full(len(part), weights[k])
        draw = rng.random(len(part))
        if kind in ("monolayer", "alloy", "ABF") and k == 1:
            share = rng.uniform(0.01, 0.05)
            its = np.where(draw < share, its / 2, np.where(draw > 1 - share / 10, 0.0, its))
        if kind == "alloy" and k == 0:
            its = np.where(draw < rng.uniform(0.25, 0.6), its * MATERIALS[material][2], its)
        placed.append(part)
        weighed.append(its)
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    place, weight = np.concatenate(placed) @ turn.T, np.concatenate(weighed)
    near = np.all(np.abs(place) < half_pm + 900, axis=1)
    place = place[near] + rng.normal(0, 2.0, (int(near.sum()), 2))
    return place, weight[near]


def make(
    kind: str, material: str, tables: Any, rng: np.random.Generator, side_px: int = 256
) -> tuple[Array, float]:
    """An image, in units of its brightest column, and its pixel size [pm]."""
    pixel = float(rng.uniform(15, 26))
    place, weight = columns(kind, material, side_px * pixel / 2, rng)
    optics = tables["WSe2" if material.startswith("W") else "MoS2"]
    profile = with_tails(
        optics[rng.integers(len(optics))],
        float(rng.choice([0, 1]) * rng.uniform(0.03, 0.12)),
        120.0,
    )
    nothing = np.zeros(len(place), dtype="U1")
    crystal = Crystal(place, 0 * place, weight, nothing, nothing)
    image = render(crystal, (side_px, side_px), pixel, profile, np.eye(2)) / profile[0]
    if kind == "ABF":
        image = 1.6 * image.max() - image
    dirt = {
        "spectrum_power": 1.8,
        "clean_share": rng.uniform(0, 0.5),
        "grain_pm": 300.0,
        "contamination": rng.uniform(0.05, 0.25),
        "grain": rng.uniform(0.1, 0.3),
    }
    image = image + 0.03 + contamination(image.shape, pixel, dirt, rng)
    jitter = {"jitter_memory": 0.4, "jitter_px": list(rng.uniform(0.3, 1.0, 6)), "cubic": True}
    image = scan(image, jitter, rng)
    light = 0.3 if kind in ("graphene", "hBN") else 1.0 if material.startswith("W") else 0.5
    peak = _PATCH_COUNTS * (pixel / 1000) ** 2 * profile[0] * light
    image = rng.poisson(np.maximum(image, 0) * peak) / peak
    return image + rng.normal(0, 0.1, image.shape), pixel


def processed(image: Array, pixel_pm: float, rng: np.random.Generator) -> Array:
    """Smoothed, freed of background, clipped, gamma-changed, 8 bit: each as chance has it."""
    if rng.random() < 0.6:
        image = gaussian_filter(image, rng.uniform(15, 55) / pixel_pm)
    if rng.random() < 0.4:
        image = image - gaussian_filter(image, rng.uniform(500, 1500) / pixel_pm)
    low, high = (
        (0.0, 1.0) if rng.random() < 0.6 else (rng.uniform(0, 0.02), 1 - rng.uniform(0, 0.005))
    )
    low, high = np.quantile(image, [low, high])
    image = np.clip((image - low) / (high - low), 0, 1)
    if rng.random() < 0.4:
        image = image ** np.exp(rng.uniform(np.log(0.7), np.log(1.4)))
    return np.rint(255 * image) if rng.random() < 0.5 else image
