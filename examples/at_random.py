"""Populations, and whether defects lie at random.

python examples/at_random.py [FOLDER]

Shares of every class with intervals, and pairs of classes by distance beside what random placement
on the same sites gives. The defects of this image were placed at random: the envelope should hold
them.
"""

import sys
from pathlib import Path

from known import WSE2, known_images
from matplotlib.figure import Figure

import napari_defectstrain as nds
from napari_defectstrain.crystal import find_patterns
from napari_defectstrain.output import draw_pairs, save_figure
from napari_defectstrain.pipeline import detect


def main(picture: Path, size: int = 1024) -> None:
    """Count the known columns of an image, and draw their pair correlations."""
    made, columns = known_images(picture.parent, 1, size, (0.05, 0.0, 0.05, 0.0))
    found = detect([made[0].image], nds.RunConfig(), columns)
    of_all = found.populations[found.populations["image"] == "all"]
    of_all = of_all[["class", "columns", "concentration", "crystal_low", "crystal_high"]]
    print(of_all.to_string(index=False, float_format="%.4f"))
    patterns = find_patterns(["known"], columns, found.regions, WSE2.lattice_pm)
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    draw_pairs(figure, patterns.pair_correlation, WSE2.class_names, columns=3)
    save_figure(figure, picture)


if __name__ == "__main__":
    main(Path(*sys.argv[1:], "at_random.png"))
