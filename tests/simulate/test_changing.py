"""Series of frames in which columns change: what is asked for comes about."""

import numpy as np
import pytest

from napari_defectstrain.materials import MATERIALS, ROLES, WSE2
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.changing import (
    ChangesConfig,
    chances,
    history_table,
    simulate_changing,
)
from napari_defectstrain.simulate.dataset import SimulationConfig
from napari_defectstrain.simulate.structure import CrystalConfig

DOSE = 2e6
SCAN = ScanConfig(shape=(192, 192), pixel_size_pm=30.0, dose_e_per_nm2=DOSE, frames=1)
CONFIG = SimulationConfig(scan=SCAN, crystal=CrystalConfig(fractions=(0.0, 0.0, 0.1, 0.0)))


def test_chances_of_a_frame_and_rates_are_each_others_inverse():
    asked = ChangesConfig(changes=("2Se:SV=0.03", "2Se:SeTe=0.01", "SV:DV=0.2"), frames=2)
    rates = asked.rates(WSE2)
    assert rates == {("X2", "V1"): 0.03, ("X2", "XY"): 0.01, ("V1", "V2"): 0.2}
    made = simulate_changing(CONFIG, asked, np.random.default_rng(0), "series")
    found = made.rates(DOSE / 1e6)
    assert found == pytest.approx(rates, rel=1e-12)
    half, whole = (chances(rates, dose)["V1", "V2"] for dose in (1.0, 2.0))
    assert 1.0 - whole == pytest.approx((1.0 - half) ** 2, rel=1e-12)


def test_classes_are_named_as_the_material_names_them():
    asked = ChangesConfig(changes=("2S:SV=0.5",))
    assert asked.rates(MATERIALS["MoS2"]) == {("X2", "V1"): 0.5}
    assert ChangesConfig().rates(WSE2) == {("X2", "V1"): 0.0018, ("V1", "V2"): 0.0009}


def test_as_many_columns_change_as_the_rates_say():
    # 8 frames of 1e6 e-/nm2 each at .05: a perfect column has left with 1 - exp(-.05 * 7)
    scan = SCAN.replace(dose_e_per_nm2=1e6)
    asked = ChangesConfig(changes=("2Se:SV=0.05",), frames=8)
    left = total = 0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        made = simulate_changing(CONFIG.replace(scan=scan), asked, rng, "series")
        perfect = made.class_index[0] == ROLES.index("X2")
        total += int(perfect.sum())
        left += int((made.class_index[-1][perfect] == ROLES.index("V1")).sum())
        assert len(history_table(made)) == int((made.class_index[-1] != made.class_index[0]).sum())
    chance = 1.0 - np.exp(-0.05 * 7)
    assert abs(left / total - chance) < 4.0 * np.sqrt(chance * (1 - chance) / total)


def test_frames_drift_as_far_as_asked_for():
    asked = ChangesConfig(frames=5, drift_pm_per_s=50.0, dwell_us=10.0)
    made = simulate_changing(CONFIG, asked, np.random.default_rng(1), "series")
    frame_s = 192 * 192 * 10e-6
    assert np.hypot(*made.drift_px[-1]) * 30.0 == pytest.approx(4 * frame_s * 50.0)
    assert made.image.metadata["dwell_time_us"] == 10.0


def test_vacancies_hop_as_often_as_asked_for():
    asked = ChangesConfig(changes=("2Se:SV=0",), hop_rate=0.1, frames=4)
    made = simulate_changing(CONFIG, asked, np.random.default_rng(2), "series")
    history = history_table(made)
    born, gone = ((history[k] == "SV").sum() for k in ("after", "before"))
    vacancies = int((made.class_index[0] == ROLES.index("V1")).sum())
    expected = vacancies * 3 * (1.0 - np.exp(-0.2))  # each takes a neighbour's place
    assert abs(gone - expected) < 4.0 * np.sqrt(expected)
    assert abs(born - gone) < 0.5 * gone  # but for those that leave the field or come in
