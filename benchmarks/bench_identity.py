"""Does an image pass as a monolayer of what it isn't, and is one refused that is?

``python benchmarks/bench_identity.py PROFILES.npz`` makes images by both simulators (every second one
processed as people do), tests each by itself as the material that is asked for, and prints how
many are refused, doubted and passed. PROFILES.npz is that of ``other_simulator.py profiles``.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from other_layers import make, processed

from napari_defectstrain.materials import MATERIALS, get_material
from napari_defectstrain.pipeline.fitness import identify_images
from napari_defectstrain.pipeline.loading import calibrate
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulationConfig, simulate_image
from napari_defectstrain.simulate.structure import CrystalConfig
from napari_defectstrain.types import CalibratedImage, DefectStrainError

OTHERS = (
    *(("AA'", m, m, True) for m in ("WSe2", "MoS2")),
    *(("AB", m, m, True) for m in ("WSe2", "MoS2", "WS2")),
    *(("graphene", "WSe2", m, True) for m in ("WSe2", "MoS2")),
    *(("hBN", "WSe2", m, True) for m in ("WSe2", "MoSe2")),
    *(("hBN", "WSe2", m, False) for m in ("WSe2", "MoSe2")),
    ("square", "WSe2", "WSe2", True),
    *(("alloy", m, m, True) for m in ("WSe2", "MoS2")),
    *(("ABF", m, m, True) for m in ("WSe2", "MoS2")),
    *(("monolayer", "MoS2", m, False) for m in ("MoSe2", "WSe2")),
)
"""Kind, material it is made of, material asked for, and whether the file states a scale."""
GOOD = tuple(
    ("monolayer", m, m, scale) for m in ("WSe2", "MoS2", "WS2", "MoSe2") for scale in (True, False)
)


def verdict(data: np.ndarray, pixel_pm: float | None, asked: str) -> tuple[str, str]:
    """What becomes of an image on its own: agrees, doubtful or refused, and the line."""
    material = get_material(asked)
    try:
        image, _ = calibrate(CalibratedImage(data, pixel_pm, "image"), material)
    except DefectStrainError as error:
        return "refused", str(error)
    found = identify_images([image], material).images[0]
    return found.verdict, found.line


def own(material: str, rng: np.random.Generator, side_px: int) -> tuple[np.ndarray, float]:
    """A monolayer by the package's own simulator."""
    pixel = float(rng.uniform(15, 26))
    config = SimulationConfig(
        crystal=CrystalConfig(material=material, fractions=(0.02, 0.01, 0.04, 0.004)),
        scan=ScanConfig(
            shape=(side_px, side_px), pixel_size_pm=pixel, rotation_deg=float(rng.uniform(0, 60)),
            dose_e_per_nm2=1.2e7, jitter_px=0.8, read_noise=0.1, contamination=0.1,
        ),
    )  # fmt: skip
    return simulate_image(config, rng).image.data.astype(float), pixel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profiles", type=Path)
    parser.add_argument("--images", type=int, default=20, help="of each kind")
    parser.add_argument("--seed", type=int, default=404)
    parser.add_argument("--side", type=int, default=256)
    options = parser.parse_args()
    tables = np.load(options.profiles)
    print("kind, of, asked as, scale: refused doubtful agrees")
    for kind, made_of, asked, scale in (*OTHERS, *GOOD):
        counts: Counter[str] = Counter()
        for k in range(options.images if (kind, made_of, asked, scale) in OTHERS else 12):
            seed = [options.seed, k, *map(ord, kind + made_of)]
            rng = np.random.default_rng(seed)
            image, pixel = make(kind, made_of, tables, rng, options.side)
            image = processed(image, pixel, rng) if k % 2 else image
            found, line = verdict(image, pixel if scale else None, asked)
            counts[found] += 1
            if (found != "agrees") == (made_of == asked and kind == "monolayer"):
                print("   ", k, line or "passed")
        print(
            kind,
            made_of,
            asked,
            scale,
            *(counts[v] for v in ("refused", "doubtful", "agrees")),
            flush=True,
        )
    counts = Counter()
    for k, material in enumerate(sorted(MATERIALS) * 3):
        rng = np.random.default_rng([options.seed, k])
        image, pixel = own(material, rng, options.side)
        image = processed(image, pixel, rng) if k % 2 else image
        found, line = verdict(image, pixel, material)
        counts[found] += 1
        if found != "agrees":
            print("   ", k, line)
    print("own simulator, all materials", *(counts[v] for v in ("refused", "doubtful", "agrees")))


if __name__ == "__main__":
    main()
