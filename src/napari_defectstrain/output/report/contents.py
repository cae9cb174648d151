"""What a report holds, in the order in which a reader asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..results import CROWDED, EDITS_FILE
from . import sheets
from .blocks import (
    DOUBT,
    MET,
    NOT_GIVEN,
    NOT_MET,
    Block,
    Checklist,
    Listing,
    Paragraph,
    Report,
    Section,
)
from .checklist import audit_values, failed_lines, reviewer_checks
from .folder import Results, read_results
from .methods import methods_text
from .pictures import Pictures

_OWN_TABLES = {
    *("populations.csv", "spacings.csv", "columns.csv", "displacement.csv", "budget.csv"),
    *("precision.csv", "lattices.csv", "theory.csv", "class_parts.csv", "variability.csv"),
    *("half_sets.csv", "crowded_columns.csv", "crowded_displacement.csv", "crowded_budget.csv"),
    *("edits.csv", "audit.csv", "pair_correlation.csv", "clusters.csv", "nearest_defects.csv"),
}
"""Tables that have their place; others that lie in the folder come with what was added to it."""
_PATTERNS = {
    "pair_correlation": (
        "Pair correlation of each pair of classes against random placement on the same sites, with "
        "the envelope of random placements."
    ),
    "clusters": "Clusters of vacancies, against random placement.",
    "nearest_defects": "Distances to the nearest defect, against random placement.",
}
"""Tables of how defects lie; figures of the same names stand before them."""
_OF_ONE_IMAGE = (".sites.csv", ".regions.csv", ".drift.csv")


def make_report(folder: Path | str) -> Report:
    """All that a folder of results says.

    Parameters
    ----------
    folder : path
        Of a run, or a study.

    Returns
    -------
    Report

    Raises
    ------
    DefectStrainError
        If there are no results, or a file of them is damaged.
    """
    results = read_results(folder)
    pictures = Pictures(results)
    makers = (
        ("summary", "Summary", _summary(results)),
        ("checklist", "Reviewer’s checklist", _checklist(results)),
        ("images", "Images", _images(results, pictures)),
        ("detection", "Detection and populations", _detection(results, pictures)),
        ("averages", "Class averages and spacings", _averages(results, pictures)),
        ("strain", "Displacement and strain", _strain(results, pictures)),
        ("theory", "Beside theories", _theory(results, pictures)),
        ("budget", "Error budget", _budget(results, pictures)),
        ("every-defect", "Averages of every defect", _crowded(results, pictures)),
        ("by-hand", "Corrected by hand", _by_hand(results)),
        ("audit", "Audit by a person", _audit(results)),
        ("further", "Further results in the folder", _further(results, pictures)),
        ("methods", "Methods, to adapt", _methods(results)),
        ("warnings", "Warnings and images left out", _warnings(results, pictures)),
        ("provenance", "Provenance", _provenance(results)),
    )
    sections = [Section(name, title, tuple(blocks)) for name, title, blocks in makers]
    return Report(_title(results), _subtitle(results), tuple(s for s in sections if s.blocks))


def _title(results: Results) -> str:
    material = str(results.parameter("material") or results.material.label)
    what = "Strain of single-atom defects" if len(results.spacings()) else "Point defects"
    return f"{what} in {material}"


def _subtitle(results: Results) -> str:
    count = len(results.images)
    version = results.about.get("version", "of unknown version")
    return (
        f"{count} ADF-STEM image{'s' if count != 1 else ''}, measured by napari-defectstrain "
        f"{version}"
    )


def _only(*blocks: Block | None) -> Iterator[Block]:
    return (block for block in blocks if block is not None)


def _summary(results: Results) -> Iterator[Block]:
    yield from _only(sheets.results_sheet(results))
    if not len(results.spacings()):
        yield Paragraph("Columns were detected and counted; no averages were measured.")
    checks = Checklist(reviewer_checks(results))
    named = [f"{checks.count(MET)} met"]
    for verdict in (NOT_MET, DOUBT, NOT_GIVEN):
        subjects = [check.subject for check in checks.checks if check.verdict == verdict]
        if subjects:
            named.append(f"{len(subjects)} {verdict} ({', '.join(subjects)})")
    warnings = len(results.about.get("warnings") or [])
    yield Paragraph(
        f"The reviewer’s checklist has {len(checks.checks)} points: {', '.join(named)}. The run "
        f"gave {warnings or 'no'} warning{'s' if warnings != 1 else ''}."
    )


def _checklist(results: Results) -> Iterator[Block]:
    yield Paragraph(
        "What a reviewer asks, answered from the files alone. Verdicts: ✓ met, ! in doubt, ✗ not "
        "met, ? not given (by the files: state it by hand)."
    )
    yield Checklist(reviewer_checks(results))


def _images(results: Results, pictures: Pictures) -> Iterator[Block]:
    yield sheets.images_sheet(results)
    yield from pictures.take_all("drift_")
    caption = "Lattice and probe of each domain of each image."
    yield from _only(sheets.plain_sheet(results, "lattices.csv", caption))


def _detection(results: Results, pictures: Pictures) -> Iterator[Block]:
    yield from _only(sheets.populations_sheet(results))
    yield from pictures.take("weights")
    yield from pictures.take_all("detections_")
    yield from pictures.take("populations")
    for name, caption in _PATTERNS.items():
        yield from pictures.take(name)
        yield from _only(sheets.plain_sheet(results, f"{name}.csv", caption))


def _averages(results: Results, pictures: Pictures) -> Iterator[Block]:
    for name in ("averages", "spacings", "precision_by_class", "precision", "half_sets"):
        yield from pictures.take(name)
    for name in ("class_parts", "variability"):
        yield from pictures.take(name)


def _strain(results: Results, pictures: Pictures) -> Iterator[Block]:
    yield from pictures.take("displacement")
    for name in results.spacings().index:
        yield from pictures.take(f"strain_{name}")


def _theory(results: Results, pictures: Pictures) -> Iterator[Block]:
    yield from pictures.take("theory")
    for name in results.spacings().index:
        yield from pictures.take(f"theory_{name}")
    caption = "Numbers for elastic theory, and how well each theory explains the measurement."
    yield from _only(sheets.plain_sheet(results, "theory.csv", caption))


def _budget(results: Results, pictures: Pictures) -> Iterator[Block]:
    yield from _only(sheets.budget_sheet(results))
    yield from pictures.take("budget")


def _crowded(results: Results, pictures: Pictures) -> Iterator[Block]:
    yield from pictures.take_all(CROWDED)
    yield from _only(sheets.budget_sheet(results, CROWDED))


def _by_hand(results: Results) -> Iterator[Block]:
    yield from _only(sheets.by_hand_sheet(results), sheets.edits_sheet(results))
    caption = (
        "History of the corrections, the oldest first: who changed which column, window or region "
        "when, from what, to what; what was taken back later is among it."
    )
    yield from _only(sheets.plain_sheet(results, EDITS_FILE, caption))


def _audit(results: Results) -> Iterator[Block]:
    audit = audit_values(results)
    if not audit:
        return
    yield Paragraph(
        f"{audit.get('labelled', 0)} of {audit.get('columns', 0)} columns, drawn at random from "
        "strata by class and doubt, were labelled by a person who didn’t see what they had been "
        f"taken for; {audit.get('unsure', 0)} couldn’t be told."
    )
    yield from _only(sheets.audit_sheet(audit.get("scores")))
    caption = "Columns of the audit, what they were taken for and the label given."
    yield from _only(sheets.plain_sheet(results, "audit.csv", caption))


def _further(results: Results, pictures: Pictures) -> Iterator[Block]:
    """Tables and figures that other commands left in the folder."""
    for path in sorted(results.path.glob("*.csv")):
        if path.name in _OWN_TABLES or path.name.endswith(_OF_ONE_IMAGE) or ".kept" in path.name:
            continue
        caption = f"{path.stem.replace('_', ' ')}."
        yield from _only(sheets.plain_sheet(results, path.name, caption))
    yield from pictures.take_all("")


def _methods(results: Results) -> Iterator[Block]:
    paragraphs, references = methods_text(results)
    yield Paragraph(
        "Made from the parameters of this run. Adapt it; what stands in square brackets in "
        "capitals isn’t in the files."
    )
    yield from (Paragraph(text) for text in paragraphs)
    yield Listing(tuple(references), numbered=True)


def _warnings(results: Results, pictures: Pictures) -> Iterator[Block]:
    said = [str(text) for text in results.about.get("warnings") or []]
    said += [f"left out: {line}" for line in failed_lines(results)]
    said += results.notes
    hidden = pictures.only_in_print()
    if hidden:
        said.append(
            "figures that lie in the folder as PDF only, and aren't shown here: "
            f"{', '.join(hidden)} (run with --figures png,pdf)"
        )
    yield Listing(tuple(said)) if said else Paragraph("None.")


def _provenance(results: Results) -> Iterable[Block]:
    yield sheets.versions_sheet(results)
    yield sheets.hashes_sheet(results)
    yield sheets.parameters_sheet(results)
    seconds = results.about.get("seconds") or {}
    if seconds:
        total = sum(float(value) for value in seconds.values())
        parts = ", ".join(f"{name} {float(value):.0f} s" for name, value in seconds.items())
        yield Paragraph(f"Time: {parts}; {total:.0f} s in all.")
