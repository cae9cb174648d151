"""Probabilities that mean what they say: a correction fitted on windows never trained on.

Vector scaling with one temperature (Guo et al., doi 10.48550/arXiv.1706.04599): a trained network
ranks columns well, but its probabilities, averaged over orientations and over the pixels of a
column, need not agree with frequencies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize

from ..materials import ROLES
from ..types import FloatArray, IntArray, Progress, no_progress
from .condition import material_condition
from .config import DetectConfig, TrainConfig
from .locate import assign_classes, locate_columns, settle_sublattices
from .network import ResUNet
from .windows import Window, draw_window

_EPS = 1e-7
_STREAM = 2 * 10**6
"""Seed of the windows for calibration, apart from those of training and validation."""


@dataclass(frozen=True)
class Calibration:
    """The correction ``p_k -> exp(slope log p_k + offset_k)``, normalised.

    Parameters
    ----------
    slope : float
        Inverse temperature.
    offset : tuple of float
        One a role.
    confusion : tuple of tuple of int
        Columns of the windows it was fitted on by true (rows) and given role, after it.
    overconfidence : tuple of float
        By role, how many times oftener than the probabilities say a column given that role is of
        another one, on the same windows; at least 1.
    """

    slope: float
    offset: tuple[float, ...]
    confusion: tuple[tuple[int, ...], ...]
    overconfidence: tuple[float, ...]

    def apply(self, probabilities: FloatArray) -> FloatArray:
        """Corrected probabilities `(N, 7)`; what was impossible stays so."""
        return _scaled(probabilities, self.slope, np.asarray(self.offset))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """From JSON values."""
        return cls(
            float(values["slope"]),
            tuple(float(v) for v in values["offset"]),
            tuple(tuple(int(n) for n in row) for row in values["confusion"]),
            tuple(float(v) for v in values["overconfidence"]),
        )

    @classmethod
    def none(cls) -> Calibration:
        """The correction that changes nothing."""
        n = len(ROLES)
        return cls(1.0, (0.0,) * n, ((0,) * n,) * n, (1.0,) * n)


def _scaled(probabilities: FloatArray, slope: float, offset: FloatArray) -> FloatArray:
    p = np.asarray(probabilities, dtype=float)
    with np.errstate(divide="ignore"):
        log = slope * np.log(p) + offset
    scaled = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True))


def fit_slope_and_offset(
    probabilities: FloatArray, true_class: IntArray
) -> tuple[float, tuple[float, ...]]:
    """Most likely correction of probabilities `(N, 7)` whose true classes `(N,)` are known.

    A weak prior keeps the offsets of classes that hardly occur at zero.
    """
    p = np.clip(np.asarray(probabilities, dtype=float), _EPS, 1)
    rows = np.arange(len(p))

    def cost(parameters: FloatArray) -> tuple[float, FloatArray]:
        slope, offset = parameters[0], parameters[1:]
        q = _scaled(p, slope, offset)
        likelihood = -np.log(np.maximum(q[rows, true_class], 1e-300)).sum()
        residual = q.copy()
        residual[rows, true_class] -= 1
        gradient = np.concatenate([[(residual * np.log(p)).sum()], residual.sum(axis=0)])
        prior = 5.0 * ((offset**2).sum() + (slope - 1) ** 2)
        gradient += 10.0 * np.concatenate([[slope - 1], offset])
        return float(likelihood + prior), gradient

    start = np.concatenate([[1.0], np.zeros(p.shape[1])])
    bounds = [(0.1, 10.0)] + [(-5.0, 5.0)] * p.shape[1]
    found = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(found[0]), tuple(float(v) for v in found[1:])


def fit_calibration(
    network: ResUNet, config: TrainConfig, progress: Progress = no_progress
) -> Calibration:
    """Calibrate a network on freshly simulated windows, seen as detection sees an image.

    Parameters
    ----------
    network : ResUNet
        Trained; left in the mode it is in.
    config : TrainConfig
        Its conditions, window size, `calibration_windows` and seed.
    progress : Progress
    """
    training = network.training
    network.eval()
    rng = np.random.default_rng([config.seed, _STREAM])
    found, truth = [], []
    for i in range(config.calibration_windows):
        progress(0.999, f"calibrating, window {i + 1} of {config.calibration_windows}")
        window = draw_window(config.conditions, config.window_px, rng)
        probabilities, true_class = labelled_columns(network, window)
        found.append(probabilities)
        truth.append(true_class)
    network.train(training)
    probabilities, true_class = np.concatenate(found), np.concatenate(truth)
    if len(true_class) == 0:
        return Calibration.none()
    slope, offset = fit_slope_and_offset(probabilities, true_class)
    fixed = _scaled(probabilities, slope, np.asarray(offset))
    given = assign_classes(fixed, DetectConfig().thresholds)
    n = len(ROLES)
    confusion = np.zeros((n, n), dtype=int)
    np.add.at(confusion, (true_class, given), 1)
    wrong = np.bincount(given[given != true_class], minlength=n)
    doubt = np.bincount(given, 1 - fixed[np.arange(len(given)), given], minlength=n)
    # one more of each: a handful of columns says nothing
    factor = np.maximum((wrong + 1) / (doubt + 1), 1.0)
    return Calibration(
        slope,
        offset,
        tuple(tuple(int(c) for c in row) for row in confusion),
        tuple(float(f) for f in factor),
    )


def labelled_columns(network: ResUNet, window: Window) -> tuple[FloatArray, IntArray]:
    """Probabilities `(N, 7)` of the columns found in a window that are there, and their roles."""
    device = next(network.parameters()).device
    image = torch.from_numpy(window.image).to(device)
    turned = torch.stack([torch.rot90(image, k) for k in range(4)])[:, None]
    condition = torch.from_numpy(material_condition(window.material)).float().to(device)
    with torch.inference_mode():
        maps = torch.softmax(network(turned, condition.expand(4, -1)).float(), dim=1)
    back = [torch.rot90(m, -k, dims=(1, 2)) for k, m in enumerate(maps)]
    mean = torch.stack(back).mean(dim=0).cpu().numpy()
    columns = locate_columns(mean, DetectConfig().min_column_probability)
    if len(columns) < 4:
        return np.empty((0, len(ROLES))), np.empty(0, dtype=int)
    probabilities = settle_sublattices(columns.position_px, columns.probabilities)
    at = np.clip(np.rint(columns.position_px).astype(int), 0, np.array(window.labels.shape) - 1)
    label = window.labels[at[:, 0], at[:, 1]]
    there = label > 0
    return probabilities[there], label[there] - 1
