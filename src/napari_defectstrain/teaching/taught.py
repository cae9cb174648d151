"""What was taught, under a name: a folder ``NAME.taught`` that says from what, and what it's worth.

Settings and text are JSON, weights safetensors: nothing in it is code, and none is run. Folders of
names lie in the user's data folder; a path may be given in the place of a name.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

from platformdirs import user_data_path

from .. import __version__
from ..io.file_names import safe_stem
from ..io.files import read_settings, write_json
from ..io.out_folder import file_sha256
from ..judge import JudgeConfig
from ..materials import get_material
from ..pipeline import RunConfig
from ..types import DefectStrainError
from .course import Course, Step
from .holding_out import Gain, Verdict

SUFFIX = ".taught"
TAUGHT_FILE = "taught.json"
WEIGHTS_FILE = "weights.safetensors"
KIND = "napari-defectstrain taught"
SCHEMA = 1
_NAME = re.compile(r"[\w][\w .+-]{0,60}")


@dataclass(frozen=True)
class TaughtFrom:
    """An image that taught.

    Parameters
    ----------
    name, sha256 : str
        Of the image; of its file, empty where it has none.
    corrections : int
    whole : bool
        Whether all of it was looked at.
    """

    name: str
    sha256: str
    corrections: int
    whole: bool


@dataclass(frozen=True)
class Taught:
    """What was taught.

    Parameters
    ----------
    path : Path
        Of the folder.
    created, version : str
        When, ISO 8601, and by which version of this software.
    material : str
        That it holds for.
    judge : JudgeConfig
    weights_sha256 : str
        Hash of the file of the network's weights; empty for the package's own.
    parent : str
        Name of what was in use when it was taught; empty for the package's own.
    images : tuple of TaughtFrom
    steps : tuple of Step
        With what held-out columns said of each.
    total : Verdict or None
    by_tiles : bool
    network_sha256 : str
        Hash of the package's own network that it was taught with; empty where it brings weights,
        and where an earlier version wrote it.
    """

    path: Path
    created: str
    version: str
    material: str
    judge: JudgeConfig
    weights_sha256: str
    parent: str
    images: tuple[TaughtFrom, ...]
    steps: tuple[Step, ...]
    total: Verdict | None
    by_tiles: bool
    network_sha256: str = ""

    @property
    def name(self) -> str:
        """What it is called."""
        return self.path.name.removesuffix(SUFFIX)

    @property
    def weights(self) -> Path | None:
        """File of the network's weights; None for the package's own."""
        return self.path / WEIGHTS_FILE if self.weights_sha256 else None

    @property
    def notes(self) -> list[str]:
        """What is to be said before it is used: the package has another network by now."""
        if not self.network_sha256 or self.network_sha256 == _own_network(self.material):
            return []
        return [
            f"taught {self.name}: was taught with an earlier network of the package "
            f"({self.version}), whose errors it knows; teach again with this one ({__version__})"
        ]

    def applied_to(self, config: RunConfig) -> RunConfig:
        """Settings of a run with what was taught, and the network that it was taught with.

        Raises
        ------
        DefectStrainError
            If they are for another material, or the weights aren't as they were written.
        """
        if get_material(config.material).host.label != self.material:
            raise DefectStrainError(
                f"taught {self.name}: got the material {config.material}, expected "
                f"{self.material}, by whose columns it was taught"
            )
        judge = config.judge.replace(learnt=self.judge.learnt, network_say=self.judge.network_say)
        if self.weights is None:  # it holds with the package's own network, whatever was in use
            return config.replace(judge=judge, detect=config.detect.replace(weights=None))
        if not self.weights.is_file() or file_sha256(self.weights) != self.weights_sha256:
            raise DefectStrainError(
                f"{self.weights}: got another file, or none, expected the weights that were "
                "taught; teach again, or restore the folder from a backup"
            )
        detect = config.detect.replace(weights=str(self.weights))
        return config.replace(judge=judge, detect=detect)


def _own_network(material: str) -> str:
    """Hash of the package's own network for a material; empty where it has none."""
    from ..detect import bundled_weights

    try:
        return file_sha256(bundled_weights(material))
    except (DefectStrainError, OSError):
        return ""


def taught_folder() -> Path:
    """Where what was taught lies by its name."""
    return user_data_path("napari-defectstrain") / "taught"


def taught_path(name: str | Path) -> Path:
    """The folder of a name, or the one that a path names.

    Raises
    ------
    DefectStrainError
        If it is no name that every system can write.
    """
    path = Path(name)
    if len(path.parts) > 1 or path.suffix == SUFFIX:
        return path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)
    text = str(name)
    if not _NAME.fullmatch(text) or safe_stem(text) != text:
        raise DefectStrainError(
            f"taught: got the name {text!r}, expected letters, numbers, spaces and ._+- only"
        )
    return taught_folder() / f"{text}{SUFFIX}"


def taught_names() -> list[str]:
    """Names of what was taught and lies in the user's data folder."""
    folder = taught_folder()
    if not folder.is_dir():
        return []
    found = [p for p in folder.iterdir() if p.suffix == SUFFIX and (p / TAUGHT_FILE).is_file()]
    return sorted(p.name.removesuffix(SUFFIX) for p in found)


