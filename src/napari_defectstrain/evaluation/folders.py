"""Two folders, detections and truth, matched by the stems of their files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..failures import Failure, Failures
from ..io.files import SUFFIXES as IMAGE_SUFFIXES
from ..io.files import read_images
from ..io.tables import read_sites
from ..io.unfinished import check_whole
from ..materials import DEFECT_ROLES, ROLES, Material, get_material
from ..types import CalibratedImage, DefectStrainError, FloatArray, Progress, Sites, no_progress
from .conditions import conditions_of, settings_beside
from .oracle import ask_oracle
from .score import HIT_RADIUS_PM, MARGIN_PM, UNKNOWN, Comparison, compare
from .truth_tables import SUFFIXES, Truth, read_truth

_PREDICTION = ".sites.csv"
_RUN = "run.json"
_DISPLACED_PX = 0.25


@dataclass(frozen=True)
class Evaluation:
    """Detections of many images against their truth.

    Parameters
    ----------
    material : Material
    comparisons : tuple of Comparison
        One an image.
    conditions : tuple of mapping
        What is known of each image's conditions (`conditions.PARAMETERS`).
    judged : tuple of str
        Roles of defects that the truth lists.
    complete : bool
        Whether the truth lists all columns; if not, what it doesn't list is none of `judged`.
    radius_pm : float
        Hit radius [pm].
    notes : tuple of str
        What was assumed.
    failed : tuple of Failure
        Images that could not be compared, and why.
    oracle, least_squares : tuple of Comparison
        The same by the oracle and by thresholds on least squares; empty where not asked for.
    """

    material: Material
    comparisons: tuple[Comparison, ...]
    conditions: tuple[Mapping[str, float], ...]
    judged: tuple[str, ...]
    complete: bool
    radius_pm: float
    notes: tuple[str, ...] = ()
    failed: tuple[Failure, ...] = ()
    oracle: tuple[Comparison, ...] = ()
    least_squares: tuple[Comparison, ...] = ()


@dataclass(frozen=True)
class Options:
    """How folders are compared.

    Parameters
    ----------
    images : Path or None
        Folder of the images; else they are looked for beside the truth.
    pixel_size_pm : float or None
        Comes before what run.json or the images say [pm].
    material : str or None
        Comes before what run.json says.
    class_map : mapping of str to str
        Names of classes in the truth that aren't known, to roles.
    classes : tuple of str
        Roles of defects that the truth lists; empty: as it looks.
    radius_pm : float
    with_oracle : bool
        Judge the images by the oracle too.
    """

    images: Path | None = None
    pixel_size_pm: float | None = None
    material: str | None = None
    class_map: Mapping[str, str] | None = None
    classes: tuple[str, ...] = ()
    radius_pm: float = HIT_RADIUS_PM
    with_oracle: bool = False


@dataclass(frozen=True)
class _Case:
    """One image: its files, and what run.json and the image say of it."""

    stem: str
    prediction: Path
    truth: Path
    image: Path | None
    run: Mapping[str, Any]


def evaluate_folders(
    pred_dir: Path,
    truth_dir: Path,
    options: Options | None = None,
    progress: Progress = no_progress,
    failures: Failures | None = None,
) -> Evaluation:
    """Compare ``<stem>.sites.csv`` with ``<stem>.truth.csv`` of another folder, for all stems.

    Parameters
    ----------
    pred_dir : Path
        What ``defectstrain detect --out`` wrote: tables of columns, and run.json.
    truth_dir : Path
        Tables of true columns (`truth_tables.read_truth`), with the images perhaps.
    options : Options, optional
    progress : Progress
    failures : Failures, optional
        Collects images that can't be compared, which are left out; else the first is raised.

    Raises
    ------
    DefectStrainError
        If the folders have no stem in common, the detection was stopped before its end, a table
        can't be read, or no pixel size is known.
    """
    options = options or Options()
    failures = failures or Failures(strict=True)
    run = _read_run(pred_dir)
    material = _material(options, run)
    cases, notes = _cases(pred_dir, truth_dir, options.images, run)
    notes += check_whole(pred_dir, _RUN, [case.prediction.name for case in cases])
    compared: list[_Compared] = []
    for i, case in enumerate(cases):
        progress(i / len(cases), case.stem)
        with failures.left_out(case.stem):
            compared.append(_compared(case, options, material))
    failures.check_any_left(compared)
    for each in compared:
        notes += each.notes
    judged, complete = _listed([each.truth for each in compared], options, material, notes)
    return Evaluation(
        material=material,
        comparisons=tuple(each.comparison for each in compared),
        conditions=tuple(each.conditions for each in compared),
        judged=judged,
        complete=complete,
        radius_pm=options.radius_pm,
        notes=tuple(dict.fromkeys(notes)),
        failed=tuple(failures.found),
        oracle=tuple(each.judges[0] for each in compared if each.judges),
        least_squares=tuple(each.judges[1] for each in compared if each.judges),
    )


@dataclass(frozen=True)
class _Compared:
    """One image against its truth; by the oracle and by least squares too, where asked for."""

    comparison: Comparison
    conditions: Mapping[str, float]
    truth: Truth
    judges: tuple[Comparison, ...]
    notes: tuple[str, ...]


def _compared(case: _Case, options: Options, material: Material) -> _Compared:
    notes: list[str] = []
    image = _read_image(case.image) if case.image else None
    pixel_pm = _pixel_size(case, image, options)
    truth = read_truth(case.truth, material, pixel_pm, options.class_map)
    if pixel_pm is None:
        raise DefectStrainError(
            f"{case.stem}: no pixel size in {case.prediction.parent / _RUN} or an image; give "
            "--pixel-size-pm"
        )
    found = _read_prediction(case.prediction, material)
    shape = _shape(case, image, found, truth, notes)
    arguments = truth.position_px, truth.class_index, shape, pixel_pm, truth.kind
    made = compare(found, *arguments, options.radius_pm, case.stem)
    notes += [*truth.notes, *_displacement_note(made, pixel_pm)]
    judges: tuple[Comparison, ...] = ()
    if options.with_oracle:
        judges = tuple(
            compare(sites, *arguments, radius_pm=options.radius_pm, name=case.stem)
            for sites in _judged_by_oracle(case, image, truth, pixel_pm, material)
        )
    conditions = _conditions(case, image, pixel_pm)
    return _Compared(made, conditions, truth, judges, tuple(notes))


def _read_run(pred_dir: Path) -> dict[str, Any]:
    if not pred_dir.is_dir():
        raise DefectStrainError(f"{pred_dir}: got no folder, expected one with detections")
    path = pred_dir / _RUN
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DefectStrainError(f"{path}: not JSON: {error}") from error
    return values if isinstance(values, dict) else {}


def _material(options: Options, run: Mapping[str, Any]) -> Material:
    stated = run.get("parameters", {}).get("material") if isinstance(run, Mapping) else None
    return get_material(options.material or (stated if isinstance(stated, str) else "WSe2"))


def _cases(
    pred_dir: Path, truth_dir: Path, image_dir: Path | None, run: Mapping[str, Any]
) -> tuple[list[_Case], list[str]]:
    for folder in (truth_dir, image_dir):
        if folder is not None and not folder.is_dir():
            raise DefectStrainError(f"{folder}: got no folder, expected one with truth or images")
    found = {p.name[: -len(_PREDICTION)]: p for p in sorted(pred_dir.glob(f"*{_PREDICTION}"))}
    truth = {stem: path for stem in found if (path := _truth_file(truth_dir, stem)) is not None}
    if not truth:
        others = sorted(p.name for p in truth_dir.glob("*.csv"))[:3]
        raise DefectStrainError(
            f"no common stems: {pred_dir} holds {_some(list(found), _PREDICTION)}, {truth_dir} "
            f"{', '.join(others) or 'no .csv'}; expected <stem>.truth.csv for <stem>.sites.csv"
        )
    images = {str(i.get("name")): i for i in run.get("images", ()) if isinstance(i, dict)}
    notes = []
    lacking = [stem for stem in found if stem not in truth]
    if lacking:
        notes.append(f"no truth for {', '.join(lacking)}: left out")
    folder = image_dir or truth_dir
    cases = [
        _Case(stem, found[stem], path, _image_file(folder, stem), images.get(stem, {}))
        for stem, path in truth.items()
    ]
    return cases, notes


def _some(stems: Sequence[str], suffix: str) -> str:
    return ", ".join(f"{stem}{suffix}" for stem in stems[:3]) or f"no *{suffix}"


def _truth_file(folder: Path, stem: str) -> Path | None:
    paths = (folder / f"{stem}{suffix}" for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def _image_file(folder: Path, stem: str) -> Path | None:
    paths = (folder / f"{stem}{suffix}" for suffix in (".tif", *IMAGE_SUFFIXES))
    return next((path for path in paths if path.is_file()), None)


def _read_image(path: Path) -> CalibratedImage:
    """The image, or the sum of its frames as they lie: only its size and metadata matter then."""
    frames = read_images(path)
    if len(frames) == 1:
        return frames[0]
    return replace(frames[0], data=np.sum([f.data for f in frames], axis=0), name=path.stem)


def _pixel_size(case: _Case, image: CalibratedImage | None, options: Options) -> float | None:
    stated = case.run.get("pixel_size_pm")
    of_image = None if image is None else image.pixel_size_pm
    for value in (options.pixel_size_pm, stated, of_image):
        if isinstance(value, int | float) and value > 0:
            return float(value)
    return None


def _read_prediction(path: Path, material: Material) -> Sites:
    """Columns that detection found; tables without a class other have none of it."""
    names = material.class_names
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = [name.strip() for name in file.readline().split(",")]
    if f"p_{names[0]}" not in header or f"p_{names[-1]}" in header:
        return read_sites(path, names)
    sites = read_sites(path, names[:-1])
    padded = np.column_stack([sites.probabilities, np.zeros(len(sites))])
    return replace(sites, probabilities=padded, class_names=names)


def _shape(
    case: _Case, image: CalibratedImage | None, found: Sites, truth: Truth, notes: list[str]
) -> tuple[int, ...]:
    stated = case.run.get("shape")
    if isinstance(stated, list) and len(stated) == 2:
        return tuple(int(n) for n in stated)
    if image is not None:
        return image.data.shape
    far = np.concatenate([found.position_px, truth.position_px]).max(axis=0)
    notes.append(f"{case.stem}: size of the image unknown: taken to end at the last column")
    return tuple(int(np.ceil(n)) + 1 for n in far)


def _displacement_note(made: Comparison, pixel_pm: float) -> list[str]:
    """A common shift is a convention (where pixel 0 is), not an error of detection."""
    if len(made.error_pm) < 30:
        return []
    y, x = np.median(made.error_pm, axis=0) / pixel_pm
    if max(abs(y), abs(x)) < _DISPLACED_PX:
        return []
    return [
        f"{made.name}: found columns lie ({y:+.2f}, {x:+.2f}) px (y, x) from the true ones on "
        "median; does the truth count pixels from their centres, and from 0?"
    ]


def _conditions(case: _Case, image: CalibratedImage | None, pixel_pm: float) -> dict[str, float]:
    beside = conditions_of(settings_beside(case.truth.parent, case.stem))
    own = {} if image is None else conditions_of(image.metadata)
    return {**beside, **own, "pixel_size_pm": pixel_pm}


def _listed(
    truths: Sequence[Truth], options: Options, material: Material, notes: list[str]
) -> tuple[tuple[str, ...], bool]:
    """Which defects the truth lists, and whether it lists everything else too."""
    index = np.concatenate([t.class_index for t in truths])
    complete = all((index == ROLES.index(role)).any() for role in ("metal", "X2"))
    if options.classes:
        judged = tuple(role for role in DEFECT_ROLES if role in options.classes)
    elif complete:
        judged = DEFECT_ROLES
    else:
        judged = tuple(r for r in DEFECT_ROLES if (index == ROLES.index(r)).any())
    if not complete and judged:
        names = [material.class_names[ROLES.index(role)] for role in judged]
        notes.append(
            f"the truth lists no metal or no perfect columns: {', '.join(names)} are judged, and "
            "columns that it doesn't list are taken as none of them"
        )
    if not judged and not (index == UNKNOWN).any():
        raise DefectStrainError("truth: got no column of any class, expected some to compare with")
    return judged, complete


def _judged_by_oracle(
    case: _Case,
    image: CalibratedImage | None,
    truth: Truth,
    pixel_pm: float,
    material: Material,
) -> tuple[Sites, Sites]:
    if image is None:
        raise DefectStrainError(f"oracle: got no image of {case.stem}; give --images DIR")
    true = truth_sites(truth.position_px, truth.class_index, material)
    result = ask_oracle(image.data, true, pixel_pm, truth.kind)
    return result.sites, result.least_squares


def truth_sites(position_px: FloatArray, class_index: np.ndarray, material: Material) -> Sites:
    """True columns as `Sites`, each certain of its class.

    Raises
    ------
    DefectStrainError
        If a column has no class.
    """
    index = np.asarray(class_index)
    if (index == UNKNOWN).any():
        raise DefectStrainError("truth: got columns without a class, expected all to have one")
    return Sites(
        np.asarray(position_px, dtype=float),
        np.eye(len(ROLES))[index],
        index,
        material.class_names,
        np.full(len(index), "truth"),
    )


def margin_text() -> str:
    """The rim that is left out, for people."""
    return f"a rim of {MARGIN_PM:g} pm is left out"
