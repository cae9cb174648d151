"""Named classes that weigh what another class weighs are said: counts of both are chance."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from napari_defectstrain.judge.judging import alike_notes
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
