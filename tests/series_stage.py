"""Sites that change at known rates, and what noisy sums of them say: for the room of series."""

from __future__ import annotations

import numpy as np

from napari_defectstrain.series.hidden import HiddenModel, Observations

NAMES = ("2Se", "SeTe", "2Te", "SV", "DV")
"""Of WSe2, in the order of the roles."""

WEIGHT = np.array([0.70, 1.06, 1.38, 0.355, 0.0])
START = np.array([0.9, 0.05, 0.03, 0.015, 0.005])


def model_of(rates: dict[tuple[int, int], float]) -> HiddenModel:
    rate = np.zeros((5, 5))
    for pair, value in rates.items():
        rate[pair] = value
    return HiddenModel(rate, START, 0.0, np.zeros(5))


def seen_sites(
    seed: int,
    rates: dict[tuple[int, int], float],
    sums: int = 20,
    sites: int = 1500,
    sigma: float = 0.08,
    false: float = 0.003,
    missed: float = 0.002,
    share: int = 1,
) -> tuple[np.ndarray, Observations]:
    """True classes `(G, N)` and calibrated probabilities of weights with Gaussian noise.

    With `share` of n the noise of n frames is averaged over n sums that slide by one.
    """
    rng = np.random.default_rng(seed)
    step = model_of(rates).transition(1.0)
    now = rng.choice(5, sites, p=START)
    history = [now]
    for _ in range(sums - 1):
        now = (step[now].cumsum(axis=1) < rng.random(sites)[:, None]).sum(axis=1).clip(0, 4)
        history.append(now)
    true = np.stack(history)
    noise = rng.normal(0, sigma * np.sqrt(share), (sums + share - 1, sites))
    mean = np.stack([noise[k : k + share].mean(axis=0) for k in range(sums)])
    weight = WEIGHT[true] + mean
    strange = rng.random(true.shape) < false
    weight[strange] = rng.choice(weight.ravel(), strange.sum())
    common = np.bincount(true.ravel(), minlength=5) / true.size
    chance = np.exp(-((weight[..., None] - WEIGHT) ** 2) / 2 / sigma**2) * common
    chance /= chance.sum(axis=2, keepdims=True)
    there = rng.random(true.shape) >= missed
    chance[~there] = np.nan
    return true, Observations(chance, there, np.arange(sums, dtype=float), 1 / share)
