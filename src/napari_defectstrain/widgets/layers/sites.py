"""Images and columns: our types to napari layers and back.

Every layer of ours carries ``metadata["napari-defectstrain"]``: what kind of layer it is, which
layers it comes from, and its provenance (software version, weights, all parameters), as JSON
values. Image layers that our reader opened have under the same key what their file says.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Image, Layer, Points

from ... import __version__
from ...io import WEIGHT_COLUMNS
from ...materials import get_material
from ...styles import class_styles, over_image
from ...types import CalibratedImage, DefectStrainError, Sites
from ..base.pacing import Steps, at_once
from .corrections import X2, correct_sites, with_hidden
from .showing import drawn_once, then_shown

KEY = "napari-defectstrain"
ID = "id"
"""Key of the note of a layer that was opened: what others know it by."""
AWAITING = "awaiting"
"""Key of the note of a defects layer that was opened without the other columns of its image."""
HIDDEN = "hidden"
"""Key of the note of a layer of all columns: the defects, by row, that were given no point because
they lay where the crystal isn't 2H. That they have none doesn't mean that a hand deleted them."""
CALIBRATION = "calibration"
"""Key of an image's metadata: ``file``, ``lattice`` or ``hand``, whence its pixel size."""
BY_LATTICE_PM = "calibration_lattice_pm"
"""Key of an image's metadata: the lattice constant by which its pixel size was told [pm]."""
PLACEMENT = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
MARKER_PM = 190.0
"""Size of the markers: about the distance of neighbouring columns [pm]."""
BORDER_WIDTH = 0.12
"""Of the markers, relative to their size."""
MARKER_PX = 10.0
"""Size of the markers on images without calibration [px]."""


def note(layer: Layer) -> dict[str, Any]:
    """What the plugin wrote about a layer; empty for layers of others."""
    found = layer.metadata.get(KEY, {})
    return found if isinstance(found, dict) else {}


def inherited(layer: Layer) -> dict[str, Any]:
    """What another layer may take over from a layer's note: all but whose the layer is.

    A layer that was opened from a study carries its id, which must stay with it alone: another
    one with the same would be taken for its copy (`copies`).
    """
    return {key: value for key, value in note(layer).items() if key != ID}


def kind(layer: Layer) -> str:
    """Kind of a layer of ours (``defects``, ``sites``, ``average``, ...), else empty."""
    return str(note(layer).get("kind", ""))


def provenance(
    what: str, parameters: Mapping[str, Any], weights_sha256: str | None = None, **more: Any
) -> dict[str, Any]:
    """Metadata of a layer of ours: its kind, the software version, all parameters."""
    return {
        KEY: {
            "kind": what,
            "software": f"napari-defectstrain {__version__}",
            "weights_sha256": weights_sha256,
            "parameters": dict(parameters),
            **more,
        }
    }


def layer_id(layer: Layer) -> str:
    """What other layers know a layer by: the id that it was opened with, else napari's own.

    napari gives a layer that is read from a file another id than the one it was saved with.
    """
    return str(note(layer).get(ID) or layer.unique_id)


def layer_by_id(viewer: ViewerModel, wanted: str | None) -> Layer | None:
    """The layer with that id (names can be changed), or None where it is gone."""
    return next((la for la in viewer.layers if layer_id(la) == wanted), None)


def placement(layer: Layer) -> dict[str, Any]:
    """Where a layer lies in the world, for a companion layer of the same dimensions."""
    return {name: getattr(layer, name) for name in PLACEMENT}


def plane_placement(layer: Layer, corner_px: Sequence[float]) -> dict[str, Any]:
    """Where an image lies that is a part of the planes of a stack.

    Parameters
    ----------
    layer : Layer
        The stack.
    corner_px : (float, float)
        (y, x) of the part's first pixel in the planes [px].
    """
    return {
        "scale": layer.scale[-2:],
        "rotate": layer.rotate[-2:, -2:],
        "translate": layer.data_to_world((*(0,) * (layer.ndim - 2), *corner_px))[-2:],
        "units": layer.units[-2:],
        "axis_labels": layer.axis_labels[-2:],
    }


