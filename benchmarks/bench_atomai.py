"""Side by side with AtomAI (Ziatdinov et al., doi 10.1038/s42256-022-00555-8): time and F1.

AtomAI lives in an environment of its own::

    python -m venv ATOMAI
    ATOMAI/bin/pip install torch==2.13.0 torchvision==0.28.0 atomai==0.8.1 six
    python benchmarks/bench_atomai.py --atomai-python ATOMAI/bin/python [--minutes 10]

Its default Unet `Segmentor` learns the classes from windows of this package's simulator, background
last, as its Locator expects; a network of this package learns from scratch on windows of the same
kind for the same minutes, which include simulating them (AtomAI's are made beforehand and cost it
nothing). Then both, in turn, with one thread each, find the columns of the same images; this
package their regions too. Seconds are those of the processor.

AtomAI is given windows and images with the even contrast that this package's network sees, at 40 pm
a pixel (``--upsample 1``: a megapixel of the microscope is a quarter of the work) or at 20 pm, near
to the paper's own pixels, as it would be used without this package (``--upsample 2``); each is
trained for itself. The time of this preparation is charged to this package only. ``--window 256``
gives AtomAI windows as large as its examples': fewer steps in the same time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import zoom

from napari_defectstrain.crystal.region_search import divide_images
from napari_defectstrain.detect.finding.predict import detect_columns
from napari_defectstrain.detect.finding.prepare import normalise, resample, to_resampled
from napari_defectstrain.detect.network.config import CANONICAL_PIXEL_PM, DetectConfig, TrainConfig
from napari_defectstrain.detect.training.loop import train
from napari_defectstrain.detect.training.windows import draw_window
from napari_defectstrain.evaluation.folders import truth_sites
from napari_defectstrain.evaluation.score import confusion_matrix, scores
from napari_defectstrain.evaluation.truth_tables import read_truth
from napari_defectstrain.io.files import read_images
from napari_defectstrain.materials import ROLES, WSE2
from napari_defectstrain.simulate.conditions import Conditions
from napari_defectstrain.simulate.dataset import simulate_image
from napari_defectstrain.simulate.samples import paper_like
from napari_defectstrain.types import CalibratedImage, FloatArray, IntArray, Sites

THREADS = 1
SIDE = Path(__file__).with_name("atomai_side.py")
Case = tuple[CalibratedImage, Sites]


def write_training(path: Path, count: int, window_px: int, upsample: int, seed: int) -> None:
    """Windows and labels for AtomAI: classes from 0, background last."""
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for _ in range(count):
        window = draw_window(Conditions(), window_px, rng)
        label = np.where(window.labels == 0, len(ROLES), window.labels - 1)
        images.append(enlarged(window.image, upsample))
        labels.append(np.kron(label, np.ones((upsample, upsample), dtype=label.dtype)))
    np.savez(
        path,
        images=np.array(images, dtype=np.float32),
        labels=np.array(labels, dtype=np.uint8),
        classes=len(ROLES) + 1,
    )


def enlarged(image: FloatArray, factor: int) -> FloatArray:
    """Each pixel cut into `factor` x `factor`, interpolated; pixels' outer edges coincide."""
    return zoom(image, factor, order=3, grid_mode=True, mode="nearest") if factor > 1 else image


def simulated_cases(count: int, seed: int) -> list[Case]:
    rng = np.random.default_rng(seed)
    cases = []
    for number in range(count):
        config = paper_like(rng, float(rng.uniform(0, 360)))
        made = simulate_image(config, rng, f"simulated_{number}")
        truth = truth_sites(made.position_px, np.asarray(made.class_index), WSE2)
        cases.append((made.image, truth))
    return cases


def cases_of(folder: Path, count: int) -> list[Case]:
    """Images of another simulator with their truth tables."""
    cases = []
    for path in sorted(folder.glob("*.tif"))[:count]:
        image = read_images(path)[0]
        truth = read_truth(folder / f"{path.stem}.truth.csv", WSE2, image.pixel_size_pm)
        cases.append((image, truth_sites(truth.position_px, truth.class_index, WSE2)))
    return cases


def pixel_pm(image: CalibratedImage) -> float:
    if image.pixel_size_pm is None:
        raise SystemExit(f"{image.name}: no pixel size")
    return image.pixel_size_pm


def prepared(image: CalibratedImage, upsample: int) -> FloatArray:
    data = resample(image.data.astype(np.float32), pixel_pm(image), CANONICAL_PIXEL_PM)
    return enlarged(normalise(data), upsample)


def run_atomai(python: Path, *arguments: str | Path) -> None:
    threads = {"OMP_NUM_THREADS": str(THREADS), "OPENBLAS_NUM_THREADS": str(THREADS)}
    command = [str(python), "-W", "ignore", str(SIDE), *map(str, arguments)]
    subprocess.run(command, check=True, env={**os.environ, **threads})


def found_by_atomai(table: FloatArray, image: CalibratedImage, shape: tuple[int, ...]) -> Sites:
    """AtomAI's (y, x, class) in its image of `shape` as columns of the original image."""
    position = to_resampled(table[:, :2], shape, image.data.shape)
    return truth_sites(position, table[:, 2].astype(int), WSE2)


