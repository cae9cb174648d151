"""The figures of a folder with their words: captions, what they show, and the data drawn."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pandas as pd
from PIL import Image, UnidentifiedImageError

from ...styles import with_error
from ...types import STRAIN_COMPONENTS, DefectStrainError
from ..results import CROWDED, FIGURES
from .blocks import Download, Picture, as_download
from .folder import HEIGHT, Results, maps_table, read_maps
from .sheets import number, strain_text

_MOST_BYTES = 200_000
"""Larger pictures are packed closer, so that the report can be sent."""
_LARGE_BYTES = 1_500_000
"""Photographs; they are shown smaller, too."""
_MOST_PX, _PHOTO_PX = 2100, 1200
_QUALITY, _PHOTO_QUALITY = 90, 80
_MIME = {".png": "image/png", ".svg": "image/svg+xml"}
_SVG_SIZE_PX = (1000, 700)
_DIGITS = "%.5g"
_ARROWS_SAY = "Arrows are enlarged as the key says"
_DPI = 300
"""Of the figures."""
SHOWN_PER_INCH = 140
"""Pixels of the page for an inch of a figure: letters are as large in all of them."""

Words = tuple[str, str]
"""Caption, and text for those who don't see the picture."""


class Pictures:
    """Figures of a folder as pictures of a report; data that several show is held once.

    Parameters
    ----------
    results : Results
    """

    def __init__(self, results: Results) -> None:
        self._results = results
        self._left = results.figures()
        self._known: dict[str, Download] = {}

    def take(self, name: str) -> Iterator[Picture]:
        """The figure of that name, once; nothing where there is none."""
        if name not in self._left:
            return
        self._left.remove(name)
        prefix = CROWDED if name.startswith(CROWDED) else ""
        caption, alt = _words(self._results, name.removeprefix(prefix), prefix)
        if prefix:
            caption = f"From every defect, isolated or not. {caption}"
        content, mime, size = self._shown(name)
        if not content:
            return
        full = next(
            f"{FIGURES}/{name}{kind}"
            for kind in (".png", ".svg")
            if self._results.has(f"{FIGURES}/{name}{kind}")
        )
        if len(self._results.content(full)) > _LARGE_BYTES:
            caption = f"{caption} (Shown smaller than the file {full}.)"
        data = tuple(self._data(name.removeprefix(prefix), prefix))
        yield Picture(name, caption, alt, content, mime, *size, data)

    def take_all(self, start: str) -> Iterator[Picture]:
        """All figures whose names begin so, that weren't taken yet."""
        for name in [name for name in self._left if name.startswith(start)]:
            yield from self.take(name)

    def only_in_print(self) -> list[str]:
        """Figures that can't be shown: PDF alone."""
        return [
            name
            for name in self._results.figures()
            if not any(self._results.has(f"{FIGURES}/{name}{kind}") for kind in _MIME)
        ]

    def _shown(self, name: str) -> tuple[bytes, str, tuple[int, int]]:
        for kind, mime in _MIME.items():
            path = f"{FIGURES}/{name}{kind}"
            if self._results.has(path):
                content = self._results.content(path)
                if kind == ".svg":
                    return content, mime, _SVG_SIZE_PX
                return _fitting(content, self._results.path / path)
        return b"", "", (0, 0)

    def _data(self, name: str, prefix: str) -> Iterator[Download]:
        """The data of a figure: tables of the run as they are, maps and plots as tables."""
        tables, maps = _sources(self._results, name, prefix)
        drawn = f"{FIGURES}/{prefix}{name}.csv"
        for source in (drawn, *tables):
            if self._results.has(source):
                shown = f"{prefix}{name}.drawn.csv" if source == drawn else source
                yield self._once(shown, partial(self._results.content, source))
        for file, make in maps.items():
            yield self._once(file, make)

    def _once(self, name: str, make: Callable[[], bytes]) -> Download:
        if name not in self._known:
            self._known[name] = as_download(name, make())
        return self._known[name]


