"""Write a companion's averages: a file a class, its error, and the differences to defect-free."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..averages.companion import CompanionConfig
from ..io.companions import Companion, write_averaged
from ..io.files import write_table
from ..io.out_folder import writing_into
from ..pipeline.companions import CompanionResult
from ..pipeline.runs import RunResult
from .results import FRAME, FRAME_ON_METAL, provenance

COMPANION_FILE = "companion.json"


def write_companion(
    result: CompanionResult,
    found: RunResult,
    companion: Companion,
    config: CompanionConfig,
    out_dir: Path,
    kind: str = "hspy",
    pairs: Mapping[str, Path] | None = None,
) -> list[str]:
    """Write ``companion_<class>`` and ``companion_<class>_difference``, each with its error.

    Parameters
    ----------
    result : CompanionResult
    found : RunResult
    companion : Companion
        Whose signal axes the files have.
    config : CompanionConfig
    out_dir : Path
    kind : str
        ``hspy`` or ``zarr``.
    pairs : mapping of str to Path, optional
        The file that was averaged by the columns of each image, for ``companion.json``.

    Returns
    -------
    list of str
        What was kept of the user's, and where.
    """
    about = {**provenance(found), "companion": config.to_dict(), "frame": FRAME}
    turned = [name for name, stack in result.stacks.items() if stack.on_metal]
    if pairs is not None:
        about["companion_of"] = {name: str(path.resolve()) for name, path in pairs.items()}
    with writing_into(out_dir, "companion", COMPANION_FILE) as folder:

        def write(name: str, data: Any, more: Mapping[str, Any]) -> None:
            path = out_dir / f"{name}.{kind}"
            if kind == "hspy":  # a zarr is a folder: not one of the files that are kept track of
                path = folder.place(path.name)
            write_averaged(
                path,
                np.asarray(data, dtype=np.float32),
                config.step_pm,
                companion,
                {**about, **more},
            )

        def of(name: str, n: int) -> dict[str, object]:
            frame = FRAME_ON_METAL if name in turned else FRAME
            return {"class": name, "n": n, "frame": frame}

        for name, one in result.averages.items():
            more = of(name, one.n)
            write(f"companion_{name}", one.mean, more)
            write(f"companion_{name}_sigma", one.sigma, more)
        for name, one in result.differences.items():
            more = {**of(name, one.n), "minus": result.reference[name]}
            write(f"companion_{name}_difference", one.mean, more)
            write(f"companion_{name}_difference_sigma", one.sigma, more)
        write_table(folder.place("companion.csv"), result.table)
        about |= {"signal": companion.name, "classes": list(result.averages)}
        folder.finish({**about, "warnings": list(result.notes)})
    return folder.notes
