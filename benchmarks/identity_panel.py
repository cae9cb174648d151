"""Images for `bench_identity.py --panel`: good monolayers, and crystals that are none of them.

Good ones are of six materials and ten treatments, by both simulators; wrong ones bilayers,
graphene, boron nitride, square lattices, alloys of metals, bright field, MoS2 given as a selenide,
and MoSe2 that is mostly W. `hostile` ones are good, too: edges, holes, mirror twins, grains, many
vacancies, thick dirt.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from other_crystals import Array
from other_layers import MATERIALS, make, processed
from PIL import Image
from scipy.ndimage import gaussian_filter

from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulationConfig, simulate_image
from napari_defectstrain.simulate.lookalikes import ALLOYED, LOOKALIKES
from napari_defectstrain.simulate.structure import CrystalConfig

ASKED = ("WSe2", "MoS2", "WS2", "MoSe2", "MoTe2", "WTe2")
TREATMENTS = (
    "raw", "smoothed", "smoothed, gamma", "clipped", "JPEG", "freed of background", "8 bit",
    "low dose", "all", "as chance has it",
)  # fmt: skip
OF_WRONG = ("raw", "as chance has it", "smoothed, gamma", "all")
WRONG = (
    ("AB", "WSe2", "WSe2"),
    ("AB", "MoS2", "MoS2"),
    ("AB", "WS2", "WS2"),
    ("AB", "MoSe2", "MoSe2"),
    ("AA'", "WSe2", "WSe2"),
    ("AA'", "MoS2", "MoS2"),
    ("graphene", "WSe2", "WSe2"),
    ("hBN", "WSe2", "MoSe2"),
    ("square", "WSe2", "WSe2"),
    ("alloy", "WSe2", "WSe2"),
    ("alloy", "MoS2", "MoS2"),
    ("ABF", "WSe2", "WSe2"),
    ("ABF", "MoS2", "MoS2"),
    ("monolayer", "MoS2", "WSe2"),
    ("monolayer", "MoS2", "MoSe2"),
)
"""What images show, the material that they are made of, and the one that they are asked for as;
where these two differ no scale is stated."""
MOSTLY_W = (0.9, 0.95)


@dataclass(frozen=True)
class Shown:
    """An image, what it shows, and what it is asked for as; `pixel_pm` None: no scale is stated."""

    kind: str
    made_of: str
    asked: str
    treatment: str
    image: Array
    pixel_pm: float | None


def good(seed: int, count: int, tables: Any) -> Iterator[Shown]:
    """Monolayers of the asked material."""
    for k in range(count):
        material, treatment = ASKED[k % 6], TREATMENTS[(k // 6) % len(TREATMENTS)]
        rng = np.random.default_rng([seed, 1, k])
        pixel, side = float(rng.uniform(14, 28)), int(rng.integers(200, 400))
        if material in MATERIALS and (k // 60) % 2 == 1:
            image, pixel = make("monolayer", material, tables, rng, side)
        else:
            v = float(rng.choice([0.0, 0.03, 0.06, 0.12]))
            y = float(rng.choice([0, 0.02, 0.06, 0.12]))
            crystal = CrystalConfig(material=material, fractions=(y, y * 0.3, v, v * v / 4))
            scan = ScanConfig(
                shape=(side, side),
                pixel_size_pm=pixel,
                rotation_deg=float(rng.uniform(0, 60)),
                dose_e_per_nm2=float(
                    rng.choice([1e6, 2e6]) if treatment == "low dose" else rng.choice([6e6, 1.2e7])
                ),
                jitter_px=float(rng.uniform(0.3, 1.1)),
                read_noise=float(rng.uniform(0.05, 0.18)),
                contamination=float(rng.choice([0.05, 0.1, 0.3])),
            )
            image = simulated(crystal, scan, rng)
        image = treated(image, pixel, treatment, rng)
        yield Shown("good", material, material, treatment, image, pixel)


def wrong(seed: int, count: int, tables: Any) -> Iterator[Shown]:
    """What is no monolayer of the asked material, `count` of each."""
    for kind, made_of, asked in WRONG:
        for k in range(count):
            treatment = OF_WRONG[k % 4]
            rng = np.random.default_rng([seed, 2, k, *map(ord, kind + made_of + asked)])
            image, pixel = make(kind, made_of, tables, rng, 256)
            image = treated(image, pixel, treatment, rng)
            yield Shown(kind, made_of, asked, treatment, image, pixel if made_of == asked else None)


def mostly_tungsten(seed: int, count: int) -> Iterator[Shown]:
    """MoSe2 of which most metals are W, `count` of each share; small images."""
    looks = {ALLOYED: 0.0}
    for share in MOSTLY_W:
        for k in range(count):
            rng = np.random.default_rng([seed, k, int(100 * share)])
            pixel = float(rng.uniform(15, 26))
            looks[ALLOYED] = share
            crystal = CrystalConfig(
                material="MoSe2",
                fractions=(0.02, 0.01, 0.03, 0.003),
                lookalikes=tuple(looks.get(i, 0.0) for i in range(len(LOOKALIKES))),
            )
            scan = ScanConfig(
                shape=(224, 224), pixel_size_pm=pixel, rotation_deg=float(rng.uniform(0, 60)),
                dose_e_per_nm2=1.2e7, jitter_px=0.8, read_noise=0.1, contamination=0.1,
            )  # fmt: skip
            image = simulated(crystal, scan, rng)
            image = processed(image, pixel, rng) if k % 2 else image
            treatment = TREATMENTS[-1] if k % 2 else TREATMENTS[0]
            kind = f"{100 * share:.0f} % of W"
            yield Shown(kind, "MoSe2", "MoSe2", treatment, image, pixel)


def hostile(seed: int, count: int) -> Iterator[Shown]:
    """Good MoSe2 whose images have edges, holes, twins, grains, many vacancies and thick dirt."""
    for k in range(count):
        rng = np.random.default_rng([seed, k, 999])
        pixel, side = float(rng.uniform(14, 28)), int(rng.integers(220, 400))
        v = float(rng.choice([0.03, 0.06, 0.12, 0.2]))
        y = float(rng.choice([0, 0.02, 0.06, 0.12]))
        pattern = str(rng.choice(["whole", "whole", "edge", "holes", "twin", "grain"]))
        crystal = CrystalConfig(
            material="MoSe2",
            fractions=(y, y * 0.3, v, v * v / 4),
            pattern=pattern,
            lookalikes=(float(rng.choice([0, 0.003, 0.01])),) * len(LOOKALIKES),
        )
        scan = ScanConfig(
            shape=(side, side),
            pixel_size_pm=pixel,
            rotation_deg=float(rng.uniform(0, 60)),
            dose_e_per_nm2=float(rng.choice([3e6, 6e6, 1.2e7])),
            jitter_px=float(rng.uniform(0.3, 1.3)),
            read_noise=float(rng.uniform(0.05, 0.2)),
            contamination=float(rng.choice([0.05, 0.2, 0.5, 0.8])),
        )
        image = simulated(crystal, scan, rng)
        image = processed(image, pixel, rng) if k % 2 else image
        treatment = TREATMENTS[-1] if k % 2 else TREATMENTS[0]
        yield Shown(f"hostile, {pattern}", "MoSe2", "MoSe2", treatment, image, pixel)


def simulated(crystal: CrystalConfig, scan: ScanConfig, rng: np.random.Generator) -> Array:
    """The counts of an image of the package's own simulator."""
    config = SimulationConfig(crystal=crystal, scan=scan)
    return np.asarray(simulate_image(config, rng).image.data, dtype=float)


