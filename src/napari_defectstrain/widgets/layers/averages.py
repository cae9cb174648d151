"""Class averages as napari layers, laid side by side in the world, and back to class stacks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer, Points

from ...averages.average import average_stack
from ...averages.choice import changed_by_hand
from ...types import ClassAverage, ClassStack
from ..base.pacing import Steps, at_once
from .showing import added_in_steps
from .sites import KEY, free_name, kind, note

STACK = "defectstrain_stack"
"""Key of an average layer's metadata: the `ClassStack` that it is the mean of."""
CUT = "defectstrain_cut"
"""Key of an average layer's metadata: the `ClassStack` before windows were chosen by hand."""
MEASUREMENT = "defectstrain_measurement"
"""Key of an average layer's metadata: its `ClassMeasurement`."""
WHOLE = "defectstrain_run"
"""Key of the metadata of arrows: everything that was measured with them."""
OUTDATED = "outdated"
"""Key of the note of a layer of strain: the windows of its run changed after it was measured."""
OF_AVERAGES = ("average", "windows", "average labels", "columns", "symmetric", "symmetric labels")
"""Kinds of layers that belong to a run of averages."""
OF_COMPARISON = (
    "comparison map",
    "colour bar",
    "significance",
    "comparison labels",
    "profile line",
    "error ellipses",
    "triangles",
)
"""Kinds of layers that set one class beside theory."""
RESULTS = (
    *OF_AVERAGES,
    "map",
    "displacement",
    "map labels",
    "scale arrows",
    *OF_COMPARISON,
)
"""Kinds of layers that lie in the row of a run: those, and what was measured on them."""
GAP = 0.12
"""Gap between neighbours, as a fraction of a window's side."""
HEADER = 0.16
"""Room for a line of text above an image, as a fraction of a window's side."""
LABEL = 0.3
"""The same for the two lines above an average."""
TEXTS_AT_ONCE = 2
"""Texts of a new layer that are drawn in one step."""
UNITS = ("pm", "pm")
AXES = ("y", "x")


def world_box_pm(layer: Layer) -> np.ndarray:
    """Corners of a layer in the world, `(2, 2)`: least and greatest (y, x) [pm]."""
    box = np.array(layer.extent.world[:, -2:], dtype=float)
    for axis, unit in enumerate(layer.units[-2:]):
        if unit.is_compatible_with("pm"):
            box[:, axis] *= (1 * unit).to("pm").magnitude
    return box


def look_at(viewer: ViewerModel, layers: Sequence[Layer]) -> None:
    """Centre and zoom on some layers, whatever else the viewer holds.

    napari's own ``fit_to_view(layers=...)`` fails on 2D layers beside a stack.
    """
    if layers:
        boxes = [world_box_pm(la) for la in layers]
        low, high = np.min([b[0] for b in boxes], axis=0), np.max([b[1] for b in boxes], axis=0)
        look_at_box(viewer, low, high)


def look_at_box(viewer: ViewerModel, low: Sequence[float], high: Sequence[float]) -> None:
    """Centre and zoom on a part of the world, from least to greatest (y, x) [pm]."""
    units = viewer.layers.extent.units
    # A layer in pixels among others in pm, and napari drops the units: numbers are as they are.
    known = units is not None and units[-1].is_compatible_with("pm")
    pm_per_world = (1 * units[-1]).to("pm").magnitude if known else 1.0
    size = np.maximum(np.subtract(high, low), 1.0) / pm_per_world
    camera = viewer.scene.camera
    middle = 0.5 * np.add(low, high) / pm_per_world
    camera.center = (*camera.center[:-2], *(float(m) for m in middle))
    camera.zoom = 0.94 * float(np.min(np.array(viewer.canvas.size) / size))


def hide_windows(viewer: ViewerModel) -> None:
    """Hide the layers of single windows: they lie over the averages."""
    for layer in viewer.layers:
        if kind(layer) == "windows":
            layer.visible = False


