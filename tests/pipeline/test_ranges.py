"""What lies outside of what the network and the cross sections were made for is named."""

import json

import numpy as np
import pytest
from small_alloy import QUICK, simulated, true_sites

from napari_defectstrain.detect.network.bundled import bundled_weights, trained_conditions
from napari_defectstrain.io.out_folder import writing_into
from napari_defectstrain.output.results import write_run
from napari_defectstrain.pipeline import chain
from napari_defectstrain.pipeline.ranges import conditions_of, out_of_range
from napari_defectstrain.simulate.conditions import Conditions
from napari_defectstrain.types import CalibratedImage, DefectStrainError


def image(pixel_size_pm=20.0, **metadata):
    return CalibratedImage(np.zeros((4, 4)), pixel_size_pm, "a", metadata)


def test_the_paper_is_within_every_range():
    usual = image(20.74, beam_energy_kev=80.0, semi_angle_mrad=25.0, dose_e_per_nm2=1.24e7)
    assert out_of_range([usual], Conditions()) == ()
    assert out_of_range([image()], Conditions()) == ()


@pytest.mark.parametrize(
    ("one", "quantity"),
    [
        (image(beam_energy_kev=300.0), "beam energy"),
        (image(semi_angle_mrad=10.0), "semi-angle"),
        (image(8.0), "pixel size"),
        (image(dose_e_per_nm2=1e5), "dose"),
        (image(inner_mrad=20.0), "inner detector angle"),
        (image(outer_mrad=90.0), "outer detector angle"),
    ],
)
def test_what_is_outside_is_named_with_its_range(one, quantity):
    (found,) = out_of_range([one], Conditions())
    assert found.quantity == quantity
    assert str(found).startswith(f"a: {quantity} ")
    assert not found.low <= found.value <= found.high
    assert found.to_dict()["image"] == "a"


def test_without_the_network_only_the_cross_sections_count():
    coarse = image(60.0, beam_energy_kev=200.0, dose_e_per_nm2=1.0)
    assert [one.quantity for one in out_of_range([coarse], None)] == ["beam energy"]


def test_dose_follows_from_current_dwell_time_and_pixels():
    # 30 pA for 2 us in ten frames on pixels of 20 pm: 3745 electrons on 4e-4 nm2
    known = conditions_of(image(beam_current_pa=30.0, dwell_time_us=2.0, frames=10))
    assert known["dose"] == pytest.approx(30 * 2 * 10 * 6.2415 / 0.02**2, rel=1e-4)
    assert "dose" not in conditions_of(image(beam_current_pa=30.0))
    # a stated one is that of a frame
    assert conditions_of(image(dose_e_per_nm2=1e6, frames=10))["dose"] == 1e7
    simulated = {"scan": {"dose_e_per_nm2": 2e6}}
    assert conditions_of(image(simulation=simulated, frames=4))["dose"] == 8e6
    assert conditions_of(image(simulation=simulated))["dose"] == 2e6
    assert "beam energy" not in conditions_of(image(beam_energy_kev="80"))


def test_the_weights_tell_what_they_were_trained_on(tmp_path):
    conditions = trained_conditions(bundled_weights("WSe2"))
    assert "WSe2" in conditions.materials
    assert min(conditions.energy_kev) <= 60.0 <= max(conditions.energy_kev)
    (tmp_path / "a.safetensors").write_bytes(b"none of ours at all")
    with pytest.raises(DefectStrainError, match="no weights file of ours"):
        trained_conditions(tmp_path / "a.safetensors")


def test_a_run_says_it():
    made = simulated(seed=1, size=256)
    strange = chain.replace(made.image, metadata={**made.image.metadata, "beam_energy_kev": 200.0})
    found = chain.detect([strange], QUICK, sites=[true_sites(made)])
    assert [one.quantity for one in found.out_of_range] == ["beam energy"]
    assert any("beam energy 200 kV, outside" in text for text in found.warnings)


def test_the_record_of_a_run_holds_conditions_and_what_is_outside(tmp_path):
    made = simulated(seed=1, size=256)
    found = chain.detect([made.image], QUICK, sites=[true_sites(made)])
    beyond = out_of_range([image(beam_energy_kev=300.0)], None)
    with writing_into(tmp_path, "detect", "run.json") as folder:
        write_run(chain.replace(found, out_of_range=beyond), folder)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["out_of_range"][0]["quantity"] == "beam energy"
    assert record["images"][0]["conditions"]["dose"] == pytest.approx(1.24e7)
