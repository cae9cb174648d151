"""Detection checked against the truth.

python examples/against_truth.py [FOLDER]

The bundled network and the judge look for every column of an image whose columns are known;
precision, recall and F1 of each class come out, as `defectstrain evaluate` has them.
"""

import sys
from pathlib import Path

import numpy as np
from known import WSE2, known_images
from matplotlib.figure import Figure

import napari_defectstrain as nds
from napari_defectstrain.evaluation import HIT_RADIUS_PM, confusion_matrix, scores
from napari_defectstrain.output import save_figure
from napari_defectstrain.pipeline import detect


def main(picture: Path, size: int = 512, config: nds.RunConfig | None = None) -> None:
    """Detect, compare, and draw the confusion matrix."""
    (one,), (truth,) = known_images(picture.parent, 1, size)
    found = detect([one.image], config or nds.RunConfig())
    counts = confusion_matrix(
        found.sites[0], truth, one.image.data.shape, float(one.image.pixel_size_pm)
    )
    print(f"a hit lies within {HIT_RADIUS_PM:g} pm of a true column of the same class")
    print(scores(counts, WSE2.class_names).to_string(index=False, float_format="%.3f"))
    names = [*WSE2.class_names, "none"]
    figure = Figure(figsize=(4, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(np.log1p(counts), cmap="Blues")
    for (row, column), value in np.ndenumerate(counts):
        if value:
            dark = value > np.sqrt(counts.max())
            axes.text(column, row, value, ha="center", va="center", color="w" if dark else "k")
    axes.set_xticks(range(len(names)), names, rotation=45)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="found", ylabel="true")
    save_figure(figure, picture)


if __name__ == "__main__":
    main(Path(*sys.argv[1:], "against_truth.png"))