def free_corner(viewer: ViewerModel, sources: Sequence[Layer]) -> tuple[float, float]:
    """Upper left corner (y, x) for new results [pm]: right of the images, below older results."""
    boxes = [world_box_pm(la) for la in sources]
    top, right = min(b[0, 0] for b in boxes), max(b[1, 1] for b in boxes)
    width = right - min(b[0, 1] for b in boxes)
    older = [world_box_pm(la)[1, 0] for la in viewer.layers if kind(la) in RESULTS]
    margin = GAP * 0.5 * width
    if older:
        top = max(older) + margin
    return top, right + margin


def slots(count: int, side_pm: float, corner: tuple[float, float]) -> list[tuple[float, float]]:
    """Centres (y, x) of windows of one side, in a row right of a corner [pm]."""
    y = corner[0] + (LABEL + 0.5) * side_pm
    return [(y, corner[1] + (0.5 + i * (1 + GAP)) * side_pm) for i in range(count)]


def translate_of(
    centre: Sequence[float], shape: Sequence[int], step_pm: float
) -> tuple[float, ...]:
    """World position of the first pixel of an image around a centre [pm]."""
    return tuple(c - 0.5 * (n - 1) * step_pm for c, n in zip(centre, shape[-2:], strict=True))


def add_averages(
    viewer: ViewerModel,
    stacks: Mapping[str, ClassStack],
    averages: Mapping[str, ClassAverage],
    corner: tuple[float, float],
    metadata: dict[str, Any],
    with_windows: bool,
) -> list[Image]:
    """`averages_in_steps`, at once."""
    steps = averages_in_steps(viewer, stacks, averages, corner, metadata, with_windows)
    return at_once(steps)


def averages_in_steps(
    viewer: ViewerModel,
    stacks: Mapping[str, ClassStack],
    averages: Mapping[str, ClassAverage],
    corner: tuple[float, float],
    metadata: dict[str, Any],
    with_windows: bool,
) -> Steps[list[Image]]:
    """Add an Image layer a class, a layer of their names and, hidden, the windows, one a step.

    Parameters
    ----------
    viewer : ViewerModel
    stacks, averages : mapping of class to ClassStack, ClassAverage
    corner : (float, float)
        From `free_corner` [pm].
    metadata : dict
        From `sites.provenance`, with the id of the ``run``.
    with_windows : bool
        Whether the windows become layers, too.

    Returns
    -------
    list of Image
        The averages.

    Layers of windows hold all of them in the order of the stack, also those that are left out.
    """
    first = next(iter(averages.values()))
    side = first.mean.shape[0] * first.step_pm
    centres = slots(len(averages), side, corner)
    low = min(float(np.nanmin(a.mean)) for a in averages.values())
    high = max(float(np.nanmax(a.mean)) for a in averages.values())
    looks, abouts = [], []
    for average, centre in zip(averages.values(), centres, strict=True):
        looks.append(
            {
                "scale": (average.step_pm, average.step_pm),
                "translate": translate_of(centre, average.mean.shape, average.step_pm),
                "contrast_limits": (low, high),
                "colormap": "gray",
            }
        )
        about = _about(average, stacks[average.class_name])
        abouts.append({**metadata[KEY], **about, "centre_pm": list(centre)})
    layers = []
    for (name, average), look, about in zip(averages.items(), looks, abouts, strict=True):
        layers.append(
            Image(
                average.mean,
                name=free_name(viewer, f"{name} · {_kind_of_average(stacks[name])}"),
                units=UNITS,
                axis_labels=AXES,
                visible=False,
                metadata={
                    KEY: {**about, "kind": "average"},
                    STACK: stacks[name],
                    CUT: stacks[name],
                },
                **look,
            )
        )
        yield from added_in_steps(viewer, layers[-1])
    viewer.layers.link_layers(layers, ("contrast_limits", "colormap", "gamma"))
    yield from labels_in_steps(
        viewer,
        "averages · labels",
        [_label(average, stacks[name]) for name, average in averages.items()],
        [(y - 0.5 * (1 + LABEL) * side, x) for y, x in centres],
        {KEY: {**metadata[KEY], "kind": "average labels", "classes": list(averages)}},
        side,
    )
    if with_windows:
        # Above the averages, which would hide them once they are made visible.
        for name, look, about in zip(averages, looks, abouts, strict=True):
            _add_windows(viewer, stacks[name], look, about)
            yield
    return layers


