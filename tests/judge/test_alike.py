"""What weights can't part is said: classes of one weight, and strangers among vacancies."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from napari_defectstrain.judge.alike import alike_notes, noise_notes, vacancy_notes
from napari_defectstrain.judge.mixture import ClassPrior
from napari_defectstrain.materials import get_material

MEAN = [0.70, 1.06, 1.38, 0.36, 0.0]


def judged(mean: list[float], error: float = 0.04):
    """Thirty chalcogen columns and thirty metals, of classes of these weights."""
    half = np.repeat([1.0, 0.0], 30)
    return SimpleNamespace(
        model=SimpleNamespace(mean=np.array(mean)),
        chance=np.outer(half, np.ones(6 + len(mean) - 5)),
        metal_chance=np.outer(1 - half, np.ones(3)),
        error=np.full(60, error),
    )


@pytest.mark.parametrize(
    ("named", "mean", "said"),
    [
        ("Foo=0.355", [*MEAN, 0.34], "class Foo at 0.340 of the metal can hardly be told from SV"),
        ("Foo=0.7", [*MEAN, 0.7], "told from 2Se at 0.700: single columns scatter by 0.04"),
        ("Foo=0.5", [*MEAN, 0.5], ""),
        ("Foo=0.5 + Bar=0.52", [*MEAN, 0.5, 0.52], "class Bar at 0.520 of the metal can hardly"),
        ("Mo=0.97@metal", MEAN, "class Mo@metal at 0.970 of the metal can hardly be told from W"),
        ("Mo=0.45@metal", MEAN, ""),
    ],
)
def test_classes_of_one_weight_are_said(named, mean, said):
    material = get_material(f"WSe2 + {named}")
    notes = alike_notes([None, judged(mean), judged(mean)], material)
    assert len(notes) == bool(said)
    assert said in "".join(notes)
    # in clearer images the same two are told
    assert not alike_notes([judged(mean, error=0.001)], material) or said.endswith("0.04")


def test_without_named_classes_or_images_nothing_is_said():
    assert alike_notes([judged(MEAN)], get_material("WSe2")) == ()
    assert alike_notes([None], get_material("WSe2 + Foo=0.355")) == ()


def with_vacancies(v1: float, v2: float = 0.0, columns: int = 60, error: float = 0.06):
    """An image whose V1 weighs `v1` of X2."""
    chance = np.zeros((columns + 300, 6))
    chance[:columns, 3], chance[columns:, 0] = 1.0, 1.0
    return SimpleNamespace(
        model=SimpleNamespace(mean=0.7 * np.array([1.0, 1.5, 2.0, v1, v2]), width=np.ones(5)),
        chance=chance,
        error=np.full(len(chance), error),
    )


def test_vacancies_heavier_or_lighter_than_half_are_said():
    # S + Se among SV in images too noisy to part them: SV seems .56 of 2Se
    said = vacancy_notes([with_vacancies(0.56)], get_material("WSe2"), ClassPrior(1.75))
    assert len(said) == 1 and "class SV weighs 0.560 of 2Se" in said[0]
    assert "0.490" in said[0] and "columns of another kind" in said[0]
    light = vacancy_notes([None, with_vacancies(0.42)], get_material("WSe2"), ClassPrior(1.75))
    assert len(light) == 1 and "class SV weighs 0.420" in light[0]


@pytest.mark.parametrize(
    "image",
    [
        None,
        with_vacancies(0.49),
        with_vacancies(0.51),
        # what background adds to empty sites, it adds to all
        with_vacancies(0.53, 0.08),
        # few vacancies, or weights that don't part them from 2X, say nothing
        with_vacancies(0.56, columns=9),
        with_vacancies(0.56, error=0.15),
    ],
)
def test_usual_few_and_unclear_vacancies_say_nothing(image):
    assert vacancy_notes([image], get_material("WSe2"), ClassPrior(1.75)) == ()


def test_an_image_too_noisy_for_its_classes_is_said():
    wse2 = get_material("WSe2")
    (said,) = noise_notes(with_vacancies(0.5, error=0.17), wse2)
    assert "known to 0.17 of the metal" in said and "2Se and SV are 0.35 apart" in said
    # hard images are known to .06 to .08
    assert noise_notes(with_vacancies(0.5, error=0.08), wse2) == noise_notes(None, wse2) == ()
