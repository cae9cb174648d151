"""Settings are typed, finite and in range on every way in."""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_defectstrain
from napari_defectstrain.cli.main import main
from napari_defectstrain.columns.images.types import ImageColumnConfig
from napari_defectstrain.config import Between, Config, OneOf
from napari_defectstrain.detect.network.config import DetectConfig, TrainConfig
from napari_defectstrain.io.files import read_settings
from napari_defectstrain.materials import get_material
from napari_defectstrain.pipeline.runs import RunConfig
from napari_defectstrain.simulate.dataset import SimulationConfig
from napari_defectstrain.types import DefectStrainError

ALL = (RunConfig, TrainConfig, SimulationConfig, ImageColumnConfig)

BAD = [
    ({"frames": "false"}, "frames: got 'false', expected true or false"),
    ({"frames": 1}, "frames: got 1, expected true or false"),
    ({"seed": 1.5}, "seed: got 1.5, expected a whole number from 0"),
    ({"seed": True}, "seed: got true, expected a whole number"),
    ({"seed": -1}, "seed: got -1"),
    ({"seed": 10**30}, "seed: got 10+, expected a whole number"),
    ({"seed": 10**6000}, "seed: got a number of thousands of digits"),
    ({"bootstrap": float("nan")}, "bootstrap: got nan"),
    ({"bootstrap": 1e308}, r"bootstrap: got 1e\+308, expected a whole number from 2 to 1000000"),
    ({"bootstrap": 10**9}, "bootstrap: got 1000000000"),
    ({"bootstrap": "100"}, "bootstrap: got '100'"),
    ({"pixel_size_pm": 1e308}, r"pixel_size_pm: got 1e\+308, expected a finite number from 0.1"),
    ({"pixel_size_pm": float("inf")}, "pixel_size_pm: got inf"),
    ({"pixel_size_pm": -20.74}, "pixel_size_pm: got -20.74"),
    ({"pixel_size_pm": 10**400}, r"pixel_size_pm: got 10+\.\.\., expected"),
    ({"pixel_size_pm": True}, "pixel_size_pm: got true"),
    ({"material": None}, "material: got null, expected a text"),
    ({"material": "WSe2(Se, 330)"}, "2Se would stand for two things"),
    ({"material": "WW2(Te, 330)"}, "expected three different elements"),
    ({"material": "WS2(V, 315)"}, "SV would stand for two things"),
    ({"material": "NbSe2(S, 3.4.5)"}, "material: got 'NbSe2"),
    ({"material": "NbSe2(S, 0)"}, "expected 200 to 600 pm"),
    ({"average": None}, "average: got null, expected an object of settings"),
    ({"average": [2]}, r"average: got \[2\], expected an object"),
    (
        {"average": {"shells": "2"}},
        r"average\.shells: got '2', expected a whole number from 0",
    ),
    ({"average": {"shell": 2}}, r"average\.shell: got unknown setting"),
    ({"columns": {"tolerance_pm": float("nan")}}, r"columns\.tolerance_pm: got nan"),
    ({"strain": {"method": ["rbf"]}}, r"strain\.method: got \['rbf'\], expected one of rbf"),
    ({"detect": {"thresholds": [0.5]}}, r"detect\.thresholds: got \[0.5\], .* 4 entries"),
    ({"detect": {"thresholds": 0.5}}, r"detect\.thresholds: got 0.5, expected a list"),
    ({"detect": {"thresholds": [0.5, 0.5, 0.5, 2]}}, r"detect\.thresholds\[3\]: got 2"),
    ({"detect": {"weights": 3}}, r"detect\.weights: got 3, expected a text"),
    ({"series": {"exclude": [0, 1.5]}}, r"series\.exclude\[1\]: got 1.5"),
]


def configs() -> list[type[Config]]:
    found, waiting = [], [Config]
    for module in pkgutil.walk_packages(
        napari_defectstrain.__path__, "napari_defectstrain.", onerror=lambda _: None
    ):
        if ".widgets" not in module.name and "__main__" not in module.name:
            importlib.import_module(module.name)
    while waiting:
        found += (new := waiting.pop().__subclasses__())
        waiting += new
    return found


