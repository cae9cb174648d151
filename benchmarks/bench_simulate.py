"""Time of one simulated exposure of the paper's kind, 1024 x 1024 px, on one core.

``OMP_NUM_THREADS=1 python benchmarks/bench_simulate.py [--images 8]`` prints the median time of an
exposure of a crystal that is there, of an image with its crystal, and of a training window.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from napari_defectstrain.detect.training.windows import draw_window
from napari_defectstrain.simulate.acquisition import contamination, expose
from napari_defectstrain.simulate.conditions import Conditions
from napari_defectstrain.simulate.dataset import crystal_for, crystal_image, simulate_image
from napari_defectstrain.simulate.samples import paper_like


def timed(what: Callable[[], object], repeats: int) -> float:
    """Median time of the processor [s]: other work on the machine counts little."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        what()
        seconds.append(time.process_time() - start)
    return float(np.median(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=8)
    repeats = parser.parse_args().images
    rng = np.random.default_rng(1)
    config = paper_like(rng, 10.0)
    crystal = crystal_for(config, rng)
    origin = (np.asarray(config.scan.shape) - 1) / 2

    def exposure() -> None:
        clean, _ = crystal_image(crystal, config, origin)
        expose(clean + contamination(config.scan, rng), config.scan, rng)

    exposure()  # warms the plans of the Fourier transforms
    print(f"{timed(exposure, repeats):.3f} s an exposure of 1024 x 1024 px")
    whole = timed(lambda: simulate_image(paper_like(rng, 20.0), rng), repeats)
    print(f"{whole:.3f} s an image of 1024 x 1024 px with its crystal")
    conditions = Conditions()
    window = timed(lambda: draw_window(conditions, 128, rng), 8 * repeats)
    print(f"{window:.3f} s a training window of 128 x 128 px")


if __name__ == "__main__":
    main()
