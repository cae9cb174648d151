"""Global envelopes: as often outside as promised, and outside where p says so."""

import numpy as np

from napari_defectstrain.crystal.envelopes import global_envelope


def test_outside_and_p_say_the_same_and_are_as_rare_as_promised():
    rng = np.random.default_rng(1)
    mean = np.array([0.02, 0.5, 3.0, 40.0, 500.0])
    alarms = 0
    for _ in range(200):
        draws = rng.poisson(mean, (100, 5))
        found = global_envelope(draws[0], draws[1:], level=0.9)
        outside = ((draws[0] < found.low) | (draws[0] > found.high)).any()
        assert outside == (found.p <= 0.1 + 1e-9)
        alarms += outside
    assert 8 <= alarms <= 34  # 20 expected


def test_one_rare_event_is_not_the_farthest_of_all():
    rng = np.random.default_rng(2)
    draws = rng.poisson([0.01] * 50 + [30.0], (499, 51))
    observed = np.zeros(51)
    observed[0], observed[-1] = 1, 70
    found = global_envelope(observed, draws)
    assert observed[0] <= found.high[0]
    assert observed[-1] > found.high[-1]


def test_nothing_asked_is_nothing_found():
    found = global_envelope(np.zeros(0), np.zeros((99, 0)))
    assert found.p == 1.0
    assert found.low.shape == (0,)


def test_it_is_the_same_however_the_counts_lie_in_memory():
    rng = np.random.default_rng(3)
    draws = rng.poisson(30.0, (199, 40)) + rng.random((199, 40))
    observed = rng.poisson(30.0, 40)
    here, there = (global_envelope(observed, np.array(draws, order=kind)) for kind in "CF")
    for name in ("mean", "low", "high"):
        assert np.array_equal(getattr(here, name), getattr(there, name))
