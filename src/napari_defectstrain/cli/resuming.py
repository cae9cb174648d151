"""Going on where a run stopped, who does the work, and what a hand made: options of ``run``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..types import CalibratedImage, DefectStrainError

if TYPE_CHECKING:
    from ..io.stage_store import StageStore
    from ..pipeline.work import Work

INPUTS = "inputs"
"""Key of ``run.json``: the hash of all that the run was made from."""


def add_work(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how the stages are done."""
    add = parser.add_argument
    add(
        "--resume",
        action="store_true",
        help="keep what every stage finds in DIR/stages, and take from there what is known",
    )
    add(
        "--discard-edits",
        action="store_true",
        help="with --force or --resume: replace results that were changed by hand, unasked",
    )
    add("--jobs", type=int, metavar="N", help="processes for what is independent by image (cores)")
    add("--threads", action="store_true", help="threads instead of processes")
    add("--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers do it instead")


def material_help(or_else: str) -> str:
    """Which materials there are, and which the bundled network was trained on."""
    from ..detect.network.bundled import bundled_materials
    from ..materials import MATERIALS

    return (
        f"one of {', '.join(sorted(MATERIALS))} (WSe2) or a formula such as 'TaS2(S, 334)'; the "
        f"bundled weights were trained on {', '.join(bundled_materials())}; for the others better "
        f"give {or_else}"
    )


@contextmanager
def working(
    options: argparse.Namespace, store: StageStore | None = None, images: int = 0
) -> Iterator[Work]:
    """Who does the stages and what is kept, as the options say, while the block is open.

    Parameters
    ----------
    options : Namespace
        With what `add_work` adds.
    store : StageStore, optional
        Where a study keeps what stages find; default: with --resume, in the folder of the results.
    images : int
        How many there are beside those that the options name.
    """
    from ..io.large_arrays import one_heap
    from ..io.stage_store import STAGES, StageStore
    from ..pipeline.work import Work
    from ..pipeline.workers import workers_for

    one_heap()
    if store is None and options.resume:
        store = StageStore(options.out / STAGES)
    if store is not None:
        store.tidy()
    asked = (options.jobs, options.scheduler, options.threads)
    with workers_for(images + len(options.images), *asked) as workers:
        yield Work(store, workers)


def may_write_into(options: argparse.Namespace, manifest: str) -> bool:
    """Whether a folder that holds something may be written into: it is resumed, or --force.

    Results of other images alone are nobody's to go on with.
    """
    from ..io.stage_store import STAGES
    from ..io.unfinished import json_object, mark_path

    out: Path = options.out
    if options.force or not options.resume:
        return bool(options.force)
    before = [_file_name(one) for one in json_object(out / manifest).get("images", [])]
    if any(before) and not {path.name for path in options.images} & set(before):
        return False
    own = (out / manifest, mark_path(out, manifest), out / STAGES)
    return any(path.exists() for path in own)


def _file_name(image: Any) -> str:
    """Of the file of an image of ``run.json``, wherever it lay; empty where none is known."""
    from ..pipeline.loading import PATH

    known = image.get("metadata", {}) if isinstance(image, dict) else {}
    return Path(str(known.get(PATH, ""))).name


def check_edits(options: argparse.Namespace, manifest: str) -> None:
    """See that nothing that a hand made is replaced unasked.

    Raises
    ------
    DefectStrainError
        If results were changed by hand since they were written and the user, asked where there is a
        terminal, doesn't say that they may be replaced.
    """
    from ..io.out_folder import changed_by_hand

    if options.discard_edits or not may_write_into(options, manifest):
        return
    changed = changed_by_hand(options.out, manifest)
    if not changed:
        return
    named = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
    if sys.stdin.isatty() and sys.stderr.isatty():
        print(f"defectstrain: changed by hand in {options.out}: {named}", file=sys.stderr)
        print("Replace? What is there is kept as NAME.kept. [y/N] ", end="", file=sys.stderr)
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
    raise DefectStrainError(
        f"{options.out}: changed by hand: {named}; choose another folder with --out, measure by "
        "what was corrected (--sites), or replace it with --discard-edits, which keeps it as "
        "NAME.kept"
    )


def inputs_key(
    options: argparse.Namespace,
    config: Any,
    images: Sequence[CalibratedImage],
    sites: Sequence[Any] | None,
    regions: Sequence[Any] | None,
) -> str:
    """A hash of all that the results of a run are made from."""
    from .. import __version__
    from ..io.content import content_key
    from ..io.out_folder import file_sha256
    from ..pipeline.by_image import weights_in_use
    from .references import reference_paths

    references = []
    width = getattr(options, "figure_width", None)
    widths = [] if width is None else [("figure_width", width)]
    for text in options.references:
        references += [text, *(file_sha256(path) for path in reference_paths(text)[1:])]
    return content_key(
        __version__,
        options.command,
        options.figures,
        config,
        list(images),
        sites,
        regions,
        () if sites is not None else weights_in_use(config),
        references,
        *widths,
    )


def is_up_to_date(out: Path, manifest: str, inputs: str) -> bool:
    """Whether the results in a folder are whole, as they were written, and of these inputs."""
    from ..failures import NO_MEMORY
    from ..io.out_folder import file_sha256
    from ..io.unfinished import json_object, mark_path

    found = json_object(out / manifest)
    if found.get(INPUTS) != inputs or mark_path(out, manifest).exists():
        return False
    if any(NO_MEMORY in failed.get("reason", "") for failed in found.get("failed", [])):
        return False  # there may be more of it now
    hashes: Mapping[str, str] = found.get("sha256", {})
    try:
        return all(file_sha256(out / name) == known for name, known in hashes.items())
    except OSError:
        return False


def changed_images(out: Path, manifest: str, images: Sequence[CalibratedImage]) -> list[str]:
    """What is to be said of images whose pixels are others than when they were measured."""
    from ..io.unfinished import json_object
    from ..pipeline.loading import PATH, PIXELS

    before: dict[tuple[Any, Any], Any] = {}
    for one in json_object(out / manifest).get("images", []):
        known = one.get("metadata", {})
        before[known.get(PATH), one.get("name")] = known.get(PIXELS)
    return [
        f"{image.name}: its pixels are not those of the earlier run: all of it is done again"
        for image in images
        if before.get((image.metadata.get(PATH), image.name), now := image.metadata.get(PIXELS))
        != now
    ]


def work_in_words(work: Work) -> list[str]:
    """One line on what was done and what was taken from the store; none without a store."""
    if work.store is None:
        return []
    done, taken = sum(work.done.values()), sum(work.taken.values())
    said = [f"stages: {done} done, {taken} taken from {work.store.folder}"]
    if work.store.damaged:
        said.append(f"{len(work.store.damaged)} damaged entries of the store were done again")
    return said


def older_reports(out: Path) -> list[str]:
    """What is to be said of reports in a folder that were written before the results in it."""
    said = []
    for path in (out / "report.html", out / "report.pdf"):
        with suppress(OSError):  # most folders have none
            if path.stat().st_mtime_ns < (out / "run.json").stat().st_mtime_ns:
                said.append(f"{path} is of results of before: write it again (defectstrain report)")
    return said
