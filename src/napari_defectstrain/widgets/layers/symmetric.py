"""Averages over C3v and what they hid, in two rows above the averages of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image

from ...averages.symmetry import SymmetricAverage
from ..base.pacing import Steps
from .averages import AXES, GAP, HEADER, LABEL, UNITS, labels_in_steps, layers_of_run, translate_of
from .fields import diverging
from .showing import then_shown
from .sites import KEY, free_name, inherited, note

ROWS = 2
LIMIT_PERCENTILE = 99.5


def room_pm(side_pm: float) -> float:
    """Height of the rows above the averages [pm]."""
    return ROWS * (1 + HEADER + GAP) * side_pm


def symmetric_in_steps(
    viewer: ViewerModel, averages: Sequence[Image], symmetric: Mapping[str, SymmetricAverage]
) -> Steps[None]:
    """Add the layers "<class> · C3v" and "<class> · hidden by C3v", or renew those of the run.

    A layer a step.

    Parameters
    ----------
    viewer : ViewerModel
    averages : sequence of Image
        The averages of one run.
    symmetric : mapping of class to SymmetricAverage
    """
    run = note(averages[0])["run"]
    known = {
        (note(la)["class"], note(la)["hidden"]): la
        for la in layers_of_run(viewer, run, ("symmetric",))
    }
    side = averages[0].data.shape[-1] * float(averages[0].scale[-1])
    reach = max(
        float(np.percentile(np.abs(s.hidden), LIMIT_PERCENTILE)) for s in symmetric.values()
    )
    texts, places = [], []
    for average in averages:
        name = note(average)["class"]
        if name not in symmetric:
            continue
        found = symmetric[name]
        for up, hidden in ((1, False), (2, True)):
            y, x = note(average)["centre_pm"]
            y -= (up * (1 + HEADER + GAP) + LABEL - HEADER) * side
            data = found.hidden if hidden else found.average.mean
            if (name, hidden) in known:
                known[name, hidden].data = data
            else:
                known[name, hidden] = _add(viewer, average, data, (y, x), hidden, reach)
            yield from then_shown(known[name, hidden])
            texts.append(f"hidden ±{reach:.2g}" if hidden else f"{name}  C3v")
            places.append((y - 0.5 * (1 + HEADER) * side, x))
    labels = layers_of_run(viewer, run, ("symmetric labels",))
    if not labels:
        about = {k: note(averages[0])[k] for k in ("software", "parameters", "run")}
        metadata = {KEY: {**about, "kind": "symmetric labels"}}
        yield from labels_in_steps(viewer, "C3v · labels", texts, places, metadata, side)


def _add(
    viewer: ViewerModel,
    average: Image,
    data: np.ndarray,
    centre: Sequence[float],
    hidden: bool,
    reach: float,
) -> Image:
    about: dict[str, Any] = {
        **inherited(average),
        "kind": "symmetric",
        "hidden": hidden,
        "centre_pm": list(centre),
    }
    name = f"{about['class']} · hidden by C3v" if hidden else f"{about['class']} · C3v"
    step = float(average.scale[-1])
    return viewer.add_image(
        data,
        name=free_name(viewer, name),
        scale=(step, step),
        translate=translate_of(centre, data.shape, step),
        units=UNITS,
        axis_labels=AXES,
        colormap=diverging() if hidden else "gray",
        contrast_limits=(-reach, reach) if hidden else tuple(average.contrast_limits),
        visible=False,
        metadata={KEY: about},
    )
