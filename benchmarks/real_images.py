"""What detection makes of real images: a picture and some lines each.

``DEFECTSTRAIN_REAL_IMAGES=FOLDER python benchmarks/real_images.py [--out docs/images]`` detects on
every image of the folder, as the material that its name holds, and writes ``real_<name>.png``; the
lines go to the terminal. Where ``<name>_points.csv`` lists columns (x, y), their recall and the
precision within 60 pm are printed.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from napari_defectstrain.evaluation.score import match_columns
from napari_defectstrain.materials import DEFECT_ROLES, ROLES
from napari_defectstrain.output.figures.maps import detections_figure
from napari_defectstrain.pipeline.chain import detect
from napari_defectstrain.pipeline.loading import PIXEL_SIZE_BY_LATTICE, load_images
from napari_defectstrain.pipeline.runs import RunConfig, RunResult
from napari_defectstrain.types import DefectStrainError

SUFFIXES = (".tif", ".dm3")
NEAR_PM = 60.0


def material_of(name: str) -> str:
    """The material in a file's name; WSe2 where there is none."""
    return next((m for m in ("MoSe2", "MoS2", "WS2") if m.lower() in name.lower()), "WSe2")


def describe(result: RunResult) -> None:
    image, sites = result.images[0], result.sites[0]
    by_lattice = float(image.metadata[PIXEL_SIZE_BY_LATTICE])
    print(f"  {by_lattice:.2f} pm by the lattice of {result.material.name}")
    names, counts = np.unique(sites.class_name, return_counts=True)
    print("  " + ", ".join(f"{c} {n}" for n, c in zip(names, counts, strict=True)))
    for warning in result.warnings:
        print(f"  warning: {warning}")


def compare(result: RunResult, points: Path) -> None:
    listed = np.loadtxt(points, delimiter=",", skiprows=1, usecols=(0, 1))[:, ::-1]
    pixel_pm = float(result.images[0].metadata[PIXEL_SIZE_BY_LATTICE])
    found = result.sites[0]
    hit, _ = match_columns(found.position_px, listed, NEAR_PM / pixel_pm)
    extra = np.setdiff1d(np.arange(len(found)), hit)
    empty = int((found.class_index[extra] == ROLES.index(DEFECT_ROLES[3])).sum())
    print(
        f"  of {len(listed)} listed columns: recall {len(hit) / len(listed):.4f}, precision "
        f"{len(hit) / len(found):.4f} within {NEAR_PM:g} pm; {empty} of the {len(extra)} others "
        "are empty columns (DV)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    folder = Path(os.environ["DEFECTSTRAIN_REAL_IMAGES"])
    for path in sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES):
        images, _ = load_images([path], frames=False)
        image = images[0]
        stated = f"{image.pixel_size_pm:.2f}" if image.pixel_size_pm else "no"
        print(f"{path.stem}: {image.data.shape[1]} x {image.data.shape[0]} px, {stated} pm")
        try:
            result = detect([image], RunConfig(material=material_of(path.stem)))
        except DefectStrainError as error:
            print(f"  refused: {error}")
            continue
        describe(result)
        points = path.with_name(f"{path.stem}_points.csv")
        if points.is_file():
            compare(result, points)
        figure = detections_figure(result.images[0], result.sites[0], result.material)
        figure.savefig(options.out / f"real_{path.stem}.png", dpi=80)


if __name__ == "__main__":
    main()
