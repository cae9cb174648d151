"""What detection makes of real images: a picture and a line each.

``DEFECTSTRAIN_REAL_IMAGES=FOLDER python benchmarks/real_images.py [--out docs/images]`` detects on
every image of the folder and writes ``real_<name>.png``; the lines go to the terminal.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from napari_defectstrain.detect.predict import detect_columns
from napari_defectstrain.figures import detections_figure
from napari_defectstrain.io import read_images
from napari_defectstrain.materials import WSE2
from napari_defectstrain.types import DefectStrainError

SUFFIXES = (".tif", ".dm3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    folder = Path(os.environ["DEFECTSTRAIN_REAL_IMAGES"])
    for path in sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES):
        for image in read_images(path):
            stated = f"{image.pixel_size_pm:.2f}" if image.pixel_size_pm else "no"
            print(f"{image.name}: {image.data.shape[1]} x {image.data.shape[0]} px, {stated} pm")
            try:
                found = detect_columns(image)
            except DefectStrainError as error:
                print(f"  refused: {error}")
                continue
            names, counts = np.unique(found.sites.class_name, return_counts=True)
            print("  " + ", ".join(f"{c} {n}" for n, c in zip(names, counts, strict=True)))
            for warning in found.warnings:
                print(f"  warning: {warning}")
            figure = detections_figure(image, found.sites, WSE2)
            figure.savefig(options.out / f"real_{image.name}.png", dpi=80)


if __name__ == "__main__":
    main()
