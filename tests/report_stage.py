"""A folder of results with made-up numbers that a test can know, as `run` lays it out."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from napari_defectstrain.io.files import write_json, write_table, write_tiff
from napari_defectstrain.io.out_folder import file_sha256
from napari_defectstrain.pipeline.runs import RunConfig
from napari_defectstrain.types import STRAIN_COMPONENTS

BAD_NAME = "a <b> & 'c'"
"""What a file of an image may be called."""


def results_folder(folder: Path) -> Path:
    """Write a small run on two images: SV measured well, DV of five windows."""
    (folder / "figures").mkdir(parents=True)
    images = [_image(BAD_NAME), _image("second")]
    for image in images:
        write_table(folder / f"{image['name']}.sites.csv", _sites())
    tables = {
        "spacings.csv": _spacings(),
        "populations.csv": _populations([image["name"] for image in images]),
        "budget.csv": _budget(),
        "displacement.csv": _displacement(),
        "half_sets.csv": pd.DataFrame({"class": ["SV"], "pull": [0.4], "resolution_pm": [100.0]}),
    }
    for name, table in tables.items():
        write_table(folder / name, table)
    _maps(folder)
    for name in ("averages", "spacings", "strain_SV", f"detections_{BAD_NAME}", "of_another"):
        (folder / "figures" / f"{name}.png").write_bytes(png())
    write_table(folder / "figures" / "spacings.csv", pd.DataFrame({"x": [1.0], "y": [2.0]}))
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if path.is_file()]
    listed = {"files": files, "sha256": _hashes(folder, files)}
    write_json(folder / "run.json", {**_about(images), **listed})
    return folder


def _hashes(folder: Path, files: list[str]) -> dict[str, str]:
    return {name: file_sha256(folder / name) for name in files}


def png(side: int = 60) -> bytes:
    """A picture."""
    packed = io.BytesIO()
    Image.fromarray(np.arange(side * side, dtype=np.uint8).reshape(side, side)).save(packed, "PNG")
    return packed.getvalue()


def _about(images: list[dict]) -> dict:
    return {
        "software": "napari-defectstrain",
        "version": "0.1.0",
        "weights_sha256": "f" * 64,
        "parameters": RunConfig(bootstrap=500).to_dict(),
        "versions": {"python": "3.11.7", "numpy": "2.0.0"},
        "images": images,
        "failed": [{"name": "third", "reason": "third: no lattice"}],
        "identity": {"verdict": "agrees", "forced": False, "lines": []},
        "out_of_range": [],
        "a_ref_pm": 330.0,
        "seconds": {"detect": 1.0, "measure": 2.0},
        "warnings": ["<script>alert(1)</script>"],
    }


def _image(name: str) -> dict:
    return {
        "name": name,
        "shape": [512, 512],
        "pixel_size_pm": 20.0,
        "file_sha256": "a" * 64,
        "calibration": "file",
        "conditions": {"beam energy": 80.0, "dose": 1.24e7, "semi-angle": 25.0},
        "metadata": {"pixel_size_by_lattice_pm": 20.05},
        "columns": 4,
    }


def _sites() -> pd.DataFrame:
    rows = {"y_px": [1.0, 2.0, 3.0, 4.0], "x_px": 5.0, "class": ["W", "2Se", "SV", "SV"]}
    return pd.DataFrame({**rows, "source": ["model", "model", "model", "manual"]})


def _spacings() -> pd.DataFrame:
    rows = {
        "class": ["2Se", "SV", "DV"],
        "n": [400, 300, 5],
        "n_excluded": [0, 2, 0],
        "spacing_pm": [330.0, 313.5, 302.0],
        "precision_pm": [0.1, 0.2, 0.9],
        "strain": [0.0, -0.05, -0.085],
        "strain_std": [0.0, 0.0006, 0.003],
        "purity": [0.999, 0.99, 0.97],
        "sigma_stat": [0.0, 0.0006, 0.003],
        "sigma_total": [0.0, 0.001, 0.005],
        "n_images": [2, 2, 1],
        "floor_pm": [0.05, 0.0, np.nan],
        "floor_std_pm": [0.02, 0.0, np.nan],
        "target_pm": 0.3,
        "windows_needed": [250.0, 260.0, np.nan],
    }
    return pd.DataFrame(rows)


def _populations(names: list[str]) -> pd.DataFrame:
    rows = [
        {
            "image": image,
            "class": name,
            "columns": columns,
            "concentration": share,
            "corrected": share,
            "crystal_low": 0.9 * share,
            "crystal_high": 1.1 * share,
            "per_nm2": 0.1,
        }
        for image in (*names, "all")
        for name, columns, share in (("SV", 270, 0.05), ("vacancy fraction", 270, 0.025))
    ]
    return pd.DataFrame(rows)


def _budget() -> pd.DataFrame:
    rows = [
        ("SV", "statistical", "statistical", 0.0006),
        ("SV", "profile", "systematic", 0.0008),
        ("SV", "total", "total", 0.001),
        ("SV", "impurity", "subtracted", -0.0001),
        ("DV", "statistical", "statistical", 0.003),
        ("DV", "registration", "unknown", np.nan),
        ("DV", "total", "total", 0.005),
    ]
    return pd.DataFrame(rows, columns=["class", "part", "kind", "strain"])


def _displacement() -> pd.DataFrame:
    return pd.DataFrame({"class": ["SV"] * 3, "ux_pm": [3.0, 0.0, 1.0], "uy_pm": [4.0, 1.0, 0.0]})


def _maps(folder: Path) -> None:
    grid = np.linspace(-100.0, 100.0, 11)
    about = {"step_pm": 20.0, "origin_px": [5.0, 5.0]}
    height = np.arange(121.0).reshape(11, 11)
    write_tiff(folder / "average_SV.tif", height.astype(np.float32), 20.0, about)
    strain = np.stack([np.full((11, 11), 0.01 * (k + 1)) for k in range(5)])
    strain[:, 0] = np.nan
    where = {**about, "x_pm": grid.tolist(), "y_pm": grid[::-1].tolist()}
    for name, values in (("strain_SV.tif", strain), ("strain_SV.sigma.tif", 0.1 * strain)):
        stack = values.astype(np.float32)
        write_tiff(folder / name, stack, 20.0, where, channels=STRAIN_COMPONENTS)
