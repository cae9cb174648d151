"""Does an image pass as a monolayer of what it isn't, and is one refused that is?

``python benchmarks/bench_identity.py PROFILES.npz`` makes images by both simulators (every second
one processed as people do), tests each by itself as the material that is asked for, and prints how
many are refused, doubted and passed; then alloys of chalcogens and of metals by the package's own
simulator, by whether their sublattices are the other way than brightness says. PROFILES.npz is
that of ``other_simulator.py profiles``.

``--panel``: the images of `identity_panel` instead, good monolayers, wrong crystals (``--images``
of each) and hostile monolayers; those that are wrong and pass or good and don't are named one by
one.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
from identity_panel import good, hostile, mostly_tungsten, wrong
from other_layers import make, processed

from napari_defectstrain.materials import MATERIALS, get_material
from napari_defectstrain.pipeline.fitness import identify_images
from napari_defectstrain.pipeline.loading import calibrate
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulationConfig, simulate_image
from napari_defectstrain.simulate.lookalikes import ALLOYED, LOOKALIKES
from napari_defectstrain.simulate.scattering import nominal_weights
from napari_defectstrain.simulate.structure import CrystalConfig
from napari_defectstrain.types import CalibratedImage, DefectStrainError

ASKED: dict[tuple[str, str], tuple[tuple[str, bool], ...]] = {
    ("monolayer", "WSe2"): (("WSe2", True), ("WSe2", False)),
    ("monolayer", "MoS2"): (("MoS2", True), ("MoS2", False), ("MoSe2", False), ("WSe2", False)),
    ("monolayer", "WS2"): (("WS2", True), ("WS2", False)),
    ("monolayer", "MoSe2"): (("MoSe2", True), ("MoSe2", False)),
    ("AB", "WSe2"): (("WSe2", True), ("WSe2", False)),
    ("AB", "MoS2"): (("MoS2", True), ("MoS2", False)),
    ("alloy", "WSe2"): (("WSe2", True), ("WSe2", False)),
    ("alloy", "MoS2"): (("MoS2", True), ("MoS2", False)),
    ("graphene", "WSe2"): (("WSe2", True), ("MoS2", True), ("WSe2", False)),
    ("hBN", "WSe2"): (("WSe2", True), ("MoSe2", True), ("WSe2", False), ("MoSe2", False)),
    ("ABF", "WSe2"): (("WSe2", True), ("WSe2", False)),
    ("ABF", "MoS2"): (("MoS2", True), ("MoS2", False)),
    ("square", "WSe2"): (("WSe2", True), ("WSe2", False)),
    ("AA'", "WSe2"): (("WSe2", True), ("WSe2", False)),
    ("AA'", "MoS2"): (("MoS2", True), ("MoS2", False)),
    ("AB", "WS2"): (("WS2", True), ("WS2", False)),
}
"""What images show and are made of; what they are asked for as, and whether they state a scale."""
SHARES = (0.6, 0.7, 0.8, 0.9, 0.95)
VERDICTS = ("refused", "doubtful", "agrees")


def verdict(data: np.ndarray, pixel_pm: float | None, asked: str) -> tuple[str, str]:
    """What becomes of an image on its own: agrees, doubtful or refused, and the line."""
    material = get_material(asked)
    try:
        image, _ = calibrate(CalibratedImage(data, pixel_pm, "image"), material)
    except DefectStrainError as error:
        return "refused", str(error)
    found = identify_images([image], material).images[0]
    return found.verdict, found.line


def own(
    material: str,
    rng: np.random.Generator,
    side_px: int,
    fractions: tuple[float, float, float, float] = (0.02, 0.01, 0.04, 0.004),
    metals: float = 0.0,
) -> tuple[np.ndarray, float]:
    """A monolayer by the package's own simulator, a share of its metals the other metal."""
    pixel = float(rng.uniform(15, 26))
    looks = tuple(metals if k == ALLOYED else 0.0 for k in range(len(LOOKALIKES)))
    crystal = CrystalConfig(material=material, fractions=fractions, lookalikes=looks)
    config = SimulationConfig(
        crystal=crystal,
        scan=ScanConfig(
            shape=(side_px, side_px), pixel_size_pm=pixel, rotation_deg=float(rng.uniform(0, 60)),
            dose_e_per_nm2=1.2e7, jitter_px=0.8, read_noise=0.1, contamination=0.1,
        ),
    )  # fmt: skip
    return simulate_image(config, rng).image.data.astype(float), pixel