def write_taught(
    name: str | Path,
    course: Course,
    material: str,
    images: Sequence[TaughtFrom],
    parent: str = "",
    weights: Path | None = None,
) -> Taught:
    """Write down what a course taught, all of it or nothing; nothing that is there is replaced.

    Parameters
    ----------
    name : str or path
    course : Course
    material : str
        Label of the host.
    images : sequence of TaughtFrom
    parent : str
        What was in use before.
    weights : path, optional
        Of the network that the judge was taught with, which are copied into the folder; None for
        the package's own.

    Raises
    ------
    DefectStrainError
        If nothing helps, the name is taken, or the folder can't be written.
    """
    if not course.helps:
        raise DefectStrainError(
            "teach: nothing helps, expected something worth keeping; the settings stay as they are"
        )
    path = taught_path(name)
    if path.exists():
        raise DefectStrainError(
            f"{path}: got a name that is taken, expected another one; what is there stays"
        )
    part = path.with_name(f".{path.name}.{token_hex(4)}.part")
    try:
        part.mkdir(parents=True)
        if weights is not None:
            shutil.copyfile(weights, part / WEIGHTS_FILE)
        sha256 = "" if weights is None else file_sha256(part / WEIGHTS_FILE)
        when = datetime.now().astimezone().isoformat(timespec="seconds")
        made = Taught(
            path, when, __version__, material, course.judge, sha256, parent, tuple(images),
            course.steps, course.total, course.by_tiles,
            _own_network(material) if weights is None else "",
        )  # fmt: skip
        write_json(part / TAUGHT_FILE, _values(made))
        part.rename(path)
    except OSError as error:
        raise DefectStrainError(f"{path}: can't be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return made


def read_taught(name: str | Path) -> Taught:
    """What was taught under a name.

    Parameters
    ----------
    name : str or path

    Raises
    ------
    DefectStrainError
        If there is none, it is damaged, or of a later version.
    """
    path = taught_path(name)
    file = path / TAUGHT_FILE
    if not file.is_file():
        raise DefectStrainError(
            f"taught: got {path.name.removesuffix(SUFFIX)!r}, expected one of "
            f"{', '.join(taught_names()) or 'none (defectstrain teach makes some)'}, or a folder "
            f"that ends in {SUFFIX}"
        )
    values = read_settings(file)
    if values.get("kind") != KIND or type(values.get("schema")) is not int:
        raise DefectStrainError(f"{file}: got kind {values.get('kind')!r}, expected {KIND!r}")
    if values["schema"] > SCHEMA:
        raise DefectStrainError(
            f"{file}: written by napari-defectstrain {values.get('version', 'of a later version')};"
            " this version doesn't know it: update napari-defectstrain"
        )
    judge = JudgeConfig.from_dict(values.get("judge", {}), f"{file}: judge.")
    try:
        return Taught(
            path,
            str(values["created"]),
            str(values["version"]),
            str(values["material"]),
            judge,
            str(values["weights_sha256"]),
            str(values["parent"]),
            tuple(TaughtFrom(**one) for one in values["images"]),
            tuple(
                Step(str(s["what"]), _verdict(s["verdict"]), str(s["note"]), str(s["refused"]))
                for s in values["steps"]
            ),
            _verdict(values["total"]),
            bool(values["by_tiles"]),
            str(values.get("network_sha256", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DefectStrainError(
            f"{file}: damaged: {type(error).__name__}: {error}; restore it from a backup, or teach "
            "again"
        ) from error


def _values(taught: Taught) -> dict[str, Any]:
    names = (
        *("created", "version", "material", "weights_sha256", "network_sha256", "parent"),
        "by_tiles",
    )
    return {
        "kind": KIND,
        "schema": SCHEMA,
        **{name: getattr(taught, name) for name in names},
        "judge": taught.judge.to_dict(),
        "images": [asdict(one) for one in taught.images],
        "steps": [
            {
                "what": s.what,
                "taken": s.taken,
                "note": s.note,
                "refused": s.refused,
                "verdict": _verdict_values(s.verdict),
            }
            for s in taught.steps
        ],
        "total": _verdict_values(taught.total),
    }


def _verdict_values(verdict: Verdict | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    return {
        "images": verdict.images,
        "by_chance": verdict.by_chance,
        "worse": verdict.worse,
        "mean_f1": _gain_values(verdict.mean),
        "f1_by_class": [_gain_values(gain) for gain in verdict.classes],
    }


def _gain_values(gain: Gain) -> dict[str, Any]:
    """JSON knows no NaN: null where there are no such columns."""
    return {name: None if value != value else value for name, value in asdict(gain).items()}


def _verdict(values: Mapping[str, Any] | None) -> Verdict | None:
    if values is None:
        return None
    gains = [_gain(one) for one in (values["mean_f1"], *values["f1_by_class"])]
    return Verdict(
        gains[0],
        tuple(gains[1:]),
        int(values["images"]),
        float(values["by_chance"]),
        int(values["worse"]),
    )


def _gain(values: Mapping[str, Any]) -> Gain:
    numbers = [values[name] for name in ("before", "after", "low", "high")]
    before, after, low, high = (float("nan") if v is None else float(v) for v in numbers)
    return Gain(before, after, low, high, int(values["columns"]))
