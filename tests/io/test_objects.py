"""What was measured survives a file: values, arrays, tables, and what they share."""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from napari_defectstrain.config import Config
from napari_defectstrain.io.objects import Packer, Unpacker
from napari_defectstrain.pipeline.runs import RunConfig
from napari_defectstrain.types import DefectStrainError, Sites


def round_trip(value):
    packer = Packer()
    text = json.dumps(packer.pack(value), allow_nan=False)
    return Unpacker(lambda n: packer.arrays[n].copy()).unpack(json.loads(text))


def some_sites():
    return Sites(
        position_px=np.array([[1.0, 2.0], [3.5, np.nan]]),
        probabilities=np.array([[0.9, 0.1], [0.2, 0.8]]),
        class_index=np.array([0, 1]),
        class_names=("W", "2Se"),
        source=np.array(["model", "manual"]),
    )


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        3,
        2.5,
        float("inf"),
        (1, "a", (2.0,)),
        {"a": [1, {"b": None}]},
        {(1, 2): "x", 3: "y"},
        {"@": "a key of the user's"},
        {"of": frozenset({"a", "b"})},
        RunConfig(bootstrap=123),
    ],
)
def test_values_come_back_as_they_were(value):
    assert round_trip(value) == value


def test_nan_comes_back():
    assert np.isnan(round_trip({"x": float("nan")})["x"])


def test_dataclasses_and_their_arrays_come_back():
    sites = some_sites()
    back = round_trip({"sites": sites})["sites"]
    assert isinstance(back, Sites)
    np.testing.assert_array_equal(back.position_px, sites.position_px)
    assert back.source.dtype == sites.source.dtype
    assert back.class_names == sites.class_names


def test_tables_keep_their_types_and_categories():
    table = pd.DataFrame(
        {
            "class": pd.Categorical(["SV", "2Te"], ["2Se", "2Te", "SV"]),
            "n": [1, 2],
            "text": ["a", "b"],
            "x": [1.5, np.nan],
        }
    )
    pd.testing.assert_frame_equal(round_trip(table), table)


def test_what_is_shared_is_one_again():
    sites = some_sites()
    first, second, position = round_trip([sites, sites, sites.position_px])
    assert first is second
    assert first.position_px is position


def test_strangers_are_refused():
    @dataclass(frozen=True)
    class Foreign:
        x: int = 1

    with pytest.raises(DefectStrainError, match="Foreign"):
        Packer().pack(Foreign())
    with pytest.raises(DefectStrainError, match="object"):
        Packer().pack(object())


@pytest.mark.parametrize(
    "content",
    [
        {"@": "object", "n": 0, "type": "os:system", "fields": {}},
        {"@": "object", "n": 0, "type": "io.objects:Packer", "fields": {}},
        {"@": "object", "n": 0, "type": "..x:y", "fields": {}},
        {"@": "object", "n": 0, "type": "types:Sites", "fields": {}},
        {"@": "same", "n": 7},
        {"@": "of a later version"},
        {"@": "tuple"},
    ],
)
def test_damaged_content_is_refused_in_one_line(content):
    with pytest.raises(DefectStrainError) as refused:
        Unpacker(lambda n: np.zeros(n)).unpack({"x": content})
    assert "\n" not in str(refused.value)


def test_settings_are_checked_again_when_they_are_read():
    packed = Packer().pack(RunConfig())
    packed["fields"]["bootstrap"] = -5
    with pytest.raises(DefectStrainError):
        Unpacker(lambda n: np.zeros(n)).unpack(packed)
    assert isinstance(Unpacker(lambda n: np.zeros(n)).unpack(Packer().pack(RunConfig())), Config)
