"""A look as settings of the simulator, and as what training draws from."""

from dataclasses import replace

import numpy as np
import pytest
from look_stage import STEADY, known_look, pictured

from napari_defectstrain.detect import TrainConfig
from napari_defectstrain.simulate import column_height
from napari_defectstrain.trials import look_conditions, look_probe, look_settings
from napari_defectstrain.trials.looks import Learnt


def test_the_settings_are_those_of_the_image_that_it_was_learnt_from():
    made = pictured(*STEADY).config
    found = look_settings(known_look(), (128, 128))
    assert found.scan.pixel_size_pm == pytest.approx(made.scan.pixel_size_pm, rel=0.006)
    assert found.scan.frames == pytest.approx(made.scan.frames, abs=4)
    line = [c.scan.jitter_px / np.sqrt(c.scan.frames) for c in (made, found)]
    assert line[1] == pytest.approx(line[0], abs=0.08)
    slope = known_look().noise.slope
    known = np.log(found.scan.dose_e_per_nm2 / made.scan.dose_e_per_nm2)
    assert abs(known) < 3 * slope.sigma / slope.value
    assert found.scan.read_noise == pytest.approx(made.scan.read_noise, rel=0.15)
    assert found.weights == pytest.approx(made.weights, abs=0.1)


def test_the_probe_makes_columns_as_high():
    made = pictured(*STEADY).config
    matrix = np.diag([20.74, 20.74])
    height = [column_height(matrix, p) for p in (made.probe, look_probe(known_look()))]
    # without the jitter, which widens what was seen
    assert height[1] == pytest.approx(height[0], rel=0.25)


def test_training_takes_the_conditions_as_they_are():
    look = known_look()
    conditions = look_conditions(look)
    config = TrainConfig.from_dict({"conditions": conditions.to_dict()})
    assert config.conditions == conditions
    drawn = [conditions.draw(4000.0, np.random.default_rng(seed)) for seed in range(40)]
    settings = look_settings(look, (128, 128))
    for value in (
        lambda c: c.scan.pixel_size_pm,
        lambda c: c.scan.dose_e_per_nm2,
        lambda c: c.scan.read_noise,
        lambda c: c.scan.jitter_px / np.sqrt(c.scan.frames),
        lambda c: c.weights[1],
        lambda c: c.probe.source_fwhm_pm,
    ):
        assert np.mean([value(c) for c in drawn]) == pytest.approx(value(settings), rel=0.12)
    shares = np.mean([c.crystal.fractions for c in drawn], axis=0)
    assert shares == pytest.approx([f.value for f in look.columns.fractions], abs=0.025)


@pytest.mark.parametrize("shares", [(0.03, 0.02, 0.3, 0.05), (0.03, 0.02, 0.5, 0.15)])
def test_training_draws_rich_classes_as_rich_as_they_are(shares):
    look = known_look()
    columns = replace(look.columns, fractions=tuple(Learnt(f, 0.01) for f in shares))
    conditions = look_conditions(replace(look, columns=columns))
    assert sum(conditions.fractions_max) <= 1.0  # more than all sites can't be drawn
    mean = [0.5 * (1 - conditions.absent) * f for f in conditions.fractions_max]
    room = min(1.0, 0.95 * 0.45 / sum(shares))
    assert mean[2] == pytest.approx(room * shares[2], rel=0.02)
