"""What a run left in its folder, or a study in its ``results``, as a report reads it.

Nothing but the files is needed: images, weights and this software's version may be long gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile

from ...io.files import read_settings
from ...io.out_folder import file_sha256
from ...io.unfinished import check_whole
from ...materials import Material, get_material
from ...study import said_of_results
from ...types import DefectStrainError, FloatArray
from ..results import FIGURES, RUN_FILE

STUDY_RESULTS = "results"
_ALL_IMAGES = "all"
_PLAIN_KEY = "napari_defectstrain"
HEIGHT = "height"
"""What a class average is a map of, in units of a metal column's."""


@dataclass(frozen=True)
class Results:
    """A folder of results.

    Parameters
    ----------
    path : Path
        Where ``run.json`` lies.
    about : mapping
        What ``run.json`` holds.
    material : Material
    notes : tuple of str
        What is wrong with the folder itself.
    is_older : bool
        Its study was edited since.
    """

    path: Path
    about: Mapping[str, Any]
    material: Material
    notes: tuple[str, ...] = ()
    is_older: bool = False

    @property
    def images(self) -> list[dict[str, Any]]:
        """What is known of each image."""
        return list(self.about.get("images") or [])

    @property
    def parameters(self) -> dict[str, Any]:
        """All settings of the run."""
        return dict(self.about.get("parameters") or {})

    def parameter(self, *names: str) -> Any:
        """One setting; None where the run didn't have it."""
        value: Any = self.parameters
        for name in names:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        return (self.path / name).is_file()

    def content(self, name: str) -> bytes:
        """The bytes of a file.

        Raises
        ------
        DefectStrainError
            If it can't be read.
        """
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise DefectStrainError(f"{self.path / name}: can't be read: {error}") from error

    def table(self, name: str) -> pd.DataFrame:
        """A table; empty where there is no such file.

        Raises
        ------
        DefectStrainError
            If the file is no table.
        """
        path = self.path / name
        if not path.is_file():
            return pd.DataFrame()
        try:
            return pd.read_csv(path, keep_default_na=True)
        except pd.errors.EmptyDataError:
            return pd.DataFrame()
        except (OSError, UnicodeError, pd.errors.ParserError) as error:
            raise DefectStrainError(f"{path}: can't be read as a table: {error}") from error

    def populations(self) -> pd.DataFrame:
        """Counts of all images together."""
        table = self.table("populations.csv")
        return table[table["image"] == _ALL_IMAGES] if len(table) else table

    def spacings(self) -> pd.DataFrame:
        """One row a class, by its name; empty where nothing was measured."""
        table = self.table("spacings.csv")
        return table.set_index("class") if len(table) else table

    def figures(self) -> list[str]:
        """Stems of the figures, whatever their formats."""
        folder = self.path / FIGURES
        if not folder.is_dir():
            return []
        found = (p for p in sorted(folder.iterdir()) if p.suffix in (".png", ".svg", ".pdf"))
        return list(dict.fromkeys(p.name.removesuffix(p.suffix) for p in found))

    def changed(self) -> list[str]:
        """Files that aren't as the run had written them, or are gone."""
        known = self.about.get("sha256")
        if not isinstance(known, Mapping):
            return []
        inside = {str(name): sha for name, sha in known.items() if _is_inside(str(name))}
        return [
            name
            for name, sha in inside.items()
            if sha and (not self.has(name) or file_sha256(self.path / name) != sha)
        ]


def _is_inside(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def results_path(folder: Path) -> Path:
    """Where the results of a run or of a study lie."""
    inside = folder / STUDY_RESULTS
    return inside if not (folder / RUN_FILE).is_file() and inside.is_dir() else folder


def read_results(folder: Path | str) -> Results:
    """What lies in the folder of a run, or in that of a study.

    Parameters
    ----------
    folder : path
        That ``run`` or ``detect`` wrote, or a study.

    Raises
    ------
    DefectStrainError
        If there are no results, or those of a run that was stopped.
    """
    folder = Path(folder)
    path = results_path(folder)
    notes = check_whole(path, RUN_FILE)
    if not (path / RUN_FILE).is_file():
        raise DefectStrainError(
            f"{folder}: got no {RUN_FILE}, expected the folder of a run (defectstrain run --out) "
            "or a study with results"
        )
    about = read_settings(path / RUN_FILE)
    parameters = about.get("parameters")
    name = parameters.get("material", "WSe2") if isinstance(parameters, Mapping) else "WSe2"
    older = said_of_results(path)
    return Results(path, about, get_material(str(name)), (*notes, *older), bool(older))


def read_maps(path: Path) -> tuple[dict[str, FloatArray], FloatArray, FloatArray]:
    """The maps of a TIFF of averages or strain, by name, and where their pixels are.

    Returns
    -------
    dict of str to array, `(H, W)`
        The channels; `HEIGHT` is an average.
    x_pm, y_pm : arrays, `(W,)` and `(H,)`
        In the lattice frame.

    Raises
    ------
    DefectStrainError
        If the file is none of ours.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            about = json.loads((tiff.imagej_metadata or {})[_PLAIN_KEY])
            data = tiff.asarray()
    except (OSError, ValueError, KeyError, TypeError, tifffile.TiffFileError) as error:
        raise DefectStrainError(f"{path}: can't be read as maps of a run: {error}") from error
    stack = np.asarray(data, dtype=float).reshape(-1, *data.shape[-2:])
    names = about.get("channels") or [HEIGHT]
    height, width = stack.shape[1:]
    if "x_pm" in about:
        x, y = np.asarray(about["x_pm"], float), np.asarray(about["y_pm"], float)
    else:
        row, column = about["origin_px"]
        step = float(about["step_pm"])
        x, y = step * (np.arange(width) - column), step * (row - np.arange(height))
    return dict(zip(names, stack, strict=True)), x, y


def maps_table(maps: Mapping[str, FloatArray], x_pm: FloatArray, y_pm: FloatArray) -> pd.DataFrame:
    """Maps on one grid as a table, a row a pixel; pixels without any value are left out."""
    grid_x, grid_y = np.meshgrid(x_pm, y_pm)
    table = pd.DataFrame({"x_pm": grid_x.ravel(), "y_pm": grid_y.ravel()})
    for name, values in maps.items():
        table[name] = values.ravel()
    return table.dropna(how="all", subset=list(maps))