def _kind_of_average(stack: ClassStack) -> str:
    return "average" if stack.effective_n is None else "every defect"


def _about(average: ClassAverage, stack: ClassStack) -> dict[str, Any]:
    worth = {} if stack.effective_n is None else {"effective_n": stack.effective_n}
    return {
        "class": average.class_name,
        "n": average.n,
        **worth,
        "expected_purity": average.purity,
        "expected_contaminants": dict(average.contaminants),
    }


def _label(average: ClassAverage, stack: ClassStack) -> str:
    counted = f"{average.class_name}  N = {average.n}"
    if stack.effective_n is not None:
        return f"{counted}\nall, worth {stack.effective_n:.0f}"  # longer ones run into each other
    return f"{counted}\npurity {average.purity:.3f}"


def update_average(viewer: ViewerModel, layer: Image, stack: ClassStack) -> ClassAverage:
    """Show the average of a changed stack in the layer of the old one.

    The number above it, its provenance and that of the layer of windows follow; measurements of
    the old average stay as they are, and the layers of its strain are noted as outdated.

    Parameters
    ----------
    viewer : ViewerModel
    layer : Image
        The average.
    stack : ClassStack
        The same windows, some of them left out or put back, and those that joined their class.

    Returns
    -------
    ClassAverage
    """
    average = average_stack(stack)
    limits = tuple(layer.contrast_limits)
    layer.data = average.mean
    layer.contrast_limits = limits
    layer.metadata[STACK] = stack
    changed = changed_by_hand(stack, layer.metadata[CUT])
    by_hand = [
        {
            "image_index": int(stack.image_index[i]),
            "site_index": int(stack.site_index[i]),
            "position_px": stack.position_px[i].tolist(),
            "included": bool(stack.included[i]),
        }
        for i in changed
    ]
    note(layer).update(_about(average, stack), windows_by_hand=by_hand)
    run, name = note(layer)["run"], average.class_name
    for other in layers_of_run(viewer, run, ("windows", "average labels")):
        about = note(other)
        if about["kind"] == "windows" and about["class"] == name:
            about.update(_about(average, stack), **_members(stack), windows_by_hand=by_hand)
            if len(other.data) != len(stack.windows):  # some joined their class, or left it again
                other.data = stack.windows
        elif about["kind"] == "average labels" and name in about.get("classes", ()):
            row = about["classes"].index(name)
            if row < len(other.features):
                other.features.loc[row, "text"] = _label(average, stack)
                other.refresh_text()
    for other in layers_of_run(viewer, run, ("displacement",)):
        note(other)[OUTDATED] = not measured_on(viewer, run, other)
    return average


def measured_on(viewer: ViewerModel, run: str, arrows: Layer) -> bool:
    """Whether strain was measured on the averages of a run as they are now."""
    result = arrows.metadata.get(WHOLE)
    return result is not None and same_windows(viewer, run, result.stacks)


def same_windows(viewer: ViewerModel, run: str, stacks: Mapping[str, ClassStack]) -> bool:
    """Whether the averages of a run are of the same windows now as those stacks."""
    now = {note(la)["class"]: la.metadata[STACK] for la in runs(viewer).get(run, [])}
    return now.keys() == stacks.keys() and all(_same_choice(now[n], stacks[n]) for n in now)


def _same_choice(stack: ClassStack, other: ClassStack) -> bool:
    return (
        len(stack.windows) == len(other.windows)
        and np.may_share_memory(stack.windows, other.windows)
        and np.array_equal(stack.included, other.included)
    )


def _members(stack: ClassStack) -> dict[str, Any]:
    return {
        "included": stack.included.tolist(),
        "reason": stack.reason.tolist(),
        "image_index": stack.image_index.tolist(),
        "position_px": stack.position_px.tolist(),
    }


