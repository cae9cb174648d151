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
    """

    folder: Path
    content: Mapping[str, Any]

    @property
    def images(self) -> list[Mapping[str, Any]]:
        """Records of its images."""
        return list(self.content["images"])

    @property
    def is_detected(self) -> bool:
        """Whether a network found its columns, not a table told them."""
        return self.content.get("weights_sha256") is not None

    @property
    def is_measured(self) -> bool:
        """Whether it went on from columns to strain."""
        return (self.folder / "spacings.csv").is_file()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``merge``."""
    from .resuming import add_work

    add = parser.add_argument
    add("parts", nargs="+", type=Path, metavar="RESULTS", help="folders of results, or studies")
    add("-o", "--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    add("--force", action="store_true", help="write into DIR even if it isn't empty")
    add("--figures", default="png", metavar="F,...", help="some of png, pdf, svg (png)")
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
    from .main import build_parser, detect_on, run_on
    from .resuming import check_edits, working

    parts = [read_part(named_folder(path)) for path in options.parts]
    check_alike(parts)
    command = "run" if all(part.is_measured for part in parts) else "detect"
    paths = _image_paths(parts)
    given = [command, *map(str, paths), "--out", str(options.out), "--figures", options.figures]
    run = build_parser([command]).parse_args(given)
    for name in ("force", "discard_edits", "jobs", "threads", "scheduler", "references"):
        setattr(run, name, getattr(options, name))
    run.resume, run.strict = True, True
    run.config = parts[0].folder / "run.json"
    with working(run) as work:
        assert work.store is not None
        inputs = read_inputs(run, work=None)
        check_unchanged(parts, inputs)
        for part in parts:
            work.store.take_over(StageStore(part.folder / STAGES))
        if not parts[0].is_detected:
            inputs = replace(inputs, sites=sites_of(parts, inputs))
        else:
            _check_weights(parts[0], inputs)
        inputs = known_inputs(run, inputs, "run.json")
        if not inputs.up_to_date:
            check_edits(run, "run.json")
        return (run_on if command == "run" else detect_on)(run, inputs, progress, work)


def read_part(path: Path) -> Part:
    """The results in a folder, or in the folder of a study.

    Raises
    ------
    DefectStrainError
        If there are none, they aren't whole, or a table of columns was corrected after the run.
    """
    from ..io.out_folder import changed_by_hand
    from ..io.unfinished import check_whole, json_object

    folder = path / RESULTS if (path / RESULTS / "run.json").is_file() else path
    check_whole(folder, "run.json")
    content = json_object(folder / "run.json")
    if not isinstance(content.get("images"), list) or "parameters" not in content:
        raise DefectStrainError(f"{path}: got no run.json, expected a folder of results or a study")
    changed = [n for n in changed_by_hand(folder, "run.json") if n.endswith(".sites.csv")]
    if changed:
        raise DefectStrainError(
            f"{folder}: {', '.join(changed)} changed by hand after the run; repeat the run with "
            f"--sites {folder} first, so that its results are of these columns"
        )
    return Part(folder, content)


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

    tables = {
        image["metadata"][PIXELS]: part.folder / f"{image['name']}.sites.csv"
        for part in parts
        for image in part.images
    }
    names = get_material(inputs.config.material).all_class_names
    return [read_sites(tables[image.metadata[PIXELS]], names) for image in inputs.images]


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
