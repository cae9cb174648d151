"""The command line and the Python that do what a study, or a widget, is set to do."""

from __future__ import annotations

import json
import os
import pprint
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import Config
from ..pipeline.runs import RunConfig
from .folder import StudyFolder
from .layout import flat_settings, nested_settings

if TYPE_CHECKING:
    from ..detect import TrainConfig

_OPTIONS = {
    "material": "--material",
    "pixel_size_pm": "--pixel-size-pm",
    "seed": "--seed",
    "bootstrap": "--bootstrap",
    "detect.weights": "--weights",
    "detect.device": "--device",
}
"""Settings that have an option of their own, which takes their value."""

_SWITCHES = {
    ("frames", True): "--frames",
    ("force_material", True): "--force-material",
    ("average.crowded", True): "--crowded",
    ("judge.enabled", False): "--no-judge",
}
"""Settings that have an option of their own, which takes none."""

_TRAINING = ("steps", "minutes", "seed", "workers", "device")
"""Settings of a training that have an option of their name."""

_FOLLOWS = ("detect.material",)
"""Settings that follow from others."""


def study_command(study: StudyFolder, command: str = "run") -> str:
    """The line of the command line that measures a study as it is.

    Parameters
    ----------
    study : StudyFolder
    command : str
        ``run`` or ``detect``.
    """
    return quoted(["defectstrain", command, "--study", str(study.path.resolve())])


def study_script(study: StudyFolder, command: str = "run") -> str:
    """The Python that measures a study as it is."""
    only = ", detect_only=True" if command == "detect" else ""
    return (
        "import napari_defectstrain as nds\n\n"
        f"with nds.open_study({str(study.path.resolve())!r}) as study:\n"
        f"    result = nds.run_study(study{only})\n"
        "print(result.populations)\n"
    )


def run_command(
    paths: Sequence[str | Path],
    config: RunConfig,
    out: str | Path,
    command: str = "run",
    sites: str | Path | None = None,
) -> str:
    """The line of the command line that does what settings say with some images.

    Parameters
    ----------
    paths : sequence of path
        Images.
    config : RunConfig
        What differs from the defaults is given by options, by ``--set`` where there is none.
    out : path
        Folder of the results.
    command : str
        ``run`` or ``detect``.
    sites : path, optional
        Folder of tables of their columns.
    """
    words = ["defectstrain", command, *map(str, paths), "--out", str(out)]
    if sites is not None:
        words += ["--sites", str(sites)]
    for name, value in changed_settings(config).items():
        if name in _OPTIONS and value is not None:
            words += [_OPTIONS[name], str(value)]
        elif name == "split":
            for part in value:
                words += ["--split", part]
        elif isinstance(value, bool) and (name, value) in _SWITCHES:
            words.append(_SWITCHES[name, value])
        else:
            words += setting_words(name, value)
    return quoted(words)


def run_script(
    paths: Sequence[str | Path], config: RunConfig, out: str | Path, command: str = "run"
) -> str:
    """The Python that does what settings say with some images."""
    lines = [
        "import napari_defectstrain as nds",
        "",
        f"images, notes = nds.load_images({[str(path) for path in paths]!r}"
        f"{', frames=True' if config.frames else ''})",
        f"config = nds.{settings_text(config)}",
    ]
    if command == "detect":
        lines.insert(1, "from napari_defectstrain.pipeline import detect")
        lines += ["result = detect(images, config)", "print(result.populations)"]
    else:
        lines += [
            "result = nds.run(images, config)",
            f"nds.write_results(result, {str(out)!r}, force=True)",
        ]
    return "\n".join(lines) + "\n"


def train_command(config: TrainConfig, out: str | Path) -> str:
    """The line of the command line that trains as settings say.

    Parameters
    ----------
    config : TrainConfig
        What differs from the defaults is given by options, by ``--set`` where there is none.
    out : path
        The file of the weights.
    """
    words = ["defectstrain", "train", "--out", str(out)]
    for name, value in changed_settings(config).items():
        if name in _TRAINING and value is not None:
            words += [f"--{name}", str(value)]
        else:
            words += setting_words(name, value)
    return quoted(words)


def train_script(config: TrainConfig, out: str | Path) -> str:
    """The Python that trains as settings say."""
    return (
        "from pathlib import Path\n\n"
        "from napari_defectstrain.detect import TrainConfig, train\n\n"
        'if __name__ == "__main__":  # processes that simulate read this file, too\n'
        f"    config = {settings_text(config, '    ')}\n"
        f"    train(config, Path({str(out)!r}))\n"
    )


def setting_words(name: str, value: Any) -> list[str]:
    """Words of the command line that set what has no option of its own."""
    return ["--set", f"{name}={json.dumps(value, ensure_ascii=False)}"]


def settings_text(config: Config, indent: str = "") -> str:
    """The Python that makes settings, without what is as usual; further lines are indented."""
    changed = nested_settings(changed_settings(config))
    kind = type(config).__name__
    if not changed:
        return f"{kind}()"
    text = pprint.pformat(changed, sort_dicts=False, width=88 - len(indent))
    return f"{kind}.from_dict({text})".replace("\n", f"\n{indent}")


def changed_settings(config: Config) -> dict[str, Any]:
    """The settings that aren't the defaults, by their dotted names, as JSON values.

    Settings that are there as a whole or not at all, such as ``judge.learnt``, are one value.
    """
    values = config.to_dict()
    plain, own = flat_settings(type(config)().to_dict()), flat_settings(values)
    changed: dict[str, Any] = {}
    for name, value in own.items():
        if name in _FOLLOWS or (name in plain and plain[name] == value):
            continue
        above = next((n for n in _above(name) if n in plain), None)
        changed[above or name] = value if above is None else _value_of(values, above)
    return changed


def _above(name: str) -> list[str]:
    """Names of what a setting lies in: ``a.b`` and ``a`` for ``a.b.c``."""
    parts = name.split(".")[:-1]
    return [".".join(parts[:k]) for k in range(len(parts), 0, -1)]


def _value_of(values: Mapping[str, Any], name: str) -> Any:
    """A setting by its dotted name, as JSON has it."""
    for part in name.split("."):
        values = values[part]
    return json.loads(json.dumps(values))  # lists for tuples


def quoted(words: Sequence[str]) -> str:
    """Words as one line for the shell of this system."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
