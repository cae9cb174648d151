"""Averages where defects crowd: every defect instead of isolated ones.

python examples/crowded.py [FOLDER]

Where every tenth column is a defect, hardly any has two perfect shells around it. With `crowded`
the fields of the neighbours are fitted along, and every defect counts. The picture has both beside
what was built in.
"""

import sys
from pathlib import Path

from known import BUILT_IN, known_images
from matplotlib.figure import Figure

import napari_defectstrain as nds
from napari_defectstrain.output import save_figure


def main(picture: Path, size: int = 512, config: nds.RunConfig | None = None) -> None:
    """Measure isolated and all defects, and draw their strains."""
    made, columns = known_images(picture.parent, 2, size, (0.04, 0.03, 0.04, 0.0))
    config = config or nds.RunConfig()
    config = config.replace(average=config.average.replace(crowded=True))
    result = nds.run([one.image for one in made], config, columns)
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    names = [name for name in ("SeTe", "2Te", "SV") if name in result.crowded]
    ways = (("isolated", result.measurements, -0.12), ("every defect", result.crowded, 0.12))
    for k, name in enumerate(names):
        axes.plot([k - 0.3, k + 0.3], [100 * BUILT_IN[name]] * 2, color="0.6", lw=4, zorder=0)
        for (label, measured, shift), colour in zip(ways, ("C0", "C1"), strict=True):
            if name not in measured or measured[name].strain is None:
                continue
            s = measured[name].spacing
            print(f"{name}, {label}: N = {s.n}, {s.strain:+.2%} ± {s.strain_total_std:.2%}")
            bar = {"fmt": "o", "color": colour, "label": label if k == len(names) - 1 else None}
            axes.errorbar(k + shift, 100 * s.strain, 100 * s.strain_total_std, **bar)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("strain of the W triangle (%)")
    axes.set_title("built in (grey) and measured, ± total error", fontsize="medium")
    axes.legend(frameon=False)
    save_figure(figure, picture)


if __name__ == "__main__":
    main(Path(*sys.argv[1:], "crowded.png"))
