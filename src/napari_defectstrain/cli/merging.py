"""``defectstrain merge``: results of several runs into those of one run on all of their images."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..types import DefectStrainError, Progress

if TYPE_CHECKING:
    from ..crystal.regions import Regions
    from ..types import Sites
    from .inputs import Inputs

RESULTS = "results"
"""Folder of a study that is laid out like that of a run."""


@dataclass(frozen=True)
class Part:
    """What is merged: a folder of results and what its ``run.json`` says.

    Parameters
    ----------
    folder : Path
    content : mapping
    study : Path, optional
        The study whose results they are.
    is_corrected : bool
        Columns of that study were corrected by hand, or come from a file.
    windows : int
        That a hand left out of the averages of that study, or put back.
    """

    folder: Path
    content: Mapping[str, Any]
    study: Path | None = None
    is_corrected: bool = False
    windows: int = 0

    @property
    def images(self) -> list[Mapping[str, Any]]:
        """Records of its images."""
        return list(self.content["images"])

    @property
    def is_detected(self) -> bool:
        """Whether a network found its columns, not a table or a hand told any of them."""
        return self.content.get("weights_sha256") is not None and not self.is_corrected

    @property
    def is_measured(self) -> bool:
        """Whether it went on from columns to strain."""
        return (self.folder / "spacings.csv").is_file()

    @property
    def pixels(self) -> set[str]:
        """Hashes of the pixels of its images."""
        return {_pixels(image) for image in self.images}

    def file_of(self, pixels: str, suffix: str) -> Path | None:
        """The file of the image of these pixels, None where it has no such image."""
        names = [image["name"] for image in self.images if _pixels(image) == pixels]
        return self.folder / f"{names[0]}{suffix}" if names else None

    def regions_of(self, pixels: str) -> Path | None:
        """The label image that was given for the image of these pixels, None where none was."""
        given = self.content.get("regions_given", ())
        is_given = any(_pixels(i) == pixels and i["name"] in given for i in self.images)
        return self.file_of(pixels, ".regions.tif") if is_given else None


def _pixels(image: Mapping[str, Any]) -> str:
    from ..pipeline.loading import PIXELS

    return str(image.get("metadata", {}).get(PIXELS))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``merge``."""
    from ..styles import FIGURE_WIDTHS_INCH
    from .resuming import add_work

    add = parser.add_argument
    add("parts", nargs="+", type=Path, metavar="RESULTS", help="folders of results, or studies")
    add("-o", "--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    add("--force", action="store_true", help="write into DIR even if it isn't empty")
    add("--figures", default="png", metavar="F,...", help="some of png, pdf, svg (png)")
    add("--figure-width", type=float, choices=FIGURE_WIDTHS_INCH, metavar="W", help="as for run")
    add(
        "--reference",
        dest="references",
        action="append",
        default=[],
        metavar="CLASS=DEFECT,PRISTINE",
        help="as for run",
    )
    add_work(parser)


def run_merge(options: argparse.Namespace, progress: Progress) -> int:
    """Join results: what is kept of every stage is taken over, what is pooled is done again."""
    from ..io.stage_store import STAGES, StageStore
    from ..study import named_folder
    from .inputs import known_inputs, read_inputs
    from .main import build_parser, detect_on, run_on, say_warnings
    from .resuming import check_edits, working

    parts = [read_part(named_folder(path)) for path in options.parts]
    check_alike(parts)
    check_out(options.out, parts, options.force)
    command = "run" if all(part.is_measured for part in parts) else "detect"
    say_warnings(said_of(parts, command))
    paths = _image_paths(parts)
    given = [command, *map(str, paths), "--out", str(options.out), "--figures", options.figures]
    run = build_parser([command]).parse_args(given)
    as_run = ("force", "discard_edits", "jobs", "threads", "scheduler", "references")
    for name in (*as_run, "figure_width"):
        setattr(run, name, getattr(options, name))
    run.resume, run.strict = True, True
    run.config = parts[0].folder / "run.json"
    with working(run) as work:
        assert work.store is not None
        inputs = read_inputs(run, work=None)
        check_unchanged(parts, inputs)
        for part in parts:
            for folder in (part.folder, part.study):
                if folder is not None and (folder / STAGES).is_dir():
                    work.store.take_over(StageStore(folder / STAGES))
        inputs = replace(inputs, regions=regions_of(parts, inputs))
        if all(part.is_detected for part in parts):
            _check_weights(parts[0], inputs)
        else:
            inputs = replace(inputs, sites=sites_of(parts, inputs))
        inputs = known_inputs(run, inputs, "run.json")
        if not inputs.up_to_date:
            check_edits(run, "run.json")
        return (run_on if command == "run" else detect_on)(run, inputs, progress, work)


def read_part(path: Path) -> Part:
    """The results in a folder, or in the folder of a study.

    Raises
    ------
    DefectStrainError
        If there are none, they aren't whole, or a table of columns, regions or the study was
        corrected after the run.
    """
    from ..io.out_folder import changed_by_hand
    from ..io.unfinished import check_whole, json_object
    from ..study import is_study

    folder = path / RESULTS if (path / RESULTS / "run.json").is_file() else path
    check_whole(folder, "run.json")
    content = json_object(folder / "run.json")
    if not isinstance(content.get("images"), list) or "parameters" not in content:
        raise DefectStrainError(f"{path}: got no run.json, expected a folder of results or a study")
    by_hand = changed_by_hand(folder, "run.json")
    for suffix, option in ((".sites.csv", "--sites"), (".regions.tif", "--regions")):
        changed = [name for name in by_hand if name.endswith(suffix)]
        if changed:
            raise DefectStrainError(
                f"{folder}: {', '.join(changed)} changed by hand after the run; repeat the run "
                f"with {option} {folder} first, so that its results are of these"
            )
    if folder.name == RESULTS and is_study(folder.parent):
        return _of_study(Part(folder, content, folder.parent))
    return Part(folder, content)


def _of_study(part: Part) -> Part:
    """What hands did to the study of a part.

    Raises
    ------
    DefectStrainError
        If its results don't know of all of it yet.
    """
    from ..study import FILE, open_study

    assert part.study is not None
    with open_study(part.study, read_only=True) as study:
        since = study.edits_since_measured()
        if since:
            raise DefectStrainError(
                f"{part.study}: {since} edit{'s' * (since > 1)} since its results were written; "
                f"run it again first (defectstrain run --study {part.study})"
            )
        known = [image["name"] for image in part.images if study.has_sites(image["name"])]
        corrected = [n for n in known if study.edited_columns(n) or study.answer_of(n).by == FILE]
        return replace(part, is_corrected=bool(corrected), windows=len(study.windows))


def check_out(out: Path, parts: Sequence[Part], force: bool) -> None:
    """See that nothing is replaced that is merged, or, without `force`, that isn't.

    Raises
    ------
    DefectStrainError
        If `out` is one of the parts or lies in one, or holds results of other images.
    """
    from ..io.unfinished import json_object

    where = out.resolve()
    for part in parts:
        for folder in (part.folder, part.study):
            if folder is not None and folder.resolve() in (where, *where.parents):
                raise DefectStrainError(
                    f"-o {out}: got a folder of {folder}, which is merged, expected another one"
                )
    known = set().union(*(part.pixels for part in parts))
    images = [one for one in json_object(out / "run.json").get("images", []) if _pixels(one)]
    others = [str(one.get("name")) for one in images if _pixels(one) not in known]
    if others and not force:
        raise DefectStrainError(
            f"-o {out}: holds results of {', '.join(others[:3])}{' and more' * (len(others) > 3)}, "
            "which would be replaced and isn't merged; choose another folder, or give --force"
        )


def said_of(parts: Sequence[Part], command: str) -> list[str]:
    """What a merge takes otherwise than one run would find it.

    Raises
    ------
    DefectStrainError
        If windows were left out by hand, which tables can't tell.
    """
    said = []
    for part in parts:
        if part.windows and command == "run":
            raise DefectStrainError(
                f"merge: {part.study} has {part.windows} windows left out or put back by hand, "
                "which a merge can't carry over; add the other images to that study instead "
                f"(defectstrain run IMAGES --study {part.study})"
            )
        if part.is_corrected:
            said.append(
                f"{part.study}: holds columns corrected by hand or from a file: the columns of "
                "all parts are taken from their tables"
            )
        if command == "detect" and part.is_measured:
            said.append(
                f"{part.folder}: was measured, and others weren't: columns and populations alone "
                "are merged"
            )
    return said


def check_alike(parts: Sequence[Part]) -> None:
    """See that one run could have made all of them.

    Raises
    ------
    DefectStrainError
        If settings or weights differ, naming the first.
    """
    first = parts[0]
    for part in parts[1:]:
        one, other = (_flat(p.content["parameters"]) for p in (first, part))
        for name in sorted(one.keys() | other.keys()):
            if one.get(name) != other.get(name):
                raise DefectStrainError(
                    f"merge: {name} is {json.dumps(one.get(name))} in {first.folder} and "
                    f"{json.dumps(other.get(name))} in {part.folder}; repeat one of the runs with "
                    f"--config {first.folder / 'run.json'}"
                )
        if first.content.get("weights_sha256") != part.content.get("weights_sha256"):
            raise DefectStrainError(
                f"merge: {first.folder} and {part.folder} were found by different weights, or one "
                "by none; repeat one of the runs"
            )


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def _image_paths(parts: Sequence[Part]) -> list[Path]:
    """Files of all images, each once.

    Raises
    ------
    DefectStrainError
        If one isn't there.
    """
    from ..pipeline.loading import PATH

    found: dict[str, None] = {}
    for part in parts:
        for image in part.images:
            path = image.get("metadata", {}).get(PATH)
            if path is None or not Path(path).is_file():
                raise DefectStrainError(
                    f"merge: {image.get('name')} of {part.folder} lay at {path}, expected it to be "
                    "there still: its pixels are measured together with those of the others"
                )
            found[path] = None
    return [Path(path) for path in found]


def check_unchanged(parts: Sequence[Part], inputs: Inputs) -> None:
    """See that the images are those that were measured.

    Raises
    ------
    DefectStrainError
        If one has other pixels now.
    """
    from ..pipeline.loading import PATH, PIXELS

    now = {(im.metadata[PATH], im.metadata[PIXELS]) for im in inputs.images}
    for part in parts:
        for image in part.images:
            known = image["metadata"]
            if (known[PATH], known.get(PIXELS)) not in now:
                raise DefectStrainError(
                    f"merge: {known[PATH]} has changed since {part.folder} was made; repeat that "
                    "run first"
                )


def sites_of(parts: Sequence[Part], inputs: Inputs) -> list[Sites]:
    """The tables of columns that the parts were measured by, of each image."""
    from ..io.files import read_sites
    from ..materials import get_material
    from ..pipeline.loading import PIXELS

    names = get_material(inputs.config.material).all_class_names
    found = []
    for image in inputs.images:
        pixels = image.metadata[PIXELS]
        path = _the_same([part.file_of(pixels, ".sites.csv") for part in parts], image.name)
        assert path is not None
        found.append(read_sites(path, names))
    return found


def regions_of(parts: Sequence[Part], inputs: Inputs) -> list[Regions | None] | None:
    """The regions that were given for the images of the parts; None where they are to be found."""
    from ..crystal.region_files import read_regions
    from ..pipeline.loading import PIXELS

    found: list[Regions | None] = []
    for image in inputs.images:
        given = [part.regions_of(image.metadata[PIXELS]) for part in parts]
        path = _the_same(given, image.name)
        found.append(None if path is None else read_regions(path))
    return found if any(one is not None for one in found) else None


def _the_same(paths: Sequence[Path | None], name: str) -> Path | None:
    """One of the files that parts have of an image.

    Raises
    ------
    DefectStrainError
        If they aren't the same.
    """
    from ..io.out_folder import file_sha256

    known = {file_sha256(path): path for path in paths if path is not None}
    if len(known) > 1:
        raise DefectStrainError(
            f"merge: got different {' and '.join(map(str, known.values()))} for {name}, expected "
            "one; leave one of the parts out, or repeat its run with the file of the other"
        )
    return next(iter(known.values()), None)


def _check_weights(part: Part, inputs: Inputs) -> None:
    """See that the weights are still those that found the columns.

    Raises
    ------
    DefectStrainError
        If they are others: new weights never change old numbers unasked.
    """
    from ..detect.finding.model import find_model
    from ..materials import get_material

    host = get_material(inputs.config.material).host
    model = find_model(inputs.config.detect.replace(material=host.label), host)
    if model.sha256 != part.content["weights_sha256"]:
        raise DefectStrainError(
            f"merge: {part.folder} was found by other weights than "
            f"{inputs.config.detect.weights or 'those of the package'}; repeat the runs, or give "
            "back the weights"
        )
