"""Results for other programs: columns for ASE, class averages for HyperSpy and as OME-Zarr.

Made from the files of a folder of results, so that old ones, and those of a study, do as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import __version__
from ..io.file_names import safe_stem
from ..io.files import atomic_path, read_file, read_settings
from ..io.unfinished import check_whole
from ..io.writing import atomic_folder
from ..materials import Material, get_material
from ..types import DefectStrainError
from ..units import PM_PER_ANGSTROM
from .results import RUN_FILE

EXTXYZ, HSPY, OME_ZARR = "extxyz", "hspy", "ome-zarr"
EXPORT_FORMATS = (EXTXYZ, HSPY, OME_ZARR)
"""What results can be exported as."""

_AVERAGE = "average_"
_FRAME = (
    "lattice frame: x to the right along a zigzag row, y up, defect's ideal site at the origin; z "
    "isn't measured"
)
_FRAME_OF_ZARR = "rows run down: y of the lattice frame is minus that of the axis"


def export_results(
    results: str | Path,
    out_dir: str | Path,
    formats: Sequence[str] = EXPORT_FORMATS,
    force: bool = False,
) -> list[Path]:
    """Write the results of a folder in formats of other programs.

    ``columns_<class>.extxyz``: the fitted columns of a class average [Å], with their displacement,
    standard errors, ideal sites, weights and flags. ``average_<class>.hspy`` and
    ``average_<class>.ome.zarr``: the class averages, calibrated, the ideal site at the origin.

    Parameters
    ----------
    results : path
        Folder of a run, or ``results`` of a study.
    out_dir : path
        Made where it doesn't exist.
    formats : sequence of str
        Some of `EXPORT_FORMATS`.
    force : bool
        Replace what has these names; without, nothing is written where something has one of them.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    DefectStrainError
        If there are no measurements, a format is unknown, a library for it isn't installed, or
        something would be replaced.
    """
    results, out_dir = Path(results), Path(out_dir)
    writers: Mapping[str, Callable[[Path, Path], list[Path]]] = {
        EXTXYZ: _write_extxyz,
        HSPY: _write_hspy,
        OME_ZARR: _write_ome_zarr,
    }
    unknown = [name for name in formats if name not in writers]
    if unknown:
        raise DefectStrainError(
            f"export: got {', '.join(unknown)}, expected some of {', '.join(EXPORT_FORMATS)}"
        )
    check_whole(results, RUN_FILE)
    if not (results / RUN_FILE).is_file() or not (results / "columns.csv").is_file():
        raise DefectStrainError(
            f"{results}: got a folder without measurements, expected one that defectstrain run "
            "wrote, or the folder results of a study"
        )
    if not force:
        _check_free(results, out_dir, formats)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DefectStrainError(
            f"{out_dir}: can't be created: {error.strerror or error}; choose another folder"
        ) from error
    return [path for name in dict.fromkeys(formats) for path in writers[name](results, out_dir)]


def _check_free(results: Path, out_dir: Path, formats: Sequence[str]) -> None:
    """See, before anything is written, that all names are free.

    Raises
    ------
    DefectStrainError
        If something has one of them.
    """
    stems = [path.stem for path in _average_files(results)]
    names = [f"{stem}.{kind}" for kind in (HSPY, "ome.zarr") for stem in stems]
    if EXTXYZ in formats:
        columns = pd.read_csv(results / "columns.csv", usecols=["class"], dtype=str)
        names += [_columns_name(name) for name in columns["class"].dropna().unique()]
    ending = tuple("." + kind.replace("-", ".") for kind in formats)
    there = [
        name
        for name in names
        if name.endswith(ending) and ((out_dir / name).exists() or (out_dir / name).is_symlink())
    ]
    if there:
        named = ", ".join(there[:3]) + (f" and {len(there) - 3} more" if len(there) > 3 else "")
        raise DefectStrainError(
            f"{out_dir}: {named} would be replaced; choose another folder, or replace with --force"
        )


def _columns_name(class_name: str) -> str:
    return f"columns_{safe_stem(class_name)}.{EXTXYZ}"


def _material(results: Path) -> Material:
    parameters = read_settings(results / RUN_FILE).get("parameters", {})
    return get_material(str(parameters.get("material", "")))


# ------------------------------------------------------------------ columns


def _write_extxyz(results: Path, out_dir: Path) -> list[Path]:
    """Columns of every class as atoms, one a column, in the plane z = 0."""
    from ase.io import write

    material = _material(results)
    columns = pd.read_csv(results / "columns.csv")
    keys = ["class", "sublattice", "site_x_pm", "site_y_pm"]
    displacement = pd.read_csv(results / "displacement.csv")
    table = columns.merge(displacement, how="left", on=keys, suffixes=("", "_u"))
    written = []
    for name, own in table.groupby("class", sort=False):
        path = out_dir / _columns_name(str(name))
        with atomic_path(path) as part:
            write(part, _atoms(str(name), own, material), format="extxyz")
        written.append(path)
    return written


def _atoms(name: str, table: pd.DataFrame, material: Material) -> Any:
    """The columns of a class that have a position."""
    from ase import Atoms

    found = table[np.isfinite(table["x_pm"]) & np.isfinite(table["y_pm"])]
    is_metal = (found["sublattice"] == "metal").to_numpy()
    symbols = np.where(is_metal, material.metal, material.chalcogen)
    atoms: Any = Atoms(symbols.tolist(), positions=_plane(found, "x_pm", "y_pm"), pbc=False)
    atoms.set_array("site", _plane(found, "site_x_pm", "site_y_pm"))
    atoms.set_array("sigma", _plane(found, "sigma_x_pm", "sigma_y_pm"))
    if found["ux_pm"].notna().any():
        atoms.set_array("displacement", _plane(found, "ux_pm", "uy_pm"))
        atoms.set_array("displacement_sigma", _plane(found, "sigma_x_pm_u", "sigma_y_pm_u"))
    atoms.set_array("weight", found["weight"].to_numpy(dtype=float))
    atoms.set_array("flag", found["flag"].to_numpy(dtype=int))
    atoms.info.update(
        {
            "class": name,
            "material": material.label,
            "unit": "angstrom",
            "frame": _FRAME,
            "columns_without_position": len(table) - len(found),
            "software": f"napari-defectstrain {__version__}",
        }
    )
    return atoms


def _plane(table: pd.DataFrame, x: str, y: str) -> Any:
    """Two columns [pm] as positions [Å] in the plane z = 0, `(N, 3)`."""
    plane = table[[x, y]].to_numpy(dtype=float) / PM_PER_ANGSTROM
    return np.column_stack([plane, np.zeros(len(plane))])


# ------------------------------------------------------------------ class averages


def _average_files(results: Path) -> list[Path]:
    return sorted(results.glob(f"{_AVERAGE}*.tif"))


def _averages(results: Path) -> dict[str, tuple[Any, float, Mapping[str, Any]]]:
    """Every class average of a folder: pixels, their side [pm], what the file says."""
    found: dict[str, tuple[Any, float, Mapping[str, Any]]] = {}
    for path in _average_files(results):
        file = read_file(path)
        step = file.pixel_size_pm or float(file.metadata["step_pm"])
        known = {k: v for k, v in file.metadata.items() if k not in ("parameters", "source")}
        found[path.stem] = np.asarray(file.data, dtype=np.float32), float(step), known
    return found


def _write_hspy(results: Path, out_dir: Path) -> list[Path]:
    from rsciio.hspy import file_writer

    written = []
    for stem, (data, step, about) in _averages(results).items():
        axes = [
            {
                "name": name,
                "units": "pm",
                "scale": sense * step,  # row 0 is the largest y, as in companions
                "offset": -sense * step * (size - 1) / 2,
                "size": size,
                "navigate": False,
            }
            for name, sense, size in zip("yx", (-1.0, 1.0), data.shape, strict=True)
        ]
        signal = {
            "data": data,
            "axes": axes,
            "metadata": {
                "General": {"title": stem, "notes": str(about.get("frame", ""))},
                "Signal": {"signal_type": "", "quantity": "mean height of a metal column"},
            },
            "original_metadata": _texts(about),
            "attributes": {"_lazy": False, "ragged": False},
            "tmp_parameters": {},
            "learning_results": {},
            "package_info": {
                "package": "napari-defectstrain",
                "package_version": __version__,
            },
            "models": {},
        }
        path = out_dir / f"{stem}.hspy"
        with atomic_path(path) as part:
            file_writer(str(part), signal, show_progressbar=False)
        written.append(path)
    return written


def _write_ome_zarr(results: Path, out_dir: Path) -> list[Path]:
    """OME-NGFF 0.5, which is zarr 3; a folder that appears whole or not at all."""
    try:
        import zarr
    except ImportError as error:
        raise DefectStrainError(
            "export: got no zarr, expected version 3 for OME-Zarr: pip install "
            "'napari-defectstrain[zarr]'"
        ) from error
    written = []
    for stem, (data, step, about) in _averages(results).items():
        path = out_dir / f"{stem}.ome.zarr"
        centre = [-step * (size - 1) / 2 for size in data.shape]
        moved: list[dict[str, Any]] = [{"type": "scale", "scale": [step, step]}]
        moved.append({"type": "translation", "translation": centre})
        axes = [{"name": name, "type": "space", "unit": "picometer"} for name in "yx"]
        scales: dict[str, Any] = {
            "name": stem,
            "axes": axes,
            "datasets": [{"path": "0", "coordinateTransformations": moved}],
            "metadata": {**_texts(about), "frame_of_axes": _FRAME_OF_ZARR},
        }
        with atomic_folder(path) as part:
            group = zarr.open_group(part, mode="w", zarr_format=3)
            group.create_array("0", data=data, dimension_names=("y", "x"))
            group.attrs["ome"] = {"version": "0.5", "multiscales": [scales]}
        written.append(path)
    return written


def _texts(about: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says as plain values that every format can hold."""
    return {k: v for k, v in about.items() if isinstance(v, str | int | float | bool)}