def _add_windows(
    viewer: ViewerModel, stack: ClassStack, look: Mapping[str, Any], about: Mapping[str, Any]
) -> Image:
    step, shift = look["scale"], look["translate"]
    more = {
        "kind": "windows",
        **_members(stack),
    }
    return viewer.add_image(
        stack.windows,
        name=free_name(viewer, f"{stack.class_name} · windows"),
        units=("pixel", *UNITS),
        axis_labels=("window", *AXES),
        scale=(1, *step),
        translate=(0, *shift),
        colormap=look["colormap"],
        contrast_limits=contrast(stack),  # all windows alike, and nobody looks for it in them
        visible=False,
        metadata={KEY: {**about, **more}},
    )


def contrast(stack: ClassStack) -> tuple[float, float]:
    """Limits of grey for all windows of a stack."""
    step = max(1, len(stack.windows) // 50)
    low, high = np.percentile(stack.windows[::step, ::3, ::3], (0.5, 99.5))
    return float(low), float(max(high, low + 1e-6))


def add_labels(
    viewer: ViewerModel,
    name: str,
    texts: Sequence[str],
    centres: Sequence[tuple[float, float]],
    metadata: dict[str, Any],
    side_pm: float,
) -> Points:
    """`labels_in_steps`, at once."""
    return at_once(labels_in_steps(viewer, name, texts, centres, metadata, side_pm))


def labels_in_steps(
    viewer: ViewerModel,
    name: str,
    texts: Sequence[str],
    centres: Sequence[tuple[float, float]],
    metadata: dict[str, Any],
    side_pm: float,
) -> Steps[Points]:
    """Add text at places in the world [pm], of a size that keeps to the images.

    A few texts a step: each letter is drawn when it is first used, which takes its time.
    """
    first = [text if i < TEXTS_AT_ONCE else "" for i, text in enumerate(texts)]
    layer = Points(
        np.array(centres, dtype=float),
        name=free_name(viewer, name),
        features={"text": first},
        text={
            "string": "{text}",
            "size": 0.06 * side_pm,
            "scaling": True,
            "color": "white",
            "anchor": "center",
        },
        face_color="transparent",
        border_color="transparent",
        size=0.01 * side_pm,
        units=UNITS,
        axis_labels=AXES,
        visible=False,
        metadata=metadata,
    )
    yield
    yield from added_in_steps(viewer, layer)
    for end in range(2 * TEXTS_AT_ONCE, len(texts) + TEXTS_AT_ONCE, TEXTS_AT_ONCE):
        if layer in viewer.layers:  # it may be gone already
            write_labels(layer, [text if i < end else "" for i, text in enumerate(texts)])
            yield
    return layer


def write_labels(labels: Points, texts: Sequence[str]) -> None:
    """Other texts at the same places."""
    labels.features["text"] = list(texts)
    labels.refresh_text()


def of_every_defect(layers: Sequence[Layer]) -> bool:
    """Whether these are averages of every defect: nothing about them is chosen window by window."""
    return bool(layers) and bool(note(layers[0]).get("crowded"))


def isolated_runs(viewer: ViewerModel) -> dict[str, list[Image]]:
    """`runs` without averages of every defect."""
    return {run: las for run, las in runs(viewer).items() if not of_every_defect(las)}


def runs(viewer: ViewerModel) -> dict[str, list[Image]]:
    """The averages in the viewer by their run, in order."""
    found: dict[str, list[Image]] = {}
    for layer in viewer.layers:
        if kind(layer) == "average" and STACK in layer.metadata:
            found.setdefault(note(layer)["run"], []).append(layer)
    return found


def run_title(layers: Sequence[Image]) -> str:
    """One line that says which averages these are."""
    parts = [f"{note(la)['class']} {note(la)['n']}" for la in layers]
    images = note(layers[0]).get("images", [])
    of = images[0] if len(images) == 1 else f"{len(images)} images"
    every = ", every defect" if of_every_defect(layers) else ""
    return f"{of}{every}: {', '.join(parts)}"


def layers_of_run(viewer: ViewerModel, run: str, kinds: Sequence[str]) -> list[Layer]:
    """All layers of some kinds that belong to a run."""
    return [la for la in viewer.layers if note(la).get("run") == run and kind(la) in kinds]