def alloys(seed: int, side_px: int) -> None:
    """Alloys asked for as what they are least of, raw and processed."""
    print("alloys: kind, of, share, exchanged by brightness:", *VERDICTS)
    total: Counter[tuple[bool, str]] = Counter()
    for kind, materials in (("chalcogens", MATERIALS), ("metals", ("WSe2", "MoSe2"))):
        for material in materials:
            weight = nominal_weights(get_material(material))
            for x in SHARES:
                rest = (0.03, 0.003)
                mixed = (1.93 * x * (1 - x), 0.965 * x * x, *rest)
                if kind == "metals":
                    mixed = (0.02, 0.01, *rest)
                metal = 1.0
                if kind == "metals":
                    metal = 1 + x * (0.49 if material.startswith("W") else 2.04) - x
                mean = float(np.dot(mixed, weight[2:6]) + (1 - sum(mixed)) * weight[1])
                exchanged = (mean > metal) != (weight[1] > 1)
                count: Counter[str] = Counter()
                for k in range(2):
                    rng = np.random.default_rng([seed, k, int(100 * x), *map(ord, kind + material)])
                    image, pixel = own(
                        material, rng, side_px, mixed, x if kind == "metals" else 0.0
                    )
                    image = processed(image, pixel, rng) if k else image
                    count[verdict(image, pixel, material)[0]] += 1
                print(
                    "   ", kind, material, x, exchanged, *(count[v] for v in VERDICTS), flush=True
                )
                total.update({(exchanged, v): n for v, n in count.items()})
    for exchanged in (True, False):
        print("alloys, exchanged by brightness" if exchanged else "alloys, not exchanged", end=" ")
        print(*(total[exchanged, v] for v in VERDICTS))


def panel(seed: int, good_count: int, count: int, tables: dict[str, np.ndarray]) -> None:
    """Verdicts on good monolayers and wrong crystals, each image by itself."""
    sets = chain(
        good(seed, good_count, tables),
        hostile(seed, 2 * count),
        mostly_tungsten(seed, count),
        wrong(seed, count, tables),
    )
    found: Counter[tuple[str, str]] = Counter()
    seconds, judged = 0.0, 0
    for k, shown in enumerate(sets):
        is_good = shown.kind.startswith(("good", "hostile"))
        start = time.process_time()
        said, line = verdict(shown.image, shown.pixel_pm, shown.asked)
        seconds, judged = seconds + time.process_time() - start, judged + 1
        name = f"{shown.kind} {shown.made_of} as {shown.asked}"
        if shown.kind == "good":
            name = "good"
            found["good, " + shown.treatment, said] += 1
        found["hostile" if shown.kind.startswith("hostile") else name, said] += 1
        if (said == "agrees") != is_good:
            print(f"    {k} {name}, {shown.treatment}: {line or 'passed'}", flush=True)
    print("what, asked as:", *VERDICTS)
    for name in dict.fromkeys(n for n, _ in found):
        print(name + ":", *(found[name, v] for v in VERDICTS))
    print(f"{seconds / max(judged, 1):.2f} CPU s an image")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profiles", type=Path)
    parser.add_argument("--images", type=int, default=20, help="of each kind")
    parser.add_argument("--seed", type=int, default=404)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--alloys-only", action="store_true")
    parser.add_argument("--panel", action="store_true")
    parser.add_argument("--good", type=int, default=120, help="good monolayers of the panel")
    options = parser.parse_args()
    if options.alloys_only:
        alloys(options.seed, options.side)
        return
    tables = np.load(options.profiles)
    if options.panel:
        panel(options.seed, options.good, options.images, tables)
        return
    print("kind, of, asked as, with scale:", *VERDICTS)
    for (kind, made_of), questions in ASKED.items():
        counts: dict[tuple[str, bool], Counter[str]] = {q: Counter() for q in questions}
        for k in range(options.images):
            rng = np.random.default_rng([options.seed, k, *map(ord, kind + made_of)])
            image, pixel = make(kind, made_of, tables, rng, options.side)
            image = processed(image, pixel, rng) if k % 2 else image
            for asked, scale in questions:
                found, line = verdict(image, pixel if scale else None, asked)
                counts[asked, scale][found] += 1
                if (found != "agrees") == (made_of == asked and kind == "monolayer"):
                    print("   ", k, asked, scale, line or "passed")
        for (asked, scale), count in counts.items():
            print(kind, made_of, asked, scale, *(count[v] for v in VERDICTS), flush=True)
    total: Counter[str] = Counter()
    for k, material in enumerate(sorted(MATERIALS) * 3):
        rng = np.random.default_rng([options.seed, k])
        image, pixel = own(material, rng, options.side)
        image = processed(image, pixel, rng) if k % 2 else image
        found, line = verdict(image, pixel, material)
        total[found] += 1
        if found != "agrees":
            print("   ", k, line)
    print("own simulator, all materials", *(total[v] for v in VERDICTS))
    alloys(options.seed, options.side)


if __name__ == "__main__":
    main()
