"""The tables of a report: few columns, units in their heads, errors beside the values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import pandas as pd

from ...pipeline.loading import PIXEL_SIZE_BY_LATTICE
from ...pipeline.runs import RunConfig
from ...styles import error_text, with_error
from ...units import PM_PER_NM
from ..results import EDITS_FILE
from .blocks import Sheet, as_download
from .folder import Results

UNKNOWN = "not given"
_NOTHING = "–"
_PER_CENT = 100.0
_SHORT_HASH = 12
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_CALIBRATIONS = {"file": "the file", "lattice": "the lattice", "given": "given by hand"}


def number(value: Any, spec: str = ".2f", unit: str = "") -> str:
    """A number for people; a dash for what isn't there.

    >>> number(1.234), number(float("nan")), number(3.0, ".0f", " nm")
    ('1.23', '–', '3 nm')
    """
    known = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    return f"{value:{spec}}{unit}".replace("-", "−") if known else _NOTHING


def power_of_ten(value: float) -> str:
    """A large number for people.

    >>> power_of_ten(12_400_000.0)
    '1.24 × 10⁷'
    """
    digits, _, power = f"{value:.2e}".partition("e")
    return f"{float(digits):g} × 10{str(int(power)).translate(_RAISED)}"


def per_cent(value: Any, error: Any, spec: str = "+.2f") -> str:
    """A fraction and its error in per cent, digits by the error.

    >>> per_cent(-0.04842, 0.00069), per_cent(0.001, float("nan"))
    ('−4.84 ± 0.07', '+0.10 ± ?')
    """
    text = with_error(_PER_CENT * float(value), _PER_CENT * float(error), spec)
    return text.replace("-", "−")


def strain_text(row: pd.Series) -> str:
    """Strain with its statistical and its systematic error, in per cent."""
    if not math.isfinite(float(row.get("strain", math.nan))):
        return "not measured"
    stat, total = float(row["sigma_stat"]), float(row["sigma_total"])
    if not math.isfinite(total):
        return f"{per_cent(row['strain'], row['strain_std'])} %"
    systematic = error_text(_PER_CENT * math.sqrt(max(total**2 - stat**2, 0.0)))
    return f"{per_cent(row['strain'], stat)} {systematic} %"


def results_sheet(results: Results) -> Sheet | None:
    """Windows, spacing and strain of each class: what the report is about."""
    table = results.spacings()
    if not len(table):
        return None
    material = results.material
    between = material.spacing_between(table.index.astype(str))
    rows = []
    for name, row in table.iterrows():
        is_reference = name in results.material.references
        spacing = with_error(float(row["spacing_pm"]), float(row["precision_pm"]))
        rows.append(
            (
                str(name),
                f"{row['n']:.0f}",
                number(row.get("n_images"), ".0f"),
                "not measured" if math.isnan(float(row["spacing_pm"])) else spacing,
                "reference" if is_reference else strain_text(row),
                number(row["purity"], ".4f"),
                *_crowded_cells(row, table, is_reference),
            )
        )
    head: tuple[str, ...] = ("class", "windows N", "images", f"{between} [pm]")
    head += ("strain ± statistical ± systematic", "expected purity")
    if _has_crowded(table):
        head += ("every defect: effective N", "every defect: strain ± total")
    caption = (
        f"{between[0].upper()}{between[1:]} of the three columns nearest the defect, and its "
        "strain against the defect-free average of the same images; errors are one standard "
        "deviation."
    )
    download = as_download("spacings.csv", results.content("spacings.csv"))
    return Sheet("results", caption, head, tuple(rows), (download,))


def _has_crowded(table: pd.DataFrame) -> bool:
    return "crowded_strain" in table and bool(table["crowded_strain"].notna().any())


def _crowded_cells(row: pd.Series, table: pd.DataFrame, is_reference: bool) -> tuple[str, ...]:
    if not _has_crowded(table):
        return ()
    if is_reference:
        return number(row["effective_n"], ".0f"), "reference"
    known = pd.notna(row["crowded_strain"])
    strain = per_cent(row["crowded_strain"], row["crowded_strain_total_std"])
    return number(row["effective_n"], ".0f"), f"{strain} %" if known else _NOTHING


def disagreement(image: Mapping[str, Any]) -> float:
    """How much larger an image's pixel size is than by its lattice, a fraction; NaN if unknown."""
    stated = image.get("pixel_size_pm")
    by_lattice = (image.get("metadata") or {}).get(PIXEL_SIZE_BY_LATTICE)
    if not stated or not by_lattice:
        return math.nan
    return float(stated) / float(by_lattice) - 1.0