def free_name(viewer: ViewerModel, name: str) -> str:
    """The name, with a number if there is such a layer already."""
    taken = {layer.name for layer in viewer.layers}
    if name not in taken:
        return name
    return next(new for i in range(1, len(taken) + 2) if (new := f"{name} [{i}]") not in taken)


def pixel_size_pm(layer: Layer) -> float | None:
    """Side of a pixel by the layer's scale and units [pm]; None where it is in pixels.

    Raises
    ------
    DefectStrainError
        If pixels are not square.
    """
    unit = layer.units[-1]
    if not unit.is_compatible_with("pm"):
        return None
    sides = [
        float(abs(s) * (1 * u).to("pm").magnitude)
        for s, u in zip(layer.scale[-2:], layer.units[-2:], strict=True)
        if u.is_compatible_with("pm")
    ]
    if len(sides) < 2 or abs(sides[0] / sides[1] - 1) > 1e-3:
        raise DefectStrainError(
            f"{layer.name}: got pixels of {' x '.join(f'{s:.4g}' for s in sides)} pm, expected "
            "square ones; set the layer's scale and units, or resample the image"
        )
    return sides[1]


def calibrate(
    viewer: ViewerModel,
    image: Image,
    size_pm: float,
    origin: str,
    lattice_pm: float | None = None,
) -> None:
    """Set the pixel size of an image layer and of the layers that lie on it.

    Images that were laid out side by side, or lay in pixels, keep their places counted in pixels;
    others theirs in the world.

    Parameters
    ----------
    viewer : ViewerModel
    image : Image
    size_pm : float
        Side of a pixel [pm].
    origin : str
        ``lattice``, ``file`` or ``hand``.
    lattice_pm : float, optional
        Lattice constant by which it was told [pm].
    """
    image.metadata[CALIBRATION] = origin
    image.metadata.pop(BY_LATTICE_PM, None)
    if lattice_pm is not None:
        image.metadata[BY_LATTICE_PM] = lattice_pm
    unit, side = image.units[-1], abs(float(image.scale[-1]))
    in_pixels = not unit.is_compatible_with("pm")
    to_pm = 1.0 if in_pixels else float((1 * unit).to("pm").magnitude)
    ratio = size_pm / side if in_pixels or note(image).get("placed") else to_pm
    companions = [la for la in viewer.layers if note(la).get("image") == layer_id(image)]
    for layer in (image, *companions):
        keep = layer.ndim - 2
        layer.scale = (*layer.scale[:keep], size_pm, size_pm)
        layer.units = (*layer.units[:keep], "pm", "pm")
        layer.translate = (*layer.translate[:keep], *(ratio * layer.translate[keep:]))
        moved = np.array(layer.affine.affine_matrix)
        if moved[keep:-1, -1].any():
            moved[keep:-1, -1] *= ratio
            layer.affine = moved
        if isinstance(layer, Points):
            layer.size = marker_size(layer)


def image_planes(layer: Layer | None) -> list[CalibratedImage]:
    """The images that an Image layer holds: one, or one a plane of a stack.

    Raises
    ------
    DefectStrainError
        If there is no layer, or it holds anything but grey, real 2D images or a stack of them.
    """
    if layer is None:
        raise DefectStrainError("got no image layer: open an image, or choose one in the list")
    if not isinstance(layer, Image):
        raise DefectStrainError(f"{layer.name}: got a {type(layer).__name__} layer, not an Image")
    if layer.rgb:
        raise DefectStrainError(
            f"{layer.name}: got a colour image, expected grey values; convert it (mean of the "
            "channels), or better open the microscope's own file"
        )
    data = layer.data[0] if layer.multiscale else layer.data
    if data.ndim not in (2, 3):
        raise DefectStrainError(
            f"{layer.name}: got an array of shape {tuple(data.shape)}, expected one image or a "
            "stack of images"
        )
    array = np.asarray(data)
    if np.iscomplexobj(array):
        raise DefectStrainError(
            f"{layer.name}: got complex numbers, expected intensities; take the modulus first"
        )
    size = pixel_size_pm(layer)
    metadata = {CALIBRATION: layer.metadata[CALIBRATION]} if CALIBRATION in layer.metadata else {}
    if array.ndim == 2:
        return [CalibratedImage(array, size, layer.name, metadata)]
    return [
        CalibratedImage(plane, size, f"{layer.name} {i + 1}", metadata)
        for i, plane in enumerate(array)
    ]


