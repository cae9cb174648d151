"""``defectstrain audit``: columns drawn at random, labelled blind, and what the labels say."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from ..evaluation.audit import (
    AUDIT_TABLE,
    Audit,
    AuditConfig,
    draw_audit,
    has_audit,
    judged_otherwise,
    read_audit,
    write_audit,
)
from ..evaluation.audit_folders import (
    AuditedFolder,
    audit_coverage,
    labelled_by,
    read_audited,
    true_labels,
    true_scores,
)
from ..evaluation.audit_scores import score_audit, scores_text
from ..study import named_folder, said_of_results
from ..types import DefectStrainError, Progress
from .evaluate import class_map_of
from .main import say, say_warnings, without_none


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``audit``."""
    add = parser.add_argument
    add("results", type=Path, metavar="RESULTS", help="folder of a run, or a study")
    add("--columns", type=int, metavar="N", help="columns to draw (100)")
    add("--seed", type=int, metavar="N", help="seed of the draw (0)")
    add("--force", action="store_true", help="draw again where an audit is, and forget its labels")
    add(
        "--truth",
        type=Path,
        metavar="DIR",
        help="label by tables of true columns instead, print what is true beside; writes nothing",
    )
    add(
        "--class",
        dest="class_map",
        action="append",
        default=[],
        metavar="NAME=CLASS",
        help="what a name in the truth means, for instance hole=DV; may be repeated",
    )
    add(
        "--repeat",
        type=int,
        default=1,
        metavar="M",
        help="with --truth: how often the intervals of M audits hold what is true (1)",
    )


def run_audit(options: argparse.Namespace, progress: Progress) -> int:
    """Draw an audit where there is none, else say what its labels tell; or ask truth."""
    config = AuditConfig(**without_none({"columns": options.columns, "seed": options.seed}))
    audited = read_audited(named_folder(options.results))
    say_warnings(said_of_results(audited.folder))
    if options.truth is not None:
        return _by_truth(options, audited, config, progress)
    if options.repeat != 1 or options.class_map:
        raise DefectStrainError("--repeat, --class: got no --truth to label by")
    folder = audited.folder
    if has_audit(folder) and not options.force:
        if options.columns is not None or options.seed is not None:
            raise DefectStrainError(
                f"{folder}: holds an audit, which has its columns; --force draws others and "
                "forgets its labels"
            )
        audit = read_audit(folder)
        said = judged_otherwise(audit, audited.images)
        say_warnings([f"{line}: it judges those of before" for line in said])
    else:
        audit = draw_audit(audited.images, config)
    scores = score_audit(audit) if audit.labelled else None
    write_audit(audit, folder, scores)
    say(_state(audit, folder))
    if scores is not None:
        say(scores_text(scores))
    return 0


def _state(audit: Audit, folder: Path) -> str:
    """How far the labelling is, and what to do."""
    done = f"{audit.labelled} of {len(audit.table)} columns labelled"
    if audit.complete:
        return done
    return (
        f"{done}; label the others in napari (Detect columns, Audit), which shows them blind, or "
        f"in the column label of {folder / AUDIT_TABLE} by the names of classes, ? for can't tell"
    )


def _by_truth(
    options: argparse.Namespace, audited: AuditedFolder, config: AuditConfig, progress: Progress
) -> int:
    """One audit with truth as the labeller beside what is true, or the coverage of many."""
    if options.repeat < 1:
        raise DefectStrainError(f"--repeat: got {options.repeat}, expected 1 or more")
    labels = true_labels(audited, options.truth, class_map_of(options.class_map))
    say("all columns, by truth")
    say(_text(true_scores(audited.images, labels)))
    if options.repeat == 1:
        audit = labelled_by(draw_audit(audited.images, config), labels)
        say(f"audit of {len(audit.table)} of them, seed {config.seed}")
        say(scores_text(score_audit(audit)))
        return 0
    table = audit_coverage(audited, labels, config, options.repeat, progress)
    say(f"{options.repeat} audits of {config.columns} columns each")
    say(_text(table))
    return 0


def _text(table: pd.DataFrame) -> str:
    return str(table.to_string(index=False, float_format="%.4f", na_rep="-"))