def images_sheet(results: Results) -> Sheet:
    """How each image was taken, and which file it is."""
    rows = []
    for image in results.images:
        size, conditions = image.get("pixel_size_pm"), image.get("conditions") or {}
        shape = image.get("shape") or ()
        across = " × ".join(f"{n * size / PM_PER_NM:.1f}" for n in shape) if size else _NOTHING
        calibration = str(image.get("calibration") or "")
        rows.append(
            (
                str(image.get("name")),
                across,
                number(size, ".2f"),
                _CALIBRATIONS.get(calibration, calibration or UNKNOWN),
                number(_PER_CENT * disagreement(image), "+.2f"),
                UNKNOWN if not conditions.get("dose") else power_of_ten(conditions["dose"]),
                _given(conditions.get("beam energy"), "g"),
                _given(conditions.get("semi-angle"), "g"),
                number(image.get("columns"), ".0f"),
                str(image.get("file_sha256") or UNKNOWN)[:_SHORT_HASH],
            )
        )
    head: tuple[str, ...] = (
        "image",
        "field [nm]",
        "pixel [pm]",
        "calibrated by",
        "against lattice [%]",
    )
    head += ("dose [e⁻/nm²]", "beam [kV]", "semi-angle [mrad]", "columns", "SHA-256 of the file")
    caption = (
        "Images and how they were taken, as far as their files say. Of hashes the first twelve "
        "digits are shown; the provenance has them in full."
    )
    return Sheet("images", caption, head, tuple(rows))


def _given(value: Any, spec: str) -> str:
    return UNKNOWN if value is None else number(float(value), spec)


def populations_sheet(results: Results) -> Sheet | None:
    """Columns and concentrations of all images together."""
    table = results.populations()
    if not len(table):
        return None
    rows = []
    for _, row in table.iterrows():
        limits = (_PER_CENT * float(row[end]) for end in ("crystal_low", "crystal_high"))
        rows.append(
            (
                str(row["class"]),
                f"{row['columns']:.0f}",
                number(_PER_CENT * row["concentration"], ".3f"),
                number(_PER_CENT * row["corrected"], ".3f"),
                " to ".join(number(limit, ".3f") for limit in limits),
                number(row["per_nm2"], ".4f"),
            )
        )
    head: tuple[str, ...] = ("class", "columns", "counted [%]", "by probability [%]")
    head += ("95 % interval for the crystal [%]", "per nm²")
    caption = (
        "Concentrations in all images: classes as fractions of the columns of their sublattice, x "
        "(substituted) and vacancy fraction as fractions of the atomic chalcogen sites."
    )
    download = as_download("populations.csv", results.content("populations.csv"))
    return Sheet("populations", caption, head, tuple(rows), (download,))


def budget_sheet(results: Results, prefix: str = "") -> Sheet | None:
    """The error of each class's strain, part by part."""
    name = f"{prefix}budget.csv"
    table = results.table(name)
    table = table[~table["class"].isin(results.material.references)] if len(table) else table
    if not len(table):
        return None
    classes = list(dict.fromkeys(table["class"]))
    shown = table[table["kind"] != "subtracted"]
    rows = []
    for part in dict.fromkeys(shown["part"]):
        cells = [shown[(shown["part"] == part) & (shown["class"] == one)] for one in classes]
        rows.append((str(part), *(_part_text(cell) for cell in cells)))
    for part in dict.fromkeys(table["part"][table["kind"] == "subtracted"]):
        removed = table[(table["part"] == part) & (table["kind"] == "subtracted")]
        by_class = {str(r["class"]): r["strain"] for _, r in removed.iterrows()}
        cells_text = (number(_PER_CENT * by_class.get(one, math.nan), "+.4f") for one in classes)
        rows.append((f"subtracted: {part}", *cells_text))
    which = "averages of every defect" if prefix else "class averages"
    caption = (
        f"Error budget of the strain of {which} [%], one standard deviation a part. Below the "
        "total the known biases that were subtracted (signed)."
    )
    download = as_download(name, results.content(name))
    return Sheet(f"{prefix}budget", caption, ("part", *classes), tuple(rows), (download,))


def _part_text(cell: pd.DataFrame) -> str:
    if not len(cell):
        return _NOTHING
    first = cell.iloc[0]
    if first["kind"] == "unknown":
        return "can't be told"
    return number(_PER_CENT * float(first["strain"]), ".4f")


def audit_sheet(scores: Any) -> Sheet | None:
    """Precision and recall by a person's labels; None where there are none.

    Parameters
    ----------
    scores : list of mappings
        Of ``audit.json``.
    """
    rows = []
    for one in scores if isinstance(scores, list) else []:
        if not isinstance(one, Mapping) or not one.get("labelled"):
            continue
        cells = [str(one.get("class")), *(number(one.get(k), ".0f") for k in ("found", "labelled"))]
        for kind in ("precision", "recall", "expected_precision", "expected_recall"):
            ends = (number(one.get(f"{kind}_{end}"), ".3f") for end in ("low", "high"))
            cells.append(f"{number(one.get(kind), '.3f')} ({' to '.join(ends)})")
        rows.append(tuple(cells))
    if not rows:
        return None
    head: tuple[str, ...] = ("class", "found", "labelled", "precision", "recall")
    head += ("precision with probabilities", "recall with probabilities")
    caption = "Precision and recall on these images by a person's labels, with limits of 95 %."
    return Sheet("audit_scores", caption, head, tuple(rows))


