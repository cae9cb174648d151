"""The command line and the Python that do what a study, or a widget, is set to do."""

from __future__ import annotations

import json
import os
import pprint
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..pipeline.runs import RunConfig
from .folder import StudyFolder
from .layout import flat_settings, nested_settings

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
            words += ["--set", f"{name}={json.dumps(value, ensure_ascii=False)}"]
    return quoted(words)


def run_script(
    paths: Sequence[str | Path], config: RunConfig, out: str | Path, command: str = "run"
) -> str:
    """The Python that does what settings say with some images."""
    changed = nested_settings(changed_settings(config))
    settings = pprint.pformat(changed, sort_dicts=False, width=88) if changed else ""
    lines = [
        "import napari_defectstrain as nds",
        "",
        f"images, notes = nds.load_images({[str(path) for path in paths]!r}"
        f"{', frames=True' if config.frames else ''})",
        f"config = nds.RunConfig.from_dict({settings})" if changed else "config = nds.RunConfig()",
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


def changed_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that aren't the defaults, by their dotted names, as JSON values."""
    plain, own = flat_settings(RunConfig().to_dict()), flat_settings(config.to_dict())
    return {
        name: value
        for name, value in own.items()
        if name not in _FOLLOWS and (name not in plain or plain[name] != value)
    }


def quoted(words: Sequence[str]) -> str:
    """Words as one line for the shell of this system."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