def _fitting(content: bytes, path: Path) -> tuple[bytes, str, tuple[int, int]]:
    """A PNG as it is, or smaller where it is large."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            scale = SHOWN_PER_INCH / _DPI
            shown = (round(scale * picture.width), round(scale * picture.height))
            if len(content) <= _MOST_BYTES:
                return content, "image/png", shown
            is_photo = len(content) > _LARGE_BYTES
            most = _PHOTO_PX if is_photo else _MOST_PX
            smaller = picture.convert("RGB")
            smaller.thumbnail((most, 2 * most), Image.Resampling.LANCZOS)
    except (OSError, ValueError, UnidentifiedImageError) as error:
        raise DefectStrainError(f"{path}: can't be read as a picture: {error}") from error
    packed = io.BytesIO()
    quality = _PHOTO_QUALITY if is_photo else _QUALITY
    smaller.save(packed, "WEBP", quality=quality, method=2)
    return packed.getvalue(), "image/webp", shown


def _sources(
    results: Results, name: str, prefix: str
) -> tuple[list[str], Mapping[str, Callable[[], bytes]]]:
    """Tables that a figure is drawn from, and maps that are made into tables."""
    tables = {
        "weights": ["populations.csv"],
        "populations": ["populations.csv"],
        "pair_correlation": ["pair_correlation.csv"],
        "clusters": ["clusters.csv", "nearest_defects.csv"],
        "spacings": ["spacings.csv"],
        "precision": ["precision.csv"],
        "precision_by_class": ["spacings.csv"],
        "budget": [f"{prefix}budget.csv"],
        "displacement": [f"{prefix}displacement.csv"],
        "theory": ["theory.csv"],
        "class_parts": ["class_parts.csv"],
        "variability": ["variability.csv"],
        "half_sets": ["half_sets.csv"],
    }.get(name, [])
    kind, _, rest = name.partition("_")
    if kind == "detections":
        tables = [f"{rest}.sites.csv"]
    elif kind == "drift":
        tables = [f"{rest}.drift.csv"]
    files: dict[str, dict[str, str]] = {}
    classes = [*results.spacings().index.astype(str)]
    if name in ("averages", "displacement"):
        for one in classes:
            files[f"{prefix}averages.csv"] = files.get(f"{prefix}averages.csv", {})
            files[f"{prefix}averages.csv"] |= {f"average {one}": f"{prefix}average_{one}.tif"}
            if name == "averages" and not prefix:
                files["averages.csv"] |= {f"window {one}": f"window_{one}.tif"}
    if name == "displacement":
        for one in classes:
            files |= _strain_files(prefix, one)
    elif kind == "strain" and rest:
        files |= _strain_files(prefix, rest)
    elif kind == "theory" and rest:
        files[f"{prefix}theory_{rest}.csv"] = {"": f"{prefix}theory_{rest}.tif"}
    elif name == "variability":
        for one in classes:
            files[f"components_{one}.csv"] = {"": f"components_{one}.tif"}
    made = {
        file: parts
        for file, named in files.items()
        if (parts := {label: path for label, path in named.items() if results.has(path)})
    }
    return tables, {file: partial(maps_csv, results, parts) for file, parts in made.items()}


def _strain_files(prefix: str, name: str) -> dict[str, dict[str, str]]:
    stem = f"{prefix}strain_{name}"
    return {f"{stem}.csv": {"": f"{stem}.tif", "sigma ": f"{stem}.sigma.tif"}}


def maps_csv(results: Results, files: Mapping[str, str]) -> bytes:
    """Maps as one table: a row a pixel by x and y (up), a column each.

    Parameters
    ----------
    results : Results
    files : mapping
        Label of each TIFF to its name: averages are called by the label alone.
    """
    tables = []
    for label, file in files.items():
        maps, x, y = read_maps(results.path / file)
        named = {
            label if name == HEIGHT else f"{label}{name}": values for name, values in maps.items()
        }
        tables.append(maps_table(named, x, y))
    joined = tables[0]
    for table in tables[1:]:
        joined = joined.merge(table, on=["x_pm", "y_pm"], how="outer")
    return table_csv(joined.sort_values(["x_pm", "y_pm"]))


def table_csv(table: pd.DataFrame) -> bytes:
    """A table as CSV of five digits."""
    text: str = table.to_csv(index=False, float_format=_DIGITS, lineterminator="\n")
    return text.encode("utf-8")


def _words(results: Results, name: str, prefix: str) -> Words:
    """Caption of a figure and what it shows."""
    made = _WORDS.get(name)
    if made is not None:
        return made(results)
    kind, _, rest = name.partition("_")
    of_one = _WORDS_OF_ONE.get(kind)
    if of_one is not None and rest:
        return of_one(results, rest)
    title = name.replace("_", " ")
    return f"{title}.", f"Figure: {title}. Its data, where there are any, follow its caption."


def _detections(results: Results, stem: str) -> Words:
    table = results.table("populations.csv")
    rows = table[table["image"] == stem] if len(table) else table
    material = results.material
    shown = [name for name in material.all_class_names if name not in material.class_names[:2]]
    counts = ", ".join(
        f"{row['columns']:.0f} {row['class']}"
        for _, row in rows.iterrows()
        if row["class"] in shown
    )
    caption = f"Defects of {stem} by class, over the image: {counts or 'none'}."
    return caption, f"ADF-STEM image {stem} with a symbol on every defect found: {counts}."


def _weights(results: Results) -> Words:
    material = results.material
    caption = (
        f"How bright the columns of all images are, by class, in units of the {material.metal} "
        "column: steps are the columns by the class given to them, lines what their probabilities "
        f"expect; left {material.chalcogen} sites, right {material.metal} sites."
    )
    rows = results.populations()
    shares = ", ".join(
        f"{row['class']} {number(100 * row['concentration'], '.2f')} %"
        for _, row in rows.iterrows()
        if row["class"] in material.all_class_names
    )
    return caption, f"Histograms of column brightness, one peak a class. Shares: {shares}."


def _counts(results: Results) -> str:
    return ", ".join(f"{name} N = {row['n']:.0f}" for name, row in results.spacings().iterrows())


def _averages(results: Results) -> Words:
    side = results.parameter("average", "window_nm")
    caption = (
        "Class averages in the lattice frame, with the number of windows and their expected "
        f"purity; above them, where shown, one window of each. Sides are {number(side, 'g')} "
        "nm; one grey scale for all."
    )
    alt = f"Row of atomically resolved class averages: {_counts(results)}. The defect is central."
    return caption, alt


def _spacings(results: Results) -> Words:
    between = results.material.spacing_between(results.spacings().index.astype(str))
    caption = (
        f"{between[0].upper()}{between[1:]}, mean of three: (a) in single windows, (b) in class "
        "averages over bootstrap samples, (c) the same of all classes."
    )
    values = "; ".join(
        f"{name} {with_error(float(row['spacing_pm']), float(row['precision_pm']))} pm"
        for name, row in results.spacings().iterrows()
        if pd.notna(row["spacing_pm"])
    )
    alt = f"Histograms of spacings, narrow for averages: {values}. Strains: {_strains(results)}."
    return caption, alt


def _precision(results: Results) -> Words:
    caption = (
        "Precision of one spacing (circles, left scale) and gain in signal to noise (squares, "
        "right scale) against the number of defect-free windows averaged, both logarithmic; the "
        "solid line is a fit with a floor, the dotted one the Cramér-Rao bound, the broken one √N."
    )
    table = results.table("precision.csv")
    alt = "Log-log plot: precision falls as one over the root of N while signal to noise rises."
    if len(table):
        own = table[table["class"] == table["class"].iloc[0]]
        first, last = own.iloc[0], own.iloc[-1]
        alt += (
            f" From {first['precision_pm']:.1f} pm at N = {first['n']:.0f} to "
            f"{last['precision_pm']:.2f} pm at N = {last['n']:.0f}."
        )
    return caption, alt


def _strains(results: Results) -> str:
    rows = results.spacings()
    kept = rows[~rows.index.isin(results.material.references)] if len(rows) else rows
    return "; ".join(f"{name} {strain_text(row)}" for name, row in kept.iterrows())


def _precision_by_class(results: Results) -> Words:
    caption = (
        "Precision of one spacing against the number of windows averaged, by class, with fits; "
        "dotted the precision that is aimed at, broken the floor of the defect-free class. In "
        "words how many windows the aim takes."
    )
    rows = results.spacings()
    said = ", ".join(
        f"{name} {number(row['windows_needed'], '.0f')} (there are {row['n']:.0f})"
        for name, row in rows.iterrows()
        if "windows_needed" in rows and pd.notna(row["windows_needed"])
    )
    return caption, f"Log-log plot of falling lines, one a class. Windows needed: {said}."


def _budget(results: Results) -> Words:
    caption = (
        "Error budget by class, one standard deviation a part: (a) of the strain of the nearest "
        "spacing, (b) of the columns' displacements. Lines across are the totals; parts are told "
        "apart by hatching, too."
    )
    table = results.table("budget.csv")
    table = table[~table["class"].isin(results.material.references)] if len(table) else table
    largest = []
    for name in dict.fromkeys(table["class"]) if len(table) else ():
        own = table[(table["class"] == name) & table["kind"].isin(("statistical", "systematic"))]
        if own["strain"].notna().any():
            part = own.loc[own["strain"].idxmax()]
            largest.append(f"{name} {part['part']} ({number(100 * part['strain'], '.3f')} %)")
    return caption, f"Grouped bars, a group a class. Largest parts: {', '.join(largest)}."


def _displacement(results: Results) -> Words:
    smoothing = number(results.parameter("strain", "smoothing_pm"), "g")
    caption = (
        f"Displacement of every column on its class average ({_ARROWS_SAY.lower()}), and below it "
        f"the measured dilation, smoothed by {smoothing} pm; growth positive (red, solid "
        "contours), shrinkage negative (blue, broken contours)."
    )
    table = results.table("displacement.csv")
    longest = []
    for name, own in table.groupby("class", sort=False) if len(table) else ():
        length = (own["ux_pm"] ** 2 + own["uy_pm"] ** 2) ** 0.5
        longest.append(f"{name} {length.max():.1f} pm")
    said = ", ".join(longest)
    alt = f"Arrows over the averages and maps of dilation. Longest displacement: {said}."
    return caption, alt


def _strain(results: Results, name: str) -> Words:
    caption = (
        f"Strain around {name}: exx, eyy, exy, rotation and dilation, each above its standard "
        "error. Tension positive (red, solid contours), compression negative (blue, broken "
        "contours); dots are metal columns, rings chalcogen ones."
    )
    return (
        caption,
        f"Ten maps around {name}, five components and their errors. {_extremes(results, name)}",
    )


def _extremes(results: Results, name: str) -> str:
    file = f"strain_{name}.tif"
    if not results.has(file):
        return ""
    maps, x, y = read_maps(results.path / file)
    table = maps_table(maps, x, y)
    texts = []
    for component in STRAIN_COMPONENTS:
        if component in table and table[component].notna().any() and component != "rotation":
            low, high = 100 * table[component].min(), 100 * table[component].max()
            texts.append(f"{component} from {number(low, '+.1f')} to {number(high, '+.1f')} %")
    return f"Ranges: {', '.join(texts)}."


def _theory(results: Results) -> Words:
    caption = (
        "Mean displacement away from the defect, shell by shell of columns, measured (circles with "
        "standard errors) beside theories; lines between the shells of a theory mean nothing."
    )
    table = results.table("theory.csv")
    best = ", ".join(
        f"{row['class']} {row['best']}"
        for _, row in table.iterrows()
        if "best" in table and isinstance(row["best"], str)
    )
    return caption, f"Plots of displacement against distance. Best by AIC: {best or 'not told'}."


def _theory_of(results: Results, name: str) -> Words:
    caption = (
        f"Strain around {name}: measured, theories sampled at the same columns and smoothed alike, "
        "and the difference, with the same colour limits."
    )
    return caption, f"Rows of strain maps around {name}, a row for the measurement and each theory."


def _class_parts(results: Results) -> Words:
    caption = (
        "What each class is made of: every window by the weight of its centre and the size of its "
        "triangle of metals; ellipses are two standard deviations of the noise around each "
        "population, dotted the undistorted triangle."
    )
    table = results.table("class_parts.csv")
    counts = table.groupby("class", sort=False).size() if len(table) else pd.Series(dtype=int)
    said = ", ".join(f"{n} {k} population{'s' if k > 1 else ''}" for n, k in counts.items())
    return caption, f"Scatter plots, a panel a class: {said}."


def _variability(results: Results) -> Words:
    caption = (
        "How the windows of each class vary: the first principal components of the pixels around "
        "the defect, with their share of the variance and how much of that is noise."
    )
    table = results.table("variability.csv")
    own = table[~table["is_noise"].astype(bool)] if "is_noise" in table else pd.DataFrame()
    named = ", ".join(f"{row['class']} {row['what']}" for _, row in own.iterrows()) or "none"
    return caption, f"Small maps, a row a class. More than noise: {named}."


def _half_sets(results: Results) -> Words:
    caption = (
        "Ring correlation of the averages of two independent halves of each class against spatial "
        "frequency, and the strains of both with their pull."
    )
    table = results.table("half_sets.csv")
    said = ", ".join(
        f"{row['class']} to {row['resolution_pm']:.0f} pm"
        for _, row in table.iterrows()
        if pd.notna(row["resolution_pm"])
    )
    return caption, f"Curves that fall from one with frequency; they cross one half at: {said}."


def _drift(results: Results, stem: str) -> Words:
    table = results.table(f"{stem}.drift.csv")
    caption = f"Drift of the frames of {stem} with standard errors; dotted: frames left out."
    bad = int(table["bad"].sum()) if "bad" in table else 0
    return caption, f"Drift in x and y against the frame, {len(table)} frames, {bad} left out."


def _populations(results: Results) -> Words:
    table = results.table("populations.csv")
    defects = [name for name in results.material.all_class_names[2:] if name in set(table["class"])]
    caption = (
        "Share of each class in every image with Wilson's interval of 95 %, and in all images "
        "together; whether images scatter more than counts do is said in each panel."
    )
    return caption, f"Points with error bars, one an image, a panel each for {', '.join(defects)}."


def _outside(results: Results, file: str) -> str:
    """How many of the counts of all images together lie outside of their envelopes."""
    table = results.table(file)
    if "outside" not in table:
        return "Not told which lie outside of their envelopes."
    rows = table[table["image"] == "all"]
    flags = rows["outside"].astype(str).isin(("True", "1", "1.0", "above", "below"))
    return f"{int(flags.sum())} of {len(rows)} counts lie outside of their envelopes."


def _pairs(results: Results) -> Words:
    caption = (
        "Pair correlation of each pair of classes, shell by shell, in all images together: 1 is "
        "random; the band is the envelope of random placements on the same sites."
    )
    said = _outside(results, "pair_correlation.csv")
    return caption, f"Plots of pair correlation against distance, a panel a pair. {said}"


def _clusters(results: Results) -> Words:
    caption = (
        "How vacancies and other defects cluster, and how far the nearest defect is, beside what "
        "random placements on the same sites give."
    )
    return caption, f"Counts beside their envelopes. {_outside(results, 'clusters.csv')}"


_WORDS: Mapping[str, Callable[[Results], Words]] = {
    "weights": _weights,
    "populations": _populations,
    "pair_correlation": _pairs,
    "clusters": _clusters,
    "averages": _averages,
    "spacings": _spacings,
    "precision": _precision,
    "precision_by_class": _precision_by_class,
    "budget": _budget,
    "displacement": _displacement,
    "theory": _theory,
    "class_parts": _class_parts,
    "variability": _variability,
    "half_sets": _half_sets,
}
_WORDS_OF_ONE: Mapping[str, Callable[[Results, str], Words]] = {
    "detections": _detections,
    "strain": _strain,
    "theory": _theory_of,
    "drift": _drift,
}
