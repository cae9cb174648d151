"""Make docs/images/passivated.png: how a stack with passivated vacancies would look.

One stack each with 0, 10 and 30 % of them, as ``benchmarks/bench_populations_of_a_class.py`` draws
it, at the paper's numbers and noise: ``python docs/making/make_passivated_figure.py`` (15 s). It
prints what is said of each.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from napari_defectstrain.materials import WSE2
from napari_defectstrain.output.figures.files import for_print, save_figure
from napari_defectstrain.output.figures.makeup import draw_component, draw_populations
from napari_defectstrain.output.figures.panels import letter_titles
from napari_defectstrain.precision import ClassMakeup, MakeupConfig
from napari_defectstrain.precision.makeup import class_makeups
from napari_defectstrain.simulate import ProbeConfig, ScanConfig

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import bench_populations_of_a_class as bench  # noqa: E402

SHARES = (0.0, 0.1, 0.3)
SEED = 501  # of the benchmark's development seeds


def makeups() -> list[ClassMakeup]:
    """What each of the stacks is made of, with its first component."""
    pool = bench.pool(ProbeConfig(), np.random.default_rng([SEED, 0]))
    scan, rng = ScanConfig(), np.random.default_rng([SEED, 1])
    reference = bench.exposed(pool.reference, bench.N_REFERENCE, scan, rng)
    relaxed = bench.exposed(pool.relaxed, bench.N_SV, scan, rng)
    number = [int(rng.binomial(bench.N_SV, share)) for share in SHARES]
    passivated = bench.exposed(pool.passivated, max(number), scan, rng)
    config, found = MakeupConfig(samples=119, components=1), []
    for k in number:
        windows = np.concatenate([passivated[:k], relaxed[k:]])
        stacks, averages, columns = bench.measured(reference, windows)
        names = (bench.CLASS,)
        shown = class_makeups(names, columns, stacks, averages, bench.REFERENCE, config)
        asked = bench.ask(reference, windows, config, [SEED, 2])
        found.append(replace(asked, components=shown[bench.CLASS].components))
    return found


@for_print
def passivated_figure(found: list[ClassMakeup]) -> Figure:
    """Windows by weight and triangle, and below how they vary; a column a share."""
    figure = Figure(figsize=(6.9, 5.0), layout="constrained")
    panels = figure.subplots(2, len(found), height_ratios=(1.35, 1.0))
    for k, (share, makeup) in enumerate(zip(SHARES, found, strict=True)):
        draw_populations(panels[0, k], bench.CLASS, makeup, WSE2, in_words=False)
        panels[0, k].set_title(f"{100 * share:.0f} % passivated", fontsize=8)
        draw_component(panels[1, k], makeup.components[0], 1)
    low = min(axes.get_ylim()[0] for axes in panels[0])
    high = max(axes.get_ylim()[1] for axes in panels[0])
    for axes in panels[0]:
        axes.set_xlim(-0.15, 0.15)
        axes.set_ylim(low, high)
    letter_titles(panels.ravel())
    return figure


def main() -> None:
    """Draw the figure."""
    found = makeups()
    for share, makeup in zip(SHARES, found, strict=True):
        print(f"{100 * share:.0f} %: {makeup.in_words}; {makeup.components[0].kind}")
    save_figure(passivated_figure(found), ROOT / "docs" / "images" / "passivated.png")


if __name__ == "__main__":
    main()
