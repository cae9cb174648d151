"""Images with known columns, which the other examples begin with.

python examples/known.py [FOLDER]

Simulated as the paper's images were taken: 80 kV, 20.74 pm a pixel, 1.2e7 electrons per nm². What
is in them is known, so that every example can say beside its numbers what should come out.
"""

import sys
from pathlib import Path

import numpy as np

import napari_defectstrain as nds
from napari_defectstrain.io import read_sites
from napari_defectstrain.output import detections_figure, save_figure
from napari_defectstrain.simulate import CrystalConfig, ScanConfig, SimulatedImage, write_simulated
from napari_defectstrain.types import Sites

WSE2 = nds.get_material("WSe2")
BUILT_IN = dict(zip(WSE2.defect_names, CrystalConfig().spacing_change, strict=True))
"""What each class does to the spacing of the three metal columns around it."""


def known_images(
    folder: Path,
    count: int = 2,
    size: int = 512,
    fractions: tuple[float, ...] = (0.03, 0.02, 0.03, 0.01),
) -> tuple[list[SimulatedImage], list[Sites]]:
    """Images of `size` pixels a side, written to a folder, and their true columns.

    Shares of the chalcogen columns: SeTe, 2Te, SV, DV.
    """
    made, columns = [], []
    for seed in range(count):
        scan = ScanConfig(shape=(size, size), rotation_deg=8.0 + 20 * seed, jitter_px=0.5)
        config = nds.SimulationConfig(crystal=CrystalConfig(fractions=fractions), scan=scan)
        one = nds.simulate_image(config, np.random.default_rng(seed), f"known_{seed + 1}")
        _, truth = write_simulated(one, folder.joinpath)
        made.append(one)
        columns.append(read_sites(truth, WSE2.class_names))
    return made, columns


def main(picture: Path, size: int = 512) -> None:
    """Write one image, and draw its defects."""
    (one,), (columns,) = known_images(picture.parent, 1, size)
    for name in WSE2.defect_names:
        print(f"{name}: {(columns.class_name == name).sum()} of {len(columns)} columns")
    save_figure(detections_figure(one.image, columns, WSE2), picture)


if __name__ == "__main__":
    main(Path(*sys.argv[1:], "known.png"))
