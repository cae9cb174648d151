"""A class of single vacancies of which three in ten are undistorted, beside two pure classes."""

from dataclasses import replace

import class_stage as stage
import exact_images as exact
import numpy as np

from napari_defectstrain.columns import ColumnConfig
from napari_defectstrain.pipeline import RunConfig
from napari_defectstrain.precision import MakeupConfig

SIZE, NOISE, PASSIVATED = 75, 0.1, 30
CONFIG = RunConfig(
    columns=ColumnConfig(compare=False, fit_radius_pm=700.0),
    makeup=MakeupConfig(samples=120, errors=40, components=2),
    bootstrap=50,
    split=("SV", "SeTe"),
)


def undistorted() -> np.ndarray:
    """A single vacancy whose metals stay where they are."""
    site, _, weight, _ = exact.structure("SV")
    return exact.render(site, weight, exact.transfer(), SIZE)


def stacks():
    rng = np.random.default_rng(0)
    images = {n: exact.average_image(n, SIZE) for n in ("2Se", "SeTe", "SV")}
    found = {}
    for name, n in (("2Se", 160), ("SeTe", 60), ("SV", 100)):
        windows = np.tile(images[name], (n, 1, 1))
        if name == "SV":
            windows[:PASSIVATED] = undistorted()
        noisy = windows + NOISE * rng.normal(size=windows.shape)
        where = np.arange(n) % 4
        found[name] = replace(stage.stack_of(name, noisy), image_index=where)
    return found