def summary(counts: IntArray, seconds: list[float], megapixels: list[float]) -> dict[str, float]:
    table = scores(counts, WSE2.class_names)
    f1 = {f"F1 {row['class']}": float(row["F1"]) for _, row in table.iterrows()}
    columns = counts[:-1].sum()
    return {
        "s/Mpx": float(np.median(np.array(seconds) / np.array(megapixels))),
        **f1,
        "columns found": float(counts[:-1, :-1].sum() / columns),
        "false columns": float(counts[-1].sum() / columns),
    }


def total(cases: list[Case], found: list[Sites]) -> IntArray:
    return np.sum(
        [
            confusion_matrix(sites, truth, image.data.shape, pixel_pm(image))
            for (image, truth), sites in zip(cases, found, strict=True)
        ],
        axis=0,
    )


def run_ours(cases: list[Case], weights: Path, symmetries: int) -> tuple[list[Sites], list[float]]:
    config = replace(DetectConfig(), weights=str(weights), symmetries=symmetries)
    detect_columns(cases[0][0], config)  # the first call warms up
    found, seconds = [], []
    for image, _ in cases:
        start = time.process_time()
        found.append(detect_columns(image, config).sites)
        divide_images([image], found[-1:], [WSE2.lattice_pm / pixel_pm(image)])
        seconds.append(time.process_time() - start)
    return found, seconds


def atomai_predicts(
    python: Path, model: Path, cases: list[Case], upsample: int, folder: Path
) -> tuple[list[Sites], list[float]]:
    images = {f"{i:03d}": prepared(image, upsample) for i, (image, _) in enumerate(cases)}
    np.savez(folder / "images.npz", **images)
    run_atomai(python, "predict", model, folder / "images.npz", folder / "found.npz")
    table = np.load(folder / "found.npz")
    found = [
        found_by_atomai(table[name], image, images[name].shape)
        for name, (image, _) in zip(images, cases, strict=True)
    ]
    return found, list(table["seconds"])


def train_ours(options: argparse.Namespace, folder: Path) -> Path:
    settings = TrainConfig(
        steps=10**6, minutes=options.minutes, seed=options.seed, **options.train_settings
    )
    weights = folder / "ours.safetensors"
    record = train(settings, weights, resume=False)
    print(f"ours: {record[-1]['step']:.0f} steps of {settings.batch} windows", flush=True)
    return weights


def train_atomai(options: argparse.Namespace, folder: Path, upsample: int) -> Path:
    model, data = folder / f"atomai_{upsample}.pt", folder / f"training_{upsample}.npz"
    start = time.monotonic()
    write_training(data, options.windows, options.window, upsample, options.seed)
    print(f"{options.windows} windows in {time.monotonic() - start:.0f} s", flush=True)
    minutes = ("--minutes", str(options.minutes))
    run_atomai(options.atomai_python, "train", data, model, *minutes)
    return model


def compare(options: argparse.Namespace, folder: Path) -> None:
    torch.set_num_threads(THREADS)
    ours = train_ours(options, folder)
    models = {factor: train_atomai(options, folder, factor) for factor in options.upsample}
    sets = {"simulated": simulated_cases(options.images, options.seed + 1)}
    for given in options.images_dir:
        sets[given.name] = cases_of(given, options.images)
    for name, cases in sets.items():
        area = [image.data.size / 1e6 for image, _ in cases]
        rows = {}
        for symmetries in (1, 4):
            found, seconds = run_ours(cases, ours, symmetries)
            rows[f"ours, orientations: {symmetries}"] = summary(total(cases, found), seconds, area)
        for factor, model in models.items():
            found, seconds = atomai_predicts(options.atomai_python, model, cases, factor, folder)
            pixel = CANONICAL_PIXEL_PM / factor
            rows[f"AtomAI at {pixel:g} pm"] = summary(total(cases, found), seconds, area)
        print(f"\n{name}: {len(cases)} images, {sum(area):.1f} Mpx")
        print(pd.DataFrame(rows).T.round(4).to_string(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--atomai-python", type=Path, required=True)
    add("--minutes", type=float, default=10.0)
    add("--images", type=int, default=4, help="of each set")
    add("--images-dir", type=Path, nargs="*", default=[], help="further sets with truth tables")
    add("--windows", type=int, default=3000)
    add("--window", type=int, default=128, help="side of AtomAI's windows at 40 pm [px]")
    add("--upsample", type=int, nargs="+", default=[1, 2], choices=(1, 2))
    add("--seed", type=int, default=41)
    add("--out", type=Path, help="folder to keep weights and images in")
    add("--quick", action="store_true", help="a trial of the script: nothing learns much")
    options = parser.parse_args()
    options.train_settings = {}
    if options.quick:
        options.windows, options.images, options.minutes = 64, 1, min(options.minutes, 0.3)
        options.train_settings = {"validation_windows": 2, "calibration_windows": 4}
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        compare(options, folder)


if __name__ == "__main__":
    sys.exit(main())