def numbers_without_range(hint: Any, declared: bool = False) -> bool:
    if typing.get_origin(hint) is typing.Annotated:
        hint, *limits = typing.get_args(hint)
        declared = declared or any(isinstance(limit, Between | OneOf) for limit in limits)
    if hint in (int, float):
        return not declared
    return any(numbers_without_range(h, declared) for h in typing.get_args(hint))


@pytest.mark.parametrize(("values", "match"), BAD)
def test_bad_settings_are_refused_by_name(values: dict[str, Any], match: str) -> None:
    with pytest.raises(DefectStrainError, match=f"^(RunConfig.)?{match}|^material: .*{match}"):
        RunConfig.from_dict(values)


@pytest.mark.parametrize(("values", "match"), BAD)
def test_bad_settings_end_in_one_line_before_any_work(
    values: dict[str, Any],
    match: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        text = json.dumps(values)
    except ValueError:  # a number that Python doesn't write
        text = '{"seed": 1' + 6000 * "0" + "}"
        match = "s.json: not JSON"
    (tmp_path / "s.json").write_text(text)
    options = ["run", "missing.tif", "--out", str(tmp_path / "out")]
    assert main([*options, "--config", str(tmp_path / "s.json")]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and not (tmp_path / "out").exists()
    assert "missing.tif" not in said
    with pytest.raises(DefectStrainError, match=match):  # what was wrong is named
        raise DefectStrainError(said.strip())


def test_settings_made_in_python_are_checked_too() -> None:
    with pytest.raises(DefectStrainError, match=r"RunConfig\.seed: got 1\.5"):
        RunConfig(seed=1.5)  # type: ignore[arg-type]
    with pytest.raises(DefectStrainError, match=r"RunConfig\.average: got null"):
        RunConfig(average=None)  # type: ignore[arg-type]
    with pytest.raises(DefectStrainError, match=r"RunConfig\.average: got {}"):
        RunConfig(average={})  # type: ignore[arg-type]
    found = RunConfig(seed=np.int64(3), pixel_size_pm=np.float32(20))  # type: ignore[arg-type]
    assert type(found.seed) is int and type(found.pixel_size_pm) is float
    assert RunConfig(pixel_size_pm=20) == found.replace(seed=0)


def test_every_number_declares_its_range() -> None:
    found = configs()
    assert set(ALL) <= set(found)
    missing = [
        f"{cls.__name__}.{field.name}"
        for cls in found
        if cls.__module__.startswith("napari_defectstrain")
        for hints in [typing.get_type_hints(cls, include_extras=True)]
        for field in dataclasses.fields(cls)
        if numbers_without_range(hints[field.name])
    ]
    assert missing == []


@pytest.mark.parametrize("cls", ALL)
def test_settings_go_through_json(cls: type[Config]) -> None:
    assert cls.from_dict(json.loads(json.dumps(cls().to_dict()))) == cls()


def test_the_record_of_a_run_holds_one_material() -> None:
    config = RunConfig(material="MoS2")
    assert config.to_dict()["detect"]["material"] == "MoS2"
    assert config.replace(material="WS2").detect.material == "WS2"
    assert RunConfig(detect=DetectConfig(symmetries=1)).detect.symmetries == 1


def test_a_material_given_to_the_detection_alone_is_no_secret() -> None:
    with pytest.raises(DefectStrainError, match=r"detect\.material: got 'MoS2', expected 'WSe2'"):
        RunConfig.from_dict({"detect": {"material": "MoS2"}})


def test_a_setting_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"seed": 1, "material": "WSe2", "material": "MoS2"}')
    with pytest.raises(DefectStrainError, match=r"s\.json: got material twice"):
        read_settings(tmp_path / "s.json")


def test_spelt_materials_still_work() -> None:
    assert get_material("NbSe2(S, 344.5)").lattice_pm == 344.5
    assert get_material("NbSe2(S, 344)").class_names[:4] == ("Nb", "2Se", "SeS", "2S")