def site_table(sites: Sequence[Sites]) -> pd.DataFrame:
    """Features of the columns of all planes: class, probability, p_<class>, source, weights.

    The weights and their errors where all planes were weighed.
    """
    names = sites[0].class_names
    joined = np.concatenate([s.probabilities for s in sites])
    table = pd.DataFrame(
        {
            "class": pd.Categorical(np.concatenate([s.class_name for s in sites]), names),
            "probability": np.concatenate([s.probability for s in sites]),
            "source": np.concatenate([s.source for s in sites]).astype(object),
        }
    )
    for i, name in enumerate(names):
        table[f"p_{name}"] = joined[:, i]
    for name in WEIGHT_COLUMNS:
        weights = [getattr(s, name) for s in sites]
        if all(w is not None for w in weights):
            table[name] = np.concatenate(weights)
    return table


def site_positions(sites: Sequence[Sites], ndim: int) -> np.ndarray:
    """Positions of the columns of all planes in data coordinates, `(N, ndim)`."""
    position = np.concatenate([s.position_px for s in sites]).astype(float)
    if ndim == 2:
        return position
    plane = np.repeat(np.arange(len(sites)), [len(s) for s in sites])
    return np.column_stack([plane, position])


def symbols(classes: pd.Series, class_names: Sequence[str]) -> list[str]:
    """Symbol of each point by its class."""
    look = {n: style.symbol for n, style in class_styles(class_names).items()}
    # Our symbols are hollow: a disc's border is one circle, a ring's border would be two.
    return [{"ring": "disc"}.get(look[c], look[c]) for c in classes]


def colours(class_names: Sequence[str]) -> dict[str, str]:
    """Colour of each class by its name, over an image."""
    return {n: over_image(style.colour) for n, style in class_styles(class_names).items()}


def add_detection(
    viewer: ViewerModel,
    source: Image,
    sites: Sequence[Sites],
    metadata: dict[str, Any],
    foreign: np.ndarray | None = None,
) -> tuple[Points, Points]:
    """`detection_in_steps`, at once."""
    return at_once(detection_in_steps(viewer, source, sites, metadata, foreign))


def detection_in_steps(
    viewer: ViewerModel,
    source: Image,
    sites: Sequence[Sites],
    metadata: dict[str, Any],
    foreign: np.ndarray | None = None,
) -> Steps[tuple[Points, Points]]:
    """Add "<image> · sites" (all columns, hidden, fixed) and "<image> · defects", one a step.

    Parameters
    ----------
    viewer : ViewerModel
    source : Image
        The layer that the columns were found in: scale, units, ... are copied from it.
    sites : sequence of Sites
        One for each plane of the image.
    metadata : dict
        From `provenance`.
    foreign : array of bool, `(N,)`, optional
        Columns of all planes that are no defects, whatever they were taken for.

    Returns
    -------
    (sites, defects) : Points
    """
    names = sites[0].class_names
    all_columns = _columns(viewer, source, sites, metadata, foreign)
    yield
    viewer.add_layer(all_columns)
    all_columns.editable = False
    yield
    whole, table = site_positions(sites, source.ndim), site_table(sites)
    shared = {**metadata[KEY], "image": layer_id(source), "class_names": list(names)}
    position, features = defect_points(whole, table, names, foreign)
    defects = viewer.add_points(
        position,
        name=free_name(viewer, f"{source.name} · defects"),
        features=features,
        feature_defaults={"class": names[4], "probability": 1.0, "source": "manual"},
        symbol=symbols(features["class"], names) if len(features) else "disc",
        visible=False,
        metadata={KEY: {**shared, "kind": "defects", "sites": layer_id(all_columns)}},
        **marker_look(source, names),
    )
    yield from then_shown(defects)
    return all_columns, defects


