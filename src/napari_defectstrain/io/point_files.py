"""Positions of columns that other programs saved: napari's points, ImageJ, atomap, plain tables.

Each program counts in its own way; here positions become (y, x) as the file gives them. Where they
lie in the picture is found out by the picture (`pipeline.open_columns`).
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from ..types import DefectStrainError, FloatArray, IntArray, Sites
from .tables import sites_of, text_table

NAPARI, OURS, IMAGEJ, ATOMAP, PLAIN = (
    "points of napari",
    "table of columns",
    "points of ImageJ",
    "positions of atomap",
    "positions",
)
POINT_SUFFIXES = (".csv", ".tsv", ".roi", ".zip", ".hdf5", ".h5", ".hdf", ".npy")
"""Of files that may hold positions; others of the same endings hold something else."""

_AXES = (("y_px", "x_px"), ("Y", "X"), ("YM", "XM"), ("y", "x"))
"""Names of the columns of positions, the first pair that is there counts."""
_PLANES = ("Slice", "Frame", "slice", "frame", "plane")
_ATOMAP = "atom_positions"
_MANY = 2_000_000  # points: more are no columns of an image


@dataclass(frozen=True)
class PointFile:
    """Positions, and what the file says of them.

    Parameters
    ----------
    origin : str
        What kind of file it is, to be said.
    position : array, `(N, 2)`
        (y, x), in the unit and from the origin that the file has.
    plane : array, `(N,)`, optional
        Plane of a stack, from 0; None where all are of one image.
    table : DataFrame, optional
        Of texts: y_px, x_px and all else that the file says; None where there is nothing else.
    name : str
        Of the file, for messages.
    """

    origin: str
    position: FloatArray
    plane: IntArray | None = None
    table: pd.DataFrame | None = None
    name: str = ""

    def __len__(self) -> int:
        return len(self.position)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of classes that occur; empty where there are none."""
        if self.table is None or "class" not in self.table:
            return ()
        return tuple(sorted(set(self.table["class"].str.strip())))

    def sites(self, class_names: Sequence[str]) -> Sites:
        """As columns of these classes, positions as in the file.

        Raises
        ------
        DefectStrainError
            If classes, probabilities or sources aren't what they should be.
        """
        if self.table is None or "class" not in self.table:
            raise DefectStrainError(f"{self.name}: got positions without classes")
        return sites_of(self.table, class_names, self.name)


