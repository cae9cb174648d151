"""Probabilities that mean what they say: a correction fitted on images never trained on.

Vector scaling (Guo et al., doi 10.48550/arXiv.1706.04599) that depends on the image: a network
trained on all conditions at once is too modest where an image is clear and too bold where it is
poor. How clear an image is, its own doubts tell: the mean probability that the columns leave to
other classes than their best. Calibration images have populations as alloys have them; training
oversamples rare classes, which would call too many columns rare.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import minimize

from ...materials import ROLES
from ...types import FloatArray, IntArray, Progress, no_progress
from ..finding.locate import assign_classes, find_columns, merge_columns, settle_sublattices
from ..network.calibration import EPSILON, Calibration, corrected, relative_doubt
from ..network.config import DetectConfig, TrainConfig
from ..network.device import fast_bfloat16
from ..network.network import ResUNet
from .windows import Window, draw_window

_PRIOR = 5.0
_STREAM = 2 * 10**6
"""Seed of the images for calibration, apart from those of training and validation."""


def fit_correction(
    probabilities: Sequence[FloatArray], true_class: Sequence[IntArray]
) -> FloatArray:
    """Most likely parameters of the correction: two of the slope, the offsets, their change.

    A weak prior keeps those of classes that hardly occur at zero.

    Parameters
    ----------
    probabilities : sequence of arrays, `(N_i, 7)`
        One array an image.
    true_class : sequence of arrays, `(N_i,)`
    """
    x = np.concatenate([np.full(len(p), relative_doubt(p)) for p in probabilities])
    p = np.clip(np.concatenate(list(probabilities)), EPSILON, 1)
    truth = np.concatenate(list(true_class))
    log_p, rows, n = np.log(p), np.arange(len(p)), p.shape[1]

    def cost(parameters: FloatArray) -> tuple[float, FloatArray]:
        residual = corrected(p, x, parameters)
        likelihood = -np.log(np.maximum(residual[rows, truth], 1e-300)).sum()
        residual[rows, truth] -= 1
        by_slope = (residual * log_p).sum(axis=1) * np.exp(parameters[0] + parameters[1] * x)
        gradient = np.concatenate(
            [
                [by_slope.sum(), (by_slope * x).sum()],
                residual.sum(axis=0),
                (residual * x[:, None]).sum(axis=0),
            ]
        )
        prior = _PRIOR * (parameters**2).sum()
        return float(likelihood + prior), gradient + 2 * _PRIOR * parameters

    bounds = [(-2.0, 2.0)] * 2 + [(-5.0, 5.0)] * (2 * n)
    start = np.zeros(2 + 2 * n)
    return np.asarray(minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds).x)


def fit_calibration(
    network: ResUNet, config: TrainConfig, progress: Progress = no_progress
) -> Calibration:
    """Calibrate a network on freshly simulated images, seen as detection sees them.

    Parameters
    ----------
    network : ResUNet
        Trained; left in the mode it is in.
    config : TrainConfig
        Its conditions (`Conditions.as_measured`), window size, `calibration_windows` and seed.
    progress : Progress
    """
    training = network.training
    network.eval()
    rng = np.random.default_rng([config.seed, _STREAM])
    conditions = config.conditions.as_measured()
    found, truth = [], []
    for i in range(config.calibration_windows):
        progress(0.999, f"calibrating, image {i + 1} of {config.calibration_windows}")
        window = draw_window(conditions, 2 * config.window_px, rng)
        probabilities, true_class = labelled_columns(network, window)
        if len(true_class):
            found.append(probabilities)
            truth.append(true_class)
    network.train(training)
    if not found:
        return Calibration.none()
    n = len(ROLES)
    parameters = fit_correction(found, truth)
    fixed = np.concatenate(
        [corrected(p, np.full(len(p), relative_doubt(p)), parameters) for p in found]
    )
    true_class = np.concatenate(truth)
    given = assign_classes(fixed, DetectConfig().thresholds)
    confusion = np.zeros((n, n), dtype=int)
    np.add.at(confusion, (true_class, given), 1)
    wrong = np.bincount(given[given != true_class], minlength=n)
    doubt = np.bincount(given, 1 - fixed[np.arange(len(given)), given], minlength=n)
    # one more of each: a handful of columns says nothing
    factor = np.maximum((wrong + 1) / (doubt + 1), 1.0)
    values = tuple(float(v) for v in parameters)
    return Calibration(
        values[:2],
        values[2 : 2 + n],
        values[2 + n :],
        tuple(tuple(int(c) for c in row) for row in confusion),
        tuple(float(f) for f in factor),
    )


def labelled_columns(network: ResUNet, window: Window) -> tuple[FloatArray, IntArray]:
    """Probabilities `(N, 7)` of the columns found in a window that are there, and their roles."""
    device = next(network.parameters()).device
    image = torch.from_numpy(window.image).to(device)[None, None]
    condition = torch.from_numpy(window.condition).float().to(device)[None]
    fast = fast_bfloat16(device)
    with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast):
        logits = network(image, condition)
    maps = torch.softmax(logits.float(), dim=1)[0].cpu().numpy()
    columns = merge_columns([find_columns(maps, DetectConfig().min_column_probability)])
    if len(columns) < 4:
        return np.empty((0, len(ROLES))), np.empty(0, dtype=int)
    probabilities = settle_sublattices(columns.position_px, columns.probabilities)
    at = np.clip(np.rint(columns.position_px).astype(int), 0, np.array(window.labels.shape) - 1)
    label = window.labels[at[:, 0], at[:, 1]]
    there = label > 0
    return probabilities[there], label[there] - 1