def columns_added(
    viewer: ViewerModel,
    source: Image,
    sites: Sequence[Sites],
    metadata: dict[str, Any],
    foreign: np.ndarray | None = None,
) -> Points:
    """Add "<image> · sites": all columns, hidden, fixed."""
    layer = _columns(viewer, source, sites, metadata, foreign)
    viewer.add_layer(layer)
    layer.editable = False
    return layer


def _columns(
    viewer: ViewerModel,
    source: Image,
    sites: Sequence[Sites],
    metadata: dict[str, Any],
    foreign: np.ndarray | None,
) -> Points:
    names = sites[0].class_names
    table = site_table(sites)
    shared = {**metadata[KEY], "image": layer_id(source), "class_names": list(names)}
    return Points(
        site_positions(sites, source.ndim),
        name=free_name(viewer, f"{source.name} · sites"),
        features=table,
        symbol=symbols(table["class"], names) if len(table) else "disc",
        visible=False,
        metadata={KEY: {**shared, "kind": "sites", HIDDEN: hidden_rows(sites, foreign)}},
        **marker_look(source, names),
    )


def hidden_rows(sites: Sequence[Sites], foreign: np.ndarray | None) -> list[int]:
    """The defects among the columns of all planes that get no point, by row: see `HIDDEN`."""
    if foreign is None:
        return []
    defective = np.concatenate([s.class_index > X2 for s in sites])
    return [int(row) for row in np.flatnonzero(foreign & defective)]


def marker_look(source: Layer, names: Sequence[str]) -> dict[str, Any]:
    """How columns look on an image, and where they lie."""
    return {
        "border_color": "class",
        "border_color_cycle": colours(names),
        "face_color": "transparent",
        "size": marker_size(source),
        "border_width": BORDER_WIDTH,
        "blending": "translucent",
        **placement(source),
    }


def marker_size(layer: Layer) -> float:
    """Size of a marker in pixels of the layer."""
    size = pixel_size_pm(layer)
    return MARKER_PX if size is None else MARKER_PM / size


def defect_points(
    position: np.ndarray,
    table: pd.DataFrame,
    names: Sequence[str],
    foreign: np.ndarray | None = None,
) -> tuple[np.ndarray, pd.DataFrame]:
    """The defects among the columns; classes from X2 on, so that a point can say "perfect"."""
    rows = table["class"].isin(names[2:]).to_numpy()
    if foreign is not None:
        rows = rows & ~foreign
    features = table.loc[rows, ["class", "probability", "source"]].reset_index(drop=True)
    features["class"] = pd.Categorical(features["class"].astype(str), names[1:])
    return position[rows], features


def replace_metadata(layer: Layer, metadata: Mapping[str, Any], **more: Any) -> None:
    """Put a new provenance into a layer of ours, without changing what kind of layer it is."""
    new = {k: v for k, v in metadata[KEY].items() if k != "kind"}
    layer.metadata[KEY] = {**note(layer), **new, **more}


def set_points(layer: Points, position: np.ndarray, features: pd.DataFrame) -> None:
    """Replace what a Points layer shows without removing the layer."""
    layer.selected_data = set()
    layer.data = position
    with drawn_once(layer):
        layer.features = features
        restyle(layer)


def show_only(layer: Points, which: np.ndarray) -> None:
    """Let only some of the points be seen, `(N,)`.

    napari looks at `shown` only where there are dimensions that it doesn't display, which an image
    of its own has none of. Our symbols are hollow: without a border they aren't there.
    """
    layer.border_width = np.where(which, BORDER_WIDTH, 0.0)
    layer.shown = which


def restyle(layer: Points) -> None:
    """Symbols and colours by class, after the classes have changed."""
    if len(layer.data):
        layer.symbol = symbols(layer.features["class"], note(layer)["class_names"])
    layer.refresh_colors()


def found_sites(sites_layer: Points, plane: int | None = None) -> Sites:
    """The columns of one image as they were found, from its layer of all columns.

    Parameters
    ----------
    sites_layer : Points
    plane : int, optional
        Plane of a stack.
    """
    names = tuple(note(sites_layer)["class_names"])
    found = on_plane(sites_layer, plane)
    table = sites_layer.features[found]
    return Sites(
        position_px=np.asarray(sites_layer.data, dtype=float)[found, -2:],
        probabilities=table[[f"p_{n}" for n in names]].to_numpy(dtype=float),
        class_index=_codes(table["class"], names),
        class_names=names,
        source=table["source"].to_numpy(dtype="<U6"),
        **{n: table[n].to_numpy(dtype=float) for n in WEIGHT_COLUMNS if n in table},
    )