def by_hand_sheet(results: Results) -> Sheet | None:
    """Columns that aren't the network's and the judge's own; None where all are."""
    rows = []
    for image in results.images:
        name = f"{image.get('name')}.sites.csv"
        table = results.table(name)
        if "source" not in table:
            continue
        found = table[table["source"] != "model"]
        for (source, one), group in found.groupby(["source", "class"], sort=True):
            words = "corrected by hand" if source == "manual" else f"from a {source}"
            rows.append((str(image.get("name")), words, str(one), str(len(group))))
    if not rows:
        return None
    caption = "Columns whose class or place is not the detection's own."
    return Sheet("by_hand", caption, ("image", "origin", "class", "columns"), tuple(rows))


def edits_sheet(results: Results) -> Sheet | None:
    """The history of a study's corrections summed up; None where there is none."""
    table = results.table(EDITS_FILE)
    if not len(table):
        return None
    keys = ["user", "what", "change", "from", "to"]
    moved = table["change"] == "moved"
    told = table.assign(**{end: table[end].where(~moved, "").fillna("") for end in ("from", "to")})
    rows = []
    for group, edits in told.groupby(keys, sort=False, dropna=False):
        user, what, change, was, now = (str(one) for one in group)
        if change == "class":
            change = f"{was} → {now}"
        elif was or now:
            change = f"{change}: {was or now}"
        days = sorted(str(when)[:10] for when in edits["when"])
        span = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
        images = edits["image"].nunique()
        rows.append((what, change, user, span, str(images), str(len(edits))))
    rows.sort(key=lambda row: (row[0], -int(row[5])))
    head = ("of", "change", "who", "when", "images", "edits")
    caption = (
        "Edits of columns, windows and regions by hand or from files: by whom, and from what to "
        "what; those that were taken back later count too."
    )
    return Sheet("edits_summary", caption, head, tuple(rows))


def parameters_sheet(results: Results) -> Sheet:
    """Every setting; those that aren't the default are marked."""
    used, usual = flattened(results.parameters), flattened(RunConfig().to_dict())
    rows = []
    for name, value in used.items():
        differs = name not in usual or usual[name] != value
        default = usual.get(name, "none") if differs else "as default"
        rows.append((name, value, f"≠ default: {default}" if differs else default))
    rows.sort(key=lambda row: row[2] == "as default")  # what was changed comes first
    caption = (
        "Every parameter of the run; those that differ from this version's defaults come first."
    )
    return Sheet("parameters", caption, ("parameter", "value", "default"), tuple(rows), folded=True)


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested values by dotted names, as text.

    >>> flattened({"a": {"b": 1.0}, "c": [1, 2], "d": None})
    {'a.b': '1.0', 'c': '1, 2', 'd': 'automatic'}
    """
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flattened(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            found[f"{prefix}{name}"] = ", ".join(str(one) for one in value) or "none"
        else:
            found[f"{prefix}{name}"] = "automatic" if value is None else str(value)
    return found


def hashes_sheet(results: Results) -> Sheet:
    """Hashes of the images' files and pixels, and of the weights."""
    rows = [
        (f"{image.get('name')}: {what}", str(image.get(key) or UNKNOWN))
        for image in results.images
        for what, key in (("file", "file_sha256"), ("pixels analysed", "pixels_sha256"))
    ]
    rows.append(("weights of the network", str(results.about.get("weights_sha256") or UNKNOWN)))
    caption = "SHA-256 of what went in. Pixels are those analysed, after repair and summing."
    return Sheet("hashes", caption, ("what", "SHA-256"), tuple(rows), folded=True)


def versions_sheet(results: Results) -> Sheet:
    """Versions of the software that measured."""
    rows: Iterable[tuple[str, str]] = (
        ("napari-defectstrain", str(results.about.get("version", UNKNOWN))),
        *((str(k), str(v)) for k, v in (results.about.get("versions") or {}).items()),
    )
    return Sheet("versions", "Software of the run.", ("software", "version"), tuple(rows))


def plain_sheet(results: Results, name: str, caption: str, most_rows: int = 40) -> Sheet | None:
    """A table of the folder as it is, its first rows; None where there is none."""
    table = results.table(name)
    if not len(table):
        return None
    shown = table.head(most_rows)
    rows = tuple(tuple(_cell(value) for value in row) for row in shown.itertuples(index=False))
    if len(table) > most_rows:
        caption = f"{caption} The first {most_rows} of {len(table)} rows; the file has them all."
    head = tuple(str(column) for column in table.columns)
    return Sheet(
        name.removesuffix(".csv"),
        caption,
        head,
        rows,
        (as_download(name, results.content(name)),),
        folded=True,
    )


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return number(value, ".4g")
    return _NOTHING if value is None else str(value)