def read_points(path: str | Path) -> PointFile | None:
    """Positions in a file; None where it is of another kind.

    Parameters
    ----------
    path : path
        CSV or TSV with columns y_px and x_px, axis-0 and axis-1 (napari), Y and X (ImageJ's
        results), y and x, or with two columns (x, y) without names; ImageJ's .roi or .zip of them;
        an HDF5 file of atomap; or a .npy of pairs (x, y), as atomap gives them.

    Raises
    ------
    DefectStrainError
        If it is of a known kind, but damaged or empty.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        found = _from_table(path)
    elif suffix in (".roi", ".zip"):
        found = _from_imagej(path)
    elif suffix in (".hdf5", ".h5", ".hdf"):
        found = _from_atomap(path)
    elif suffix == ".npy":
        found = _from_pairs(path)
    else:
        found = None
    if found is not None and len(found) == 0:
        raise DefectStrainError(f"{path.name}: got no positions, expected some")
    if found is not None and len(found) > _MANY:
        raise DefectStrainError(f"{path.name}: got {len(found)} points, expected {_MANY} at most")
    return found


def _from_table(path: Path) -> PointFile | None:
    try:
        table, separator = text_table(path)
    except DefectStrainError:
        return None
    table = _with_names(table)
    names = list(table.columns)
    axes = [name for name in names if name.startswith("axis-")]
    if len(axes) in (2, 3):
        origin, (y, x) = NAPARI, (axes[-2], axes[-1])
        plane = axes[0] if len(axes) == 3 else None
    else:
        pair = next((p for p in _AXES if set(p) <= set(names)), None)
        if pair is None:
            return None
        y, x = pair
        imagej = y in ("Y", "YM")
        origin = OURS if "class" in names else IMAGEJ if imagej else PLAIN
        plane = next((name for name in _PLANES if name in names), None)
    if len(table) == 0:
        return PointFile(origin, np.zeros((0, 2)), name=path.name)
    position = np.stack([_numbers(table, name, separator, path) for name in (y, x)], axis=1)
    planes = None
    if plane is not None:
        number = np.rint(_numbers(table, plane, separator, path)).astype(int)
        planes = number if origin == NAPARI else number - 1  # ImageJ counts them from 1
    table = table.rename(columns={y: "y_px", x: "x_px"})
    table["y_px"], table["x_px"] = ([repr(float(v)) for v in axis] for axis in position.T)
    dropped = [n for n in (*axes, "index", "y_nm", "x_nm", "", plane) if n in table]
    if separator != ",":
        for name in [n for n in table if str(n).startswith("p_")]:
            table[name] = table[name].str.replace(",", ".", regex=False)
    return PointFile(origin, position, planes, table.drop(columns=dropped), path.name)


def _with_names(table: pd.DataFrame) -> pd.DataFrame:
    """Pairs (x, y) without names, as numpy and pandas write what atomap returns."""
    names = list(table.columns)
    if names in (["0", "1"], ["", "0", "1"]):  # pandas counts them
        return table.rename(columns={"0": "x", "1": "y"})
    try:
        first = [float(name) for name in names]
    except ValueError:
        return table
    if len(first) != 2:
        return table
    rows = pd.DataFrame([names], columns=["x", "y"], index=[table.index.min() - 1])
    return pd.concat([rows, table.set_axis(["x", "y"], axis=1)]) if len(table) else rows


def _numbers(table: pd.DataFrame, name: str, separator: str, path: Path) -> FloatArray:
    text = table[name].str.strip()
    if separator != ",":
        text = text.str.replace(",", ".", regex=False)
    numbers = pd.to_numeric(text, errors="coerce").to_numpy(dtype=float)
    bad = ~np.isfinite(numbers)
    if bad.any():
        raise DefectStrainError(
            f"{path.name}: line {table.index[bad][0]}: got {text[bad].iloc[0]!r} in {name}, "
            "expected a number"
        )
    return np.asarray(numbers)


def _from_imagej(path: Path) -> PointFile | None:
    """Points of a region of interest, or of a set of them; None where there is no such thing."""
    import roifile

    if path.suffix.lower() == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                if not any(name.lower().endswith(".roi") for name in archive.namelist()):
                    return None
        except (OSError, zipfile.BadZipFile):
            return None
    try:
        read = roifile.roiread(path)
        rois = read if isinstance(read, list) else [read]
        parts = [(_roi_points(roi), roi) for roi in rois]
    except Exception as error:  # whatever a damaged one makes the reader raise
        raise DefectStrainError(
            f"{path.name}: damaged, no region of interest of ImageJ ({type(error).__name__})"
        ) from error
    xy = np.concatenate([np.reshape(points, (-1, 2)) for points, _ in parts])
    planes = np.concatenate([np.full(len(p), _roi_plane(roi)) for p, roi in parts])
    labels = np.concatenate([np.full(len(p), str(roi.name or "")) for p, roi in parts])
    position = np.asarray(xy[:, ::-1], dtype=float)
    table = pd.DataFrame(
        {
            "y_px": [repr(float(v)) for v in position[:, 0]],
            "x_px": [repr(float(v)) for v in position[:, 1]],
            "label": labels,
        }
    )
    stacked = len(planes) > 0 and bool((planes >= 0).all()) and int(planes.max()) > 0
    return PointFile(IMAGEJ, position, planes if stacked else None, table, path.name)


def _roi_points(roi: object) -> FloatArray:
    """Points of a point selection; of any other shape its middle, `(M, 2)` as (x, y)."""
    import roifile

    assert isinstance(roi, roifile.ImagejRoi)
    if roi.roitype == roifile.ROI_TYPE.POINT or roi.n_coordinates > 0:
        found = np.asarray(roi.coordinates(), dtype=float)
        if roi.roitype == roifile.ROI_TYPE.POINT:
            return found
        return np.asarray(found.mean(axis=0, keepdims=True))
    return np.array([[0.5 * (roi.left + roi.right), 0.5 * (roi.top + roi.bottom)]])


def _roi_plane(roi: object) -> int:
    import roifile

    assert isinstance(roi, roifile.ImagejRoi)
    return max(int(roi.position), int(roi.z_position), int(roi.t_position)) - 1


def _from_atomap(path: Path) -> PointFile | None:
    """Positions of all sublattices of an atom lattice that atomap saved."""
    try:
        with h5py.File(path, "r") as file:
            groups = [
                group
                for group in file.values()
                if isinstance(group, h5py.Group) and isinstance(group.get(_ATOMAP), h5py.Dataset)
            ]
            if not groups:
                return None
            sets = [group[_ATOMAP] for group in groups]
            if any(d.ndim != 2 or d.shape[1] != 2 or d.shape[0] > _MANY for d in sets):
                raise DefectStrainError(
                    f"{path.name}: got {_ATOMAP} of shape {sets[0].shape}, expected (N, 2)"
                )
            xy = [np.asarray(d[()], dtype=float) for d in sets]
            names = [str(group.name).strip("/") for group in groups]
    except OSError:
        return None
    position = np.concatenate(xy)[:, ::-1]
    if not np.isfinite(position).all():
        raise DefectStrainError(f"{path.name}: got positions that are no numbers")
    table = pd.DataFrame(
        {
            "y_px": [repr(float(v)) for v in position[:, 0]],
            "x_px": [repr(float(v)) for v in position[:, 1]],
            "sublattice": np.repeat(names, [len(one) for one in xy]),
        }
    )
    return PointFile(ATOMAP, position, None, table, path.name)


def _from_pairs(path: Path) -> PointFile | None:
    """Pairs (x, y) as atomap returns them; an array of any other shape is an image."""
    try:
        lazy = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if lazy.ndim != 2 or lazy.shape[1] != 2 or lazy.dtype.kind not in "fiu":
        return None
    xy = np.asarray(lazy, dtype=float)
    if not np.isfinite(xy).all():
        raise DefectStrainError(f"{path.name}: got positions that are no numbers")
    return PointFile(ATOMAP, xy[:, ::-1], name=path.name)