def _codes(classes: pd.Series, names: tuple[str, ...]) -> np.ndarray:
    """Indices of classes: as they are kept where they can be, without a string for each column."""
    if isinstance(classes.dtype, pd.CategoricalDtype) and tuple(classes.cat.categories) == names:
        return classes.cat.codes.to_numpy(dtype=int)
    return pd.Categorical(classes.astype(str), names).codes.astype(int)


def sites_from_layers(sites_layer: Points, defects: Points, plane: int | None = None) -> Sites:
    """The columns of one image with what the user corrected in its defects layer.

    Parameters
    ----------
    sites_layer, defects : Points
        The two layers of a detection.
    plane : int, optional
        Plane of a stack.

    Returns
    -------
    Sites
        By the rules of `corrections.correct_sites`.
    """
    return _read(sites_layer, defects, plane)()


def _read(sites_layer: Points, defects: Points, plane: int | None) -> Callable[[], Sites]:
    """Look at the two layers now, and work out what they mean when that is called."""
    sites = found_sites(sites_layer, plane)
    names = sites.class_names
    here = on_plane(defects, plane)
    points = defects.features[here]
    codes = pd.Categorical(points["class"].astype(str), names).codes.astype(int)
    if (codes < 0).any():
        row = int(np.flatnonzero(here)[codes < 0][0])
        got = defects.features["class"].iloc[row]
        raise DefectStrainError(
            f"{defects.name}: got the class {got!r} of point {row}, expected one of "
            f"{', '.join(names[1:])}; give it one, or undo"
        )
    position = np.array(defects.data, dtype=float)[here, -2:]
    by_hand = (points["source"] == "manual").to_numpy(dtype=bool)
    hidden = hidden_on(sites_layer, plane)
    return partial(correct_sites, sites, *with_hidden(sites, hidden, position, codes, by_hand))


def hidden_on(sites_layer: Points, plane: int | None) -> np.ndarray:
    """Which columns of a plane are `HIDDEN`, `(N,)`."""
    rows = np.zeros(len(sites_layer.data), dtype=bool)
    rows[np.asarray(note(sites_layer).get(HIDDEN, []), dtype=int)] = True
    return rows[on_plane(sites_layer, plane)]


def corrected_planes(viewer: ViewerModel, defects: Points) -> list[Sites]:
    """Corrected columns of each plane of the image that a defects layer belongs to.

    Raises
    ------
    DefectStrainError
        If its sites layer or image is gone.
    """
    return [correct() for correct in planes_read(viewer, defects)]


def planes_read(viewer: ViewerModel, defects: Points) -> list[Callable[[], Sites]]:
    """`corrected_planes` in two parts: layers are looked at now, the rest any thread may do.

    Raises
    ------
    DefectStrainError
        If its sites layer or image is gone.
    """
    sites_layer = layer_by_id(viewer, note(defects).get("sites"))
    image = layer_by_id(viewer, note(defects).get("image"))
    if not isinstance(sites_layer, Points) or not isinstance(image, Image):
        raise DefectStrainError(
            f"{defects.name}: its image or its layer of all columns (· sites) is gone; detect again"
        )
    if image.ndim == 2:
        return [_read(sites_layer, defects, None)]
    count = (image.data[0] if image.multiscale else image.data).shape[0]
    return [_read(sites_layer, defects, i) for i in range(count)]


def on_plane(layer: Points, plane: int | None) -> np.ndarray:
    """Which points lie on a plane of a stack, `(N,)`; all of them where plane is None."""
    if plane is None:
        return np.ones(len(layer.data), dtype=bool)
    return np.rint(np.asarray(layer.data)[:, 0]).astype(int) == plane


def material_of(layer: Layer) -> str:
    """The material that a detection was made for, as `get_material` reads it."""
    name = str(note(layer).get("parameters", {}).get("material", "WSe2"))
    return get_material(name).label
