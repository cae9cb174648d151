"""Are classes found that nobody asked for? WSe2 with S beside Se, Mo for W, and W missing.

``python benchmarks/bench_open_classes.py [DIR...]`` takes folders of images of the second simulator
(``other_simulator.py images PROFILES.npz OUT --sets open``), each folder as one run; without any it
simulates nine with the package's own simulator: 5 % of the chalcogen columns hold S + Se, 1 %
of the metal ones are Mo, 1 % are missing. It prints weight and share of each class that the run
finds, beside those that were built in, and which kinds of columns were given to which class.

``--alone``: each image by itself; of images of the usual classes alone, none should show another.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from other_crystals import ALIENS, WEIGHTS
from scipy.spatial import cKDTree

from napari_defectstrain.detect.finding.predict import detect_columns
from napari_defectstrain.detect.network.config import DetectConfig
from napari_defectstrain.io.files import read_images
from napari_defectstrain.judge.judging import judge_images
from napari_defectstrain.materials import ROLES, WSE2, OpenClass, with_classes
from napari_defectstrain.materials import get_material as material_of
from napari_defectstrain.simulate.dataset import simulate_image
from napari_defectstrain.simulate.lookalikes import LOOKALIKES, kind_names, layer_weights
from napari_defectstrain.simulate.samples import paper_like
from napari_defectstrain.types import CalibratedImage, FloatArray, Sites, StrArray

ADDED = {"X+Z": 0.05, "M' on M site": 0.01, "metal vacancy": 0.01}
NEAR_PM = 60.0
SIDE_PX = 512


@dataclass(frozen=True)
class Known:
    """An image with the kind and the weight of each of its columns."""

    image: CalibratedImage
    position_px: FloatArray
    kind: StrArray
    weight: FloatArray
    pixel_pm: float


def second_simulator(folder: Path, profiles: Path) -> Iterator[Known]:
    sections = json.loads(str(np.load(profiles)["sections_A2"]))["WSe2"]
    names = ("2Se", "SeTe", "2Te", "SV", "DV")
    for path in sorted(folder.glob("*.tif")):
        setting = json.loads(path.with_suffix(".json").read_text())
        weights = {"W": 1.0, **dict(zip(names, WEIGHTS[setting["weights"]], strict=True))}
        weights |= {k: sections[k] / sections["W"] for k in ("Mo", "O", "S")}
        with path.with_suffix(".truth.csv").open() as file:
            rows = list(csv.DictReader(file))
        kind = np.array([row["kind"] for row in rows])
        heavy = {k: ALIENS[k][1](weights) if k in ALIENS else weights[k] for k in np.unique(kind)}
        place = np.array([[float(row["y_px"]), float(row["x_px"])] for row in rows])
        weight = np.array([heavy[k] for k in kind])
        yield Known(read_images(path)[0], place, kind, weight, setting["pixel_size_pm"])


def own_simulator(seed: int, count: int) -> Iterator[Known]:
    rng = np.random.default_rng(seed)
    shares = tuple(ADDED.get(look.name, 0.0) for look in LOOKALIKES)
    kinds = np.array(kind_names(WSE2))
    for number in range(count):
        config = paper_like(rng, float(rng.uniform(0, 360)))
        scan = replace(config.scan, shape=(SIDE_PX, SIDE_PX))
        crystal = replace(config.crystal, lookalikes=shares)
        config = replace(config, scan=scan, crystal=crystal)
        made = simulate_image(config, rng, f"own_{number}")
        heavy = layer_weights("WSe2", config.weights).sum(axis=1)
        named = np.asarray(made.extra["kind"], dtype=str)
        which = np.array([int(np.flatnonzero(kinds == k)[0]) for k in named])
        row = np.where(which > 0, ROLES.index("other") + which - 1, made.class_index)
        usual = np.array(WSE2.class_names)[made.class_index]
        kind = np.where(which > 0, named, usual)
        yield Known(made.image, made.position_px, kind, heavy[row], scan.pixel_size_pm)


def judged(
    known: list[Known], classes: list[str], cache: dict[str, tuple[Sites, float]]
) -> tuple[tuple[OpenClass, ...], list[Sites]]:
    material = material_of(with_classes("WSe2", classes))
    for one in known:
        if one.image.name not in cache:
            found = detect_columns(one.image, DetectConfig(material="WSe2"))
            cache[one.image.name] = (found.sites, found.pixel_size_pm)
    sites, pixels = zip(*(cache[one.image.name] for one in known), strict=True)
    start = time.process_time()
    judgements = judge_images([one.image for one in known], sites, pixels, material)
    megapixels = sum(one.image.data.size for one in known) / 1e6
    print(f"judged at {(time.process_time() - start) / megapixels:.2f} CPU s a megapixel")
    return judgements[0].open_classes, [j.sites for j in judgements]


def print_found(known: list[Known], found: tuple[OpenClass, ...], sites: list[Sites]) -> None:
    kinds, given, weights, metal = [], [], [], []
    for one, columns in zip(known, sites, strict=True):
        away, near = cKDTree(one.position_px).query(columns.position_px)
        weighed = np.isfinite(columns.weight) & (away < NEAR_PM / one.pixel_pm)
        kinds.append(one.kind[near][weighed])
        weights.append(one.weight[near][weighed])
        given.append(columns.class_name[weighed])
        metal.append(on_metal(one.kind[near][weighed]))
    kind, weight, name, is_metal = (np.concatenate(v) for v in (kinds, weights, given, metal))
    for one in found:
        mine = is_metal == (one.sites == "metal")
        strange = [k for k in np.unique(kind[mine]) if k not in WSE2.class_names]
        built = {k: float(weight[mine & (kind == k)].mean()) for k in strange}
        nearest = min(built, key=lambda k: abs(built[k] - one.weight), default=None)
        print(f"  {one.note.partition(';')[0]}")
        if nearest is not None:
            low, high = one.share_95
            share = float((kind[mine] == nearest).mean())
            inside = "inside" if low <= share <= high else "OUTSIDE"
            print(
                f"    {nearest}: weight {built[nearest]:.3f}, off by "
                f"{one.weight - built[nearest]:+.3f}; share {100 * share:.2f} %, {inside} "
                f"{100 * low:.2f}-{100 * high:.2f} %"
            )
    for k in np.unique(kind):
        counts = Counter(name[kind == k].tolist()).most_common(4)
        print(f"  {k:14} " + ", ".join(f"{n} {c}" for n, c in counts))


def on_metal(kind: StrArray) -> npt.NDArray[np.bool_]:
    metals = [k for k, (place, _) in ALIENS.items() if place == "metal"]
    metals += ["W", *("metal vacancy", "Mo on W site", "2Se on W site", "Se adatom on W")]
    return np.isin(kind, metals)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folders", nargs="*", type=Path)
    add("--profiles", type=Path, default=Path("PROFILES.npz"))
    add("--seed", type=int, default=1234, help="of simulated images")
    add("--images", type=int, default=9)
    add("--alone", action="store_true", help="judge each image by itself")
    add("--class", dest="classes", action="append", default=[], metavar="NAME=WEIGHT")
    options = parser.parse_args()
    runs = {f.name: list(second_simulator(f, options.profiles)) for f in options.folders}
    runs = runs or {"own simulator": list(own_simulator(options.seed, options.images))}
    for name, known in runs.items():
        cache: dict[str, tuple[Sites, float]] = {}
        print(f"\n{name}: {len(known)} images")
        for part in [[one] for one in known] if options.alone else [known]:
            found, sites = judged(part, options.classes, cache)
            print_found(part, found, sites)


if __name__ == "__main__":
    main()
