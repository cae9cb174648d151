"""A report as a PDF, and both forms of it as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...io.out_folder import check_inputs
from ...io.writing import atomic_path
from ...types import DefectStrainError, Progress, no_progress
from .blocks import Block, Checklist, Listing, Paragraph, Picture, Report, Sheet
from .contents import make_report
from .folder import read_results, results_path
from .page import DETECTIONS, report_html
from .pictures import SHOWN_PER_INCH

if TYPE_CHECKING:
    from ..figures.leaves import Leaves

REPORT_SUFFIXES = (".html", ".pdf")
_MOST_ROWS = 30
"""Of long tables in print; the page and the files have all rows."""
_LONG_CELL = 64
_SVG = "image/svg+xml"
_MADE_BY = b"napari-defectstrain"
"""Said by every report: as the generator of a page, as the creator of a document."""


def report_path(folder: Path | str) -> Path:
    """Where the report of a folder is written, unless said otherwise: ``report.html`` in it."""
    return results_path(Path(folder)) / f"report{REPORT_SUFFIXES[0]}"


def is_report(path: Path) -> bool:
    """Whether a file is a report that was written by us."""
    try:
        return _MADE_BY in path.read_bytes()
    except OSError:
        return False


def write_report(
    folder: Path | str, path: Path | str | None = None, progress: Progress = no_progress
) -> Path:
    """Write the report of a folder of results.

    Parameters
    ----------
    folder : path
        Of a run, or a study.
    path : path, optional
        Ends in .html (one page that holds all) or .pdf (for print); ``report.html`` beside the
        results by default. Overwritten; the results themselves are never.
    progress : Progress

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    DefectStrainError
        If there are no results, a file of them is damaged, the ending is another one, or the file
        can't be written.
    """
    results = read_results(folder)
    path = report_path(folder) if path is None else Path(path)
    if path.suffix.lower() not in REPORT_SUFFIXES:
        raise DefectStrainError(
            f"{path.name}: got the ending {path.suffix or 'of none'}, expected .html or .pdf"
        )
    if path.resolve().parent == results.path.resolve() and path.name in _names(results.about):
        raise DefectStrainError(f"{path}: is a result itself; choose another name")
    check_inputs(path.parent, [path.name], [results.path / "run.json"])
    progress(0.0, "reading results")
    report = make_report(folder)
    progress(0.7, f"writing {path.name}")
    if path.suffix.lower() == ".pdf":
        write_document(report, path)
    else:
        text = report_html(report)
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    progress(1.0, "done")
    return path


def _names(about: object) -> list[str]:
    files = about.get("files") if isinstance(about, dict) else None
    return [str(name) for name in files] if isinstance(files, list) else []


def write_document(report: Report, path: Path) -> None:
    """The PDF: the same blocks in the same order, long tables cut.

    Parameters
    ----------
    report : Report
    path : Path
    """
    from ..figures.leaves import Leaves  # matplotlib: only where something is drawn

    figure_of = {picture.name: k for k, picture in enumerate(report.pictures, 1)}
    table_of = {sheet.name: k for k, sheet in enumerate(report.sheets, 1)}
    with atomic_path(path) as temporary, Leaves(temporary, report.title) as leaves:
        leaves.heading(report.title, 17.0)
        leaves.text(report.subtitle, 10.0, "0.35")
        for section in report.sections:
            first = section.blocks[0]
            leaves.heading(section.title, room_inch=4.5 if isinstance(first, Picture) else 1.6)
            for block in section.blocks:
                _write(block, leaves, figure_of, table_of)


def _write(
    block: Block, leaves: Leaves, figure_of: dict[str, int], table_of: dict[str, int]
) -> None:
    if isinstance(block, Paragraph):
        leaves.text(block.text)
    elif isinstance(block, Listing):
        for k, item in enumerate(block.items, 1):
            leaves.text(item, 8.5, mark=f"{k}." if block.numbered else "•")
    elif isinstance(block, Checklist):
        rows = [(c.subject, f"{c.sign} {c.verdict}", c.value, c.reason) for c in block.checks]
        leaves.table("", ("Subject", "Verdict", "Value", "Why"), rows)
    elif isinstance(block, Picture):
        caption = f"Figure {figure_of[block.name]}. {block.caption}"
        if block.mime == _SVG:
            leaves.text(f"{caption} (In the page and in figures/{block.name}.svg only.)", 8.0)
        else:
            size = (block.width_px / SHOWN_PER_INCH, block.height_px / SHOWN_PER_INCH)
            if block.name.startswith(DETECTIONS):
                size = (0.5 * size[0], 0.5 * size[1])
            leaves.picture(block.content, caption, size)
    else:
        _write_sheet(block, leaves, table_of[block.name])


def _write_sheet(sheet: Sheet, leaves: Leaves, number: int) -> None:
    caption = f"Table {number}. {sheet.caption}"
    widest = max((len(row) for row in sheet.rows), default=len(sheet.head))
    if sheet.folded and widest > 6:
        leaves.text(f"{caption} (In the page and in the folder only.)", 8.0, "0.35")
        return
    rows = [[_short(cell) for cell in row] for row in sheet.rows[:_MOST_ROWS]]
    if len(sheet.rows) > _MOST_ROWS and not sheet.folded:
        caption += f" The first {_MOST_ROWS} of {len(sheet.rows)} rows."
    if sheet.folded:
        rows = [[_short(cell, 2 * _LONG_CELL) for cell in row] for row in sheet.rows]
    leaves.table(caption, sheet.head, rows, 7.0)


def _short(cell: str, most: int = _LONG_CELL) -> str:
    return cell if len(cell) <= most else f"{cell[: most - 1]}…"
