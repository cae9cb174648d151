"""Which sublattice is the metal's, by what its columns are like and not by how bright it is."""

from functools import lru_cache

import numpy as np
import pytest

from napari_defectstrain.judge.assignment import metal_brighter
from napari_defectstrain.judge.evidence import ASSIGNED
from napari_defectstrain.judge.identity import (
    AGREES,
    DOUBTFUL,
    IDENTITY_PREFIX,
    REFUSED,
    Identity,
    judge_identity,
)
from napari_defectstrain.judge.learnt import LearntClasses
from napari_defectstrain.materials import get_material
from napari_defectstrain.pipeline.fitness import identify_images
from napari_defectstrain.pipeline.loading import calibrate
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulationConfig, simulate_image
from napari_defectstrain.simulate.lookalikes import ALLOYED, LOOKALIKES
from napari_defectstrain.simulate.structure import CrystalConfig
from napari_defectstrain.types import CalibratedImage

LEARNT = LearntClasses(
    mean=(0.74, 1.05, 1.35, 0.37, 0.0),
    spread=(0.03,) * 5,
    share=(0.04, 0.32, 0.6, 0.03, 0.005, 0.005),
    strength=200.0,
)


def weights(levels, shares, noise=0.06, n=500, seed=1):
    rng = np.random.default_rng(seed)
    return rng.choice(levels, n, p=shares) + rng.normal(0, noise, n)


METALS = weights((1.0, 0.0), (0.99, 0.01), seed=2)
ALLOY = weights((0.74, 1.05, 1.36), (0.06, 0.36, 0.58))


def test_the_sublattice_that_varies_is_the_chalcogens():
    assert metal_brighter(ALLOY, METALS) < -ASSIGNED
    dimmer = weights((0.74, 1.05, 1.36), (0.7, 0.25, 0.05))
    assert metal_brighter(METALS, dimmer) > ASSIGNED


@pytest.mark.parametrize(
    ("bright", "dim"),
    [
        (METALS, weights((0.74, 0.37, 0.0), (0.95, 0.045, 0.005))),  # vacancies
        (METALS, weights((0.74, 0.37, 0.0), (0.72, 0.26, 0.02))),
        (weights((1.5, 0.75), (0.94, 0.06)), METALS),
        (weights((1.0, 0.49), (0.8, 0.2)), weights((0.74, 0.37), (0.97, 0.03), seed=3)),
        (METALS[:30], ALLOY),  # too few
        (weights((1.0,), (1.0,), 0.25), weights((0.74,), (1.0,), 0.2, seed=3)),  # noise alone
    ],
)
def test_alike_columns_vacancies_and_two_metals_say_nothing(bright, dim):
    assert abs(metal_brighter(bright, dim)) < 0.02


@lru_cache
def picture(material: str, x: float, metals: float = 0.0, seed: int = 1) -> np.ndarray:
    """An alloy of chalcogens, or of metals, 25 nm2 of it at the paper's conditions."""
    looks = [0.0] * len(LOOKALIKES)
    looks[ALLOYED] = metals
    fractions = (1.92 * x * (1 - x), 0.96 * x * x, 0.03, 0.003)
    config = SimulationConfig(
        crystal=CrystalConfig(material=material, fractions=fractions, lookalikes=tuple(looks)),
        scan=ScanConfig(
            shape=(256, 256), pixel_size_pm=20.0, rotation_deg=17.0, dose_e_per_nm2=1.2e7,
            jitter_px=0.8, read_noise=0.1, contamination=0.1,
        ),
    )  # fmt: skip
    return simulate_image(config, np.random.default_rng(seed)).image.data.astype(float)


def identity(*data: np.ndarray, asked: str, learnt: LearntClasses | None = None) -> Identity:
    material = get_material(asked)
    images = [calibrate(CalibratedImage(d, 20.0, f"x{i}"), material)[0] for i, d in enumerate(data)]
    found = identify_images(images, material, learnt=learnt)
    assert all(line.startswith(IDENTITY_PREFIX) for line in found.lines)
    return found


@pytest.mark.parametrize(
    ("made", "x", "ask_for"), [("WSe2", 0.8, "WTe2"), ("WSe2", 0.95, "WTe2"), ("WTe2", 0.9, "WSe2")]
)
def test_an_alloy_whose_sublattices_would_be_swapped_is_refused(made, x, ask_for):
    """Their brightness is that of the material asked for, and nothing was said of them before."""
    found = identity(picture(made, x), asked=made)
    [image] = found.images
    assert image.verdict == REFUSED
    assert "columns of several kinds" in image.line and f"ask for {ask_for}" in image.line
    assert abs(found.to_dict()["images"][0]["metal_brighter"]) >= ASSIGNED
    assert identity(picture(made, x), asked=ask_for).verdict == AGREES
    forced = judge_identity(found.evidence, get_material(made), forced=True)
    assert forced.verdict == DOUBTFUL and "populations are doubtful" in forced.lines[0]


def test_what_was_learnt_of_the_alloy_lets_it_pass():
    assert identity(picture("WSe2", 0.8), asked="WSe2", learnt=LEARNT).verdict != REFUSED


def test_an_alloy_of_chalcogens_is_none_of_metals():
    found = identity(picture("WSe2", 0.3), asked="WSe2")
    assert found.alloy == 0.0
    assert not any("two metals" in line for line in found.lines)


def test_chalcogens_as_bright_as_the_metal_are_doubted():
    found = identity(picture("WSe2", 0.45), asked="WSe2")
    assert found.verdict == DOUBTFUL
    assert "isn't told which is the metal's" in found.lines[0]


@pytest.mark.parametrize("share", [0.8, 0.95])
def test_mostly_another_metal_is_doubted(share):
    found = identity(*(picture("MoSe2", 0.0, share, s) for s in (1, 2, 3)), asked="MoSe2")
    assert found.verdict == DOUBTFUL
    assert "its sublattices exchanged" in found.lines[0]


@pytest.mark.parametrize("x", [0.02, 0.15])
@pytest.mark.parametrize("material", ["WSe2", "MoS2", "WS2", "MoSe2", "MoTe2", "WTe2"])
def test_materials_with_some_of_their_substituent_are_what_they_are(material, x):
    assert identity(picture(material, x), asked=material).verdict == AGREES
