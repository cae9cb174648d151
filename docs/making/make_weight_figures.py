"""Make docs/images/weights_*.png: how heavy the columns of two images are, as the judge finds it.

The bundled sample of one region, and a simulated image under hard conditions, of which it prints
the true shares beside those found: ``python docs/making/make_weight_figures.py`` (half a minute).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.spatial import cKDTree

from napari_defectstrain.io.files import read_images
from napari_defectstrain.judge.histograms import weight_histograms
from napari_defectstrain.materials import WSE2
from napari_defectstrain.output.figures.files import save_figure
from napari_defectstrain.output.figures.weights import weights_figure
from napari_defectstrain.pipeline.chain import detect_images
from napari_defectstrain.pipeline.runs import RunConfig
from napari_defectstrain.simulate.dataset import simulate_image
from napari_defectstrain.types import CalibratedImage, Sites

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
from bench_detect import hard_like  # noqa: E402

IMAGES = ROOT / "docs" / "images"
SEED = 12


def judged(image: CalibratedImage) -> Sites:
    """Columns of one image, weighed."""
    return detect_images([image], RunConfig())[0].sites


def draw(sites: Sites, name: str) -> None:
    """Write the figure of an image."""
    histograms = weight_histograms([sites])
    assert histograms is not None
    figure: Figure = weights_figure(histograms, WSE2)
    save_figure(figure, IMAGES / name)
    shares = dict(zip(sites.class_names, histograms.chalcogen.share, strict=True))
    print(name, {k: round(100 * float(v), 2) for k, v in shares.items()})


def true_shares(class_index: np.ndarray) -> Mapping[str, float]:
    """Of the chalcogen columns [%]."""
    chalcogen = (class_index > 0) & (class_index < 6)
    return {
        name: round(100 * float((class_index[chalcogen] == k).mean()), 2)
        for k, name in enumerate(WSE2.class_names)
        if 0 < k < 6
    }


def main() -> None:
    """Both figures."""
    draw(judged(read_images(ROOT / "sample_data" / "one_region.tif")[0]), "weights_sample.png")
    rng = np.random.default_rng(SEED)
    made = simulate_image(hard_like(rng), rng, "hard")
    sites = judged(made.image)
    draw(sites, "weights_hard.png")
    print("true shares", true_shares(np.asarray(made.class_index)))
    known = np.isfinite(sites.weight) & (sites.class_index > 0)
    _, own = cKDTree(made.position_px).query(sites.position_px[known])
    wrong = np.asarray(made.class_index)[own] != sites.class_index[known]
    print(f"{wrong.sum()} of {known.sum()} weighed chalcogen columns are of another class")


if __name__ == "__main__":
    main()
