"""``defectstrain evaluate``: how good a detection is, against truth."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from tqdm import tqdm

from ..failures import Failures
from ..io.out_folder import check_inputs, check_out_dir
from ..materials import DEFECT_ROLES, MATERIALS
from ..types import DefectStrainError, Progress
from .main import say, say_done

if TYPE_CHECKING:
    from ..evaluation.calibration_curve import Reliability
    from ..evaluation.folders import Evaluation

_MIN_CURVE_IMAGES = 7
"""Fewer images make no curve worth printing; the table is written all the same."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``evaluate``."""
    add = parser.add_argument
    add("predictions", type=Path, metavar="PRED_DIR", help="<stem>.sites.csv and run.json")
    add("truth", type=Path, metavar="TRUTH_DIR", help="<stem>.truth.csv, .sites.csv or .csv")
    add("--out", type=Path, metavar="DIR", help="folder of tables and figures")
    add("--force", action="store_true", help="write into DIR even if it isn't empty")
    add("--strict", action="store_true", help="do nothing if any image can't be compared")
    add("--figures", default="png", metavar="F,...", help="some of png, pdf, svg (png)")
    add("--images", type=Path, metavar="DIR", help="folder of the images (that of the truth)")
    add("--pixel-size-pm", type=float, metavar="P", help="pixel size [pm] of all images")
    add("--material", help=f"one of {', '.join(sorted(MATERIALS))} (that of run.json)")
    add(
        "--class",
        dest="class_map",
        action="append",
        default=[],
        metavar="NAME=CLASS",
        help="what a name in the truth means, for instance hole=DV; may be repeated",
    )
    add(
        "--classes",
        metavar="CLASS,...",
        help="defects that the truth lists, where it doesn't list all columns",
    )
    add("--radius-pm", type=float, default=150.0, metavar="R", help="hit radius [pm] (150)")
    add("--oracle", action="store_true", help="judge the images by the oracle too")


def evaluate(options: argparse.Namespace, progress: Progress) -> int:
    """Compare detections with truth: print the tables, and write them where asked to."""
    from ..evaluation.folders import Options, evaluate_folders
    from ..evaluation.tables import reliabilities
    from ..output.results import figure_formats

    formats = figure_formats(options.figures)
    sizes = (options.radius_pm, 1.0 if options.pixel_size_pm is None else options.pixel_size_pm)
    if not all(0 < size < math.inf for size in sizes):
        raise DefectStrainError("--radius-pm, --pixel-size-pm: expected numbers above 0")
    if options.out is not None:
        _check_out(options)
    made = evaluate_folders(
        options.predictions,
        options.truth,
        Options(
            images=options.images,
            pixel_size_pm=options.pixel_size_pm,
            material=options.material,
            class_map=class_map_of(options.class_map),
            classes=_classes(options.classes),
            radius_pm=options.radius_pm,
            with_oracle=options.oracle,
        ),
        progress,
        Failures(options.strict),
    )
    for note in made.notes:
        tqdm.write(f"defectstrain: note: {note}", file=sys.stderr)
    found = reliabilities(made) if made.judged else {}
    say(report(made, found))
    if options.out is not None:
        from ..output.evaluation import write_evaluation

        say("")
        sources = [options.predictions, options.truth]
        write_evaluation(made, found, options.out, sources, formats)
    return say_done(options.out, made.failed)


def _check_out(options: argparse.Namespace) -> None:
    """See that the tables go into a folder of their own."""
    from ..output.evaluation import EVALUATION_FILE, evaluation_files

    check_out_dir(options.out, options.force, EVALUATION_FILE)
    sources = [f for f in (options.predictions, options.truth, options.images) if f is not None]
    for folder in sources:
        if folder.is_dir() and options.out.is_dir() and folder.samefile(options.out):
            raise DefectStrainError(
                f"--out: got {options.out}, which is read; choose a folder for the tables alone"
            )
    inputs = [path for folder in sources if folder.is_dir() for path in folder.iterdir()]
    check_inputs(options.out, evaluation_files(), inputs)


def class_map_of(texts: list[str]) -> dict[str, str]:
    """Names of classes in the truth and what they mean, from ``NAME=CLASS``."""
    pairs = [text.partition("=") for text in texts]
    for name, sign, target in pairs:
        if not (name.strip() and sign and target.strip()):
            raise DefectStrainError(f"--class: got {name + sign + target!r}, expected NAME=CLASS")
    return {name: target for name, _, target in pairs}


def _classes(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    short = {"SV": "V1", "DV": "V2"}
    roles = tuple(short.get(part.strip(), part.strip()) for part in text.split(","))
    unknown = [role for role in roles if role not in DEFECT_ROLES]
    if unknown:
        raise DefectStrainError(
            f"--classes: got {', '.join(unknown)}, expected some of {', '.join(DEFECT_ROLES)}"
        )
    return roles


def report(made: Evaluation, found: dict[str, Reliability]) -> str:
    """All tables as text."""
    from ..evaluation import tables as tables
    from ..evaluation.folders import margin_text

    n = len(made.comparisons)
    rim = f"{n} image{'s' * (n > 1)}; hit radius {made.radius_pm:g} pm, one to one; {margin_text()}"
    parts = [rim]
    if made.judged:
        parts.append("scores (in brackets the paper's Table S2)")
        parts.append(_text(beside_paper(tables.scores_table(made))))
    parts += ["columns of any class, position errors per axis", _text(tables.columns_table(made))]
    if not made.judged:
        return "\n\n".join(parts)
    confusion = tables.confusion_table(made).drop(columns="look_alike")
    parts += ["confusion (rows: true, look-alikes last; columns: found)", _text(confusion)]
    parts += ["each image", _text(tables.images_table(made))]
    parts += [
        "calibration, 0.02 < p < 0.98 (ECE_if_true: by chance, were all probabilities true)",
        _text(tables.calibration_table(found)),
    ]
    parts += ["purity of what was given each class", _text(tables.purity_check(made))]
    parts += ["position errors by class [pm]", _text(tables.positions_table(made))]
    curves = tables.curves_table(made)
    if len(curves) and n >= _MIN_CURVE_IMAGES:
        shown = curves[[c for c in curves if not c.endswith("_std")]]
        parts += ["F1 against conditions, images of similar value together", _text(shown)]
    return "\n\n".join(parts)


def beside_paper(table: pd.DataFrame) -> pd.DataFrame:
    """The scores with the paper's in brackets behind, for people."""
    shown = table[["class", "columns"]].copy()
    for name in table.columns[2:]:
        if name.startswith("paper_"):
            continue
        shown[name] = [f"{value:.4f}" for value in table[name]]
        if f"paper_{name}" in table:
            shown[name] += [f" ({value:.4f})" for value in table[f"paper_{name}"]]
    return shown.replace("nan", "-", regex=True)


def _text(table: pd.DataFrame) -> str:
    def number(value: float) -> str:
        return f"{value:.4g}" if abs(value) >= 10 else f"{value:.4f}"

    return str(table.to_string(index=False, float_format=number, na_rep="-"))
