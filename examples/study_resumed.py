"""A study that is corrected and taken up again.

python examples/study_resumed.py [FOLDER]

A folder keeps images, columns and every correction. Here doubtful columns are taken out, the study
is closed, opened again, and measured: what was corrected is known, by whom, and nothing else is
done anew.
"""

import sys
from pathlib import Path

import numpy as np
from known import known_images
from matplotlib.figure import Figure

import napari_defectstrain as nds
from napari_defectstrain.output import save_figure


def main(picture: Path, size: int = 512, config: nds.RunConfig | None = None) -> None:
    """Make a study, correct it, open it again, measure, and draw what was corrected."""
    known_images(picture.parent, 1, size)
    folder = picture.parent / "alloy"
    with nds.create_study(folder, config or nds.RunConfig(), [picture.parent / "known_1.tif"]) as s:
        nds.run_study(s, detect_only=True)
        columns = s.sites("known_1")
        kept = columns.probability >= np.quantile(columns.probability, 0.01)
        s.record("known_1", columns.subset(kept), user="anna")
    with nds.open_study(folder) as s:
        print(s.history_table()[["image", "what", "user"]].to_string(index=False))
        print(f"{s.edited_columns('known_1')} columns were corrected")
        result = nds.run_study(s)
    for name, measured in result.measurements.items():
        print(f"{name}: N = {measured.spacing.n}, {measured.spacing.spacing_pm:.2f} pm")
    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(result.images[0].data, cmap="gray")
    y, x = columns.position_px[~kept].T
    axes.scatter(x, y, s=120, facecolors="none", edgecolors="C1", linewidths=1.5)
    axes.set_title("columns that were taken out by hand", fontsize="medium")
    axes.set_axis_off()
    save_figure(figure, picture)


if __name__ == "__main__":
    main(Path(*sys.argv[1:], "study_resumed.png"))
