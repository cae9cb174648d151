"""The whole chain on images of the second simulator, against the strains built in.

``python benchmarks/other_simulator.py images PROFILES.npz DIR --sets strain`` makes the images,
``python benchmarks/bench_thirty.py --images-dir DIR/strain`` finds their columns by the network,
averages and measures; ``--truth-sites`` takes the true columns instead (their places blurred by
5 pm), which tells the errors of detection from those of measurement.

For each class: N, the purity expected and the true one, strain, its errors, and the truth, which is
``(spacing of the relaxed triangle) / (that of the perfect lattice) - 1`` of a lone defect. Beside
it what the windows truly held: the mean spacing of the true triangles in the windows averaged,
by that in the defect-free windows: neighbours, static disorder and wrong members included.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from napari_defectstrain.io.files import read_images
from napari_defectstrain.materials import WSE2
from napari_defectstrain.pipeline.chain import detect, measure
from napari_defectstrain.pipeline.runs import RunConfig, RunResult
from napari_defectstrain.precision.curve import precision_against_n
from napari_defectstrain.types import CalibratedImage, FloatArray, Sites, StrArray

BLUR_PM = 5.0
CLASSES = ("SeTe", "2Te", "SV", "DV")
PAPER_REFERENCE = 437


@dataclass(frozen=True)
class Truth:
    """True columns of an image, those just outside of it left out."""

    position_px: FloatArray
    moved_px: FloatArray  # by all defects
    label: StrArray
    undistorted: FloatArray  # (2, 2), pm of the crystal by px of the image
    spacing_change: Mapping[str, float]

    @classmethod
    def read(cls, image: Path) -> Truth:
        with image.with_suffix(".truth.csv").open() as file:
            rows = list(csv.DictReader(file))
        setting = json.loads(image.with_suffix(".json").read_text())
        shear = setting["shear"]
        strain = np.array([[1.0, shear[0]], [shear[1], 1.0]])
        return cls(
            np.array([[float(r["y_px"]), float(r["x_px"])] for r in rows]),
            np.array([[float(r["dy_pm"]), float(r["dx_pm"])] for r in rows])
            / setting["pixel_size_pm"],
            np.array([r["class"] for r in rows]),
            np.linalg.inv(strain) * setting["pixel_size_pm"],
            setting["spacing_change"],
        )

    def sites(self, rng: np.random.Generator, image: CalibratedImage) -> Sites:
        """Columns as a perfect network would give them."""
        blur_px = BLUR_PM / float(image.pixel_size_pm or np.nan)
        place = self.position_px + rng.normal(0, blur_px, self.position_px.shape)
        inside = np.all((place >= 0) & (place <= np.array(image.data.shape) - 1), axis=1)
        names = list(WSE2.class_names)
        index = np.array([names.index(label) for label in self.label[inside]])
        source = np.full(len(index), "truth")
        return Sites(place[inside], np.eye(7)[index], index, WSE2.class_names, source)

    def triangles(self, centre_px: FloatArray) -> tuple[StrArray, FloatArray, FloatArray]:
        """True class at each centre; mean spacing of its metals, and without defects [pm]."""
        is_metal = self.label == "W"
        metal = self.position_px[is_metal] @ self.undistorted.T
        unmoved = metal - self.moved_px[is_metal] @ self.undistorted.T
        others = np.flatnonzero(~is_metal)
        own = others[cKDTree(self.position_px[others]).query(centre_px)[1]]
        near = cKDTree(unmoved).query(centre_px @ self.undistorted.T, k=3)[1]
        return self.label[own], _mean_side(metal[near]), _mean_side(unmoved[near])


def _mean_side(corner: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.norm(corner - np.roll(corner, 1, axis=1), axis=2).mean(axis=1))


@dataclass(frozen=True)
class Contents:
    """What the windows of a class hold: share of right ones, spacings of the true triangles [pm].

    `by_defects` is the relative change of the spacing by all defects, in the right ones.
    """

    purity: float
    spacing_pm: float
    by_defects: float


def contents(found: RunResult, truths: Sequence[Truth]) -> dict[str, Contents]:
    """What the windows of each class truly hold."""
    result = {}
    for name, stack in found.stacks.items():
        label = np.empty(len(stack.included), dtype="<U16")
        spacing, unmoved = np.empty((2, len(label)))
        for i in np.unique(stack.image_index):
            mine = stack.image_index == i
            label[mine], spacing[mine], unmoved[mine] = truths[i].triangles(stack.position_px[mine])
        used = stack.included
        right = used & (label == name)
        result[name] = Contents(
            float(np.mean(label[used] == name)),
            float(spacing[used].mean()),
            float(spacing[right].mean() / unmoved[right].mean() - 1) if right.any() else np.nan,
        )
    return result


def table(found: RunResult, truths: Sequence[Truth]) -> None:
    known = contents(found, truths)
    print(
        f"{'class':<6}{'N':>5}{'left out':>9}{'purity':>8}{'true':>8}{'strain [%]':>12}{'stat':>7}"
        f"{'total':>7}{'truth':>8}{'pull':>7}{'windows hold':>14}{'neighbours':>12}"
    )
    for name in CLASSES:
        if name not in found.measurements:
            continue
        own = found.measurements[name]
        budget, spacing = own.budget, own.spacing
        assert budget is not None
        truth = truths[0].spacing_change[name]
        pull = (spacing.strain - truth) / budget.sigma_total
        mine, base = known[name], known["2Se"]
        around = (1 + mine.by_defects) / (1 + base.by_defects) - 1 - truth
        print(
            f"{name:<6}{spacing.n:>5}{spacing.n_excluded:>9}{spacing.purity:>8.4f}"
            f"{mine.purity:>8.4f}{100 * spacing.strain:>12.3f}{100 * budget.sigma_stat:>7.3f}"
            f"{100 * budget.sigma_total:>7.3f}{100 * truth:>8.2f}{pull:>7.2f}"
            f"{100 * (mine.spacing_pm / base.spacing_pm - 1):>14.3f}{100 * around:>12.3f}"
        )
    print("\nparts of the error of the strain, corrections made [0.001 %]")
    for name in CLASSES:
        if name in found.measurements:
            budget = found.measurements[name].budget
            assert budget is not None
            parts = {"statistical": budget.sigma_stat, **budget.strain_parts}
            row = "  ".join(f"{key} {1e5 * value:.0f}" for key, value in parts.items())
            made = budget.strain_corrections.items()
            print(f"{name:<6}{row}; " + "  ".join(f"{k} {1e5 * v:+.1f}" for k, v in made))


def precision(found: RunResult) -> None:
    """Defect-free precision at the paper's number of windows, and Fig. 3c with its fit."""
    reference = found.measurements["2Se"]
    assert reference.columns is not None
    influence = reference.columns.influence_pm
    numbers = [n for n in (1, 3, 10, 30, 100, 200, PAPER_REFERENCE) if n <= len(influence)]
    numbers = sorted({*numbers, len(influence)})
    curve = precision_against_n(
        found.stacks["2Se"], reference.fits, influence, np.random.default_rng(0), numbers
    )
    assert curve.fit is not None
    fit = curve.fit
    own = reference.spacing
    at_paper = own.precision_pm * np.sqrt(own.n / PAPER_REFERENCE)
    print(
        f"\n2Se: N {own.n}, spacing {own.spacing_pm:.3f} +- {own.precision_pm:.3f} pm by bootstrap"
        f", +- {at_paper:.3f} pm at N = {PAPER_REFERENCE}; spacings of single windows scatter by "
        f"{reference.single_spacing_pm.std():.2f} pm"
    )
    print(f"P1 {fit.p1_pm:.2f} pm, floor {fit.floor_pm:.3f} +- {fit.floor_std_pm:.3f} pm")
    print(f"{'windows':>8}{'precision [pm]':>16}{'fit':>8}{'points / fit':>14}{'SNR gain':>10}")
    for k, n in enumerate(curve.n):
        at = float(fit.at(n))
        print(
            f"{n:>8}{curve.precision_pm[k]:>16.3f}{at:>8.3f}{curve.precision_pm[k] / at:>14.3f}"
            f"{curve.snr_gain[0, k]:>10.1f}"
        )


def load(folder: Path, limit: int | None) -> tuple[list[CalibratedImage], list[Truth]]:
    paths = sorted(folder.glob("*.tif"))[:limit]
    images = [replace(read_images(p)[0], name=p.stem) for p in paths]
    return images, [Truth.read(p) for p in paths]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images-dir", type=Path, required=True)
    parser.add_argument("--truth-sites", action="store_true", help="true columns, no network")
    parser.add_argument("--images", type=int, help="the first only")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    images, truths = load(options.images_dir, options.images)
    rng = np.random.default_rng(0)
    sites = None
    if options.truth_sites:
        sites = [t.sites(rng, image) for t, image in zip(truths, images, strict=True)]
    start = time.process_time()
    found = detect(images, RunConfig(bootstrap=2000), sites)
    seen = time.process_time()
    found = measure(found)
    done = time.process_time()
    print(f"{len(images)} images, {'true' if sites else 'detected'} columns; ", end="")
    print(f"detection {seen - start:.0f} s, the rest {done - seen:.0f} s of one core\n")
    table(found, truths)
    precision(found)


if __name__ == "__main__":
    main()
