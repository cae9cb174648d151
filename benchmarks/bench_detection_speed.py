"""CPU seconds a megapixel of detection: the network, its columns, regions and the judge.

``OMP_NUM_THREADS=1 python benchmarks/bench_detection_speed.py [--quick] [--repeat N]``: the first
of the nine sample regions (1024 x 1024 px of 20.74 pm), one thread; of N runs in turn (3) the
quickest counts. ``--quick``: its middle of 512 x 512 px, once, where what doesn't grow with the
pixels weighs more.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from napari_defectstrain.crystal.region_search import find_regions
from napari_defectstrain.detect.finding.predict import detect_columns
from napari_defectstrain.detect.network.config import DetectConfig
from napari_defectstrain.io.files import read_images
from napari_defectstrain.judge.judging import judge_images
from napari_defectstrain.materials import get_material

SAMPLE = Path(__file__).parents[1] / "sample_data" / "nine_regions_1.tif"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> None:
    """Print the table."""
    if any(os.environ.get(name) != "1" for name in THREADS):  # read when numpy is imported
        os.environ.update(dict.fromkeys(THREADS, "1"))
        os.execv(sys.executable, [sys.executable, *sys.argv])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="512 x 512 px, once")
    parser.add_argument("--repeat", type=int, default=3, help="runs (3)")
    options = parser.parse_args()
    image = read_images(SAMPLE)[0]
    if options.quick:
        image = replace(image, data=image.data[256:768, 256:768].copy())
    material = get_material("WSe2")
    found = detect_columns(image)
    sites, pixel_pm = found.sites, found.pixel_size_pm
    stages: dict[str, Callable[[], object]] = {
        f"columns, {n} orientation{'s' * (n > 1)}": lambda n=n: detect_columns(
            image, DetectConfig(symmetries=n)
        )
        for n in (1, 2, 4)
    }
    a_px = material.lattice_pm / pixel_pm
    stages["regions"] = lambda: find_regions(image.data, sites, a_px)
    stages["judge"] = lambda: judge_images([image], [sites], [pixel_pm], material)
    megapixels = image.data.size / 1e6
    least = dict.fromkeys(stages, float("inf"))
    for _ in range(1 if options.quick else options.repeat):
        for name, work in stages.items():
            start = time.process_time()
            work()
            least[name] = min(least[name], time.process_time() - start)
    print("| stage | CPU, s a megapixel |\n| --- | --- |")
    for name, seconds in least.items():
        print(f"| {name} | {seconds / megapixels:.2f} |")
    whole = sum(least[n] for n in ("columns, 1 orientation", "regions", "judge"))
    print(f"| **all three, one orientation** | **{whole / megapixels:.2f}** |")


if __name__ == "__main__":
    main()