def treated(image: Array, pixel_pm: float, treatment: str, rng: np.random.Generator) -> Array:
    """An image after one of `TREATMENTS`."""
    if treatment == "smoothed":
        return _smoothed(image, pixel_pm, rng)
    if treatment == "smoothed, gamma":
        return _bent(_smoothed(image, pixel_pm, rng), rng)
    if treatment == "clipped":
        return _clipped(_smoothed(image, pixel_pm, rng) if rng.random() < 0.5 else image, rng)
    if treatment == "JPEG":
        smooth = _smoothed(image, pixel_pm, rng) if rng.random() < 0.5 else image
        return _jpeg(smooth, rng.uniform(30, 80))
    if treatment == "freed of background":
        return _freed(image, pixel_pm, rng)
    if treatment == "8 bit":
        return np.rint((image - image.min()) / np.ptp(image) * 255)
    if treatment == "all":
        image = _smoothed(image, pixel_pm, rng)
        image = _freed(image, pixel_pm, rng) if rng.random() < 0.6 else image
        image = _clipped(image, rng) if rng.random() < 0.6 else image
        return _jpeg(_bent(image, rng), rng.uniform(40, 90))
    if treatment == "as chance has it":
        return processed(image, pixel_pm, rng)
    return image


def _smoothed(image: Array, pixel_pm: float, rng: np.random.Generator) -> Array:
    return np.asarray(gaussian_filter(image, rng.uniform(20, 60) / pixel_pm))


def _bent(image: Array, rng: np.random.Generator) -> Array:
    """A gamma of 1.2 to 1.6, or its inverse."""
    unit = (image - image.min()) / np.ptp(image)
    sense = rng.choice([-1, 1])
    return np.asarray(unit ** np.exp(sense * rng.uniform(np.log(1.2), np.log(1.6))))


def _clipped(image: Array, rng: np.random.Generator) -> Array:
    low, high = np.quantile(image, [rng.uniform(0, 0.05), 1 - rng.uniform(0, 0.02)])
    return np.clip(image, low, high)


def _freed(image: Array, pixel_pm: float, rng: np.random.Generator) -> Array:
    return np.asarray(image - gaussian_filter(image, rng.uniform(400, 1500) / pixel_pm))


def _jpeg(image: Array, quality: float) -> Array:
    grey = np.clip((image - image.min()) / np.ptp(image) * 255, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, "JPEG", quality=int(quality))
    stream.seek(0)
    return np.array(Image.open(stream)).astype(float)
