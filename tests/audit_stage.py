"""Detections that err as often as they say, or oftener, with what is true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from alloy_stage import PIXEL_PM, alloy_sites

from napari_defectstrain.evaluation.audit import AuditedImage
from napari_defectstrain.types import StrArray

SHARE_DOUBTFUL = 0.06


def judged(
    seed: int,
    name: str = "image",
    overconfidence: float = 1.0,
    by_class: Mapping[int, float] | None = None,
) -> tuple[AuditedImage, StrArray]:
    """An image some of whose columns are in doubt, and the true class of each column.

    Parameters
    ----------
    seed : int
    name : str
    overconfidence : float
        How many times oftener than their probabilities say columns are of another class.
    by_class : mapping of int to float, optional
        The same, once more, of those that are of one class instead.
    """
    rng = np.random.default_rng(seed)
    sites = alloy_sites(seed, radius_pm=7000.0)
    n = len(sites)
    chalcogen = np.flatnonzero(sites.is_chalcogen)
    error = np.full(n, 1e-3)
    some = rng.choice(chalcogen, int(SHARE_DOUBTFUL * len(chalcogen)), replace=False)
    error[some] = rng.uniform(0.02, 0.3, len(some))
    error[sites.is_metal] = 0.0
    other = rng.integers(1, 6, n)  # what a column else may be
    other = np.where(other == sites.class_index, other % 5 + 1, other)
    probabilities = (1 - error)[:, None] * np.eye(7)[sites.class_index]
    probabilities += error[:, None] * np.eye(7)[other]
    times = np.array([overconfidence * (by_class or {}).get(c, 1.0) for c in range(7)])[other]
    wrong = rng.random(n) < np.minimum(times * error, 0.9)
    true = np.where(wrong, other, sites.class_index)
    side = int(2 * 7000.0 / PIXEL_PM) + 1
    image = AuditedImage(
        name, replace(sites, probabilities=probabilities), None, (side, side), PIXEL_PM
    )
    return image, np.array(sites.class_names)[true]
