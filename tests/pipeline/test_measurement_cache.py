"""Measurements that are known are not made again."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from window_stage import FRAME, noise, perfect

from napari_defectstrain.averages.choice import leave_out, put_back
from napari_defectstrain.pipeline import measurement_cache
from napari_defectstrain.pipeline.measurement_cache import MeasurementCache, measurement_key
from napari_defectstrain.pipeline.runs import RunConfig
from napari_defectstrain.strain.field import StrainConfig
from napari_defectstrain.types import Cancelled, ClassStack

CONFIG = RunConfig(bootstrap=50)


def stack_of(name, rng, n=6):
    """Windows of the perfect crystal."""
    return ClassStack(
        class_name=name,
        windows=(perfect() + noise(n, rng)).astype(np.float32),
        step_pm=FRAME.step_pm,
        a_pm=FRAME.a_pm,
        image_index=np.zeros(n, dtype=int),
        site_index=np.arange(n),
        position_px=np.zeros((n, 2)),
        shift_pm=np.zeros((n, 2)),
        probability=np.ones(n),
        included=np.ones(n, dtype=bool),
        reason=np.full(n, "", dtype="<U64"),
    )


@pytest.fixture
def stacks(rng):
    return {name: stack_of(name, rng) for name in ("2Se", "SV")}


@pytest.fixture
def fits(monkeypatch):
    """A list that grows with each call of the fit, whose result says which one it was."""
    calls = []

    def measure(stacks, config, progress):
        progress(0.5, "fitting")
        calls.append(set(stacks))
        return {name: len(calls) for name in stacks}

    monkeypatch.setattr(measurement_cache, "measure_spacings", measure)
    return calls


@pytest.mark.slow
def test_the_same_windows_are_fitted_once(stacks, fits):
    cache = MeasurementCache()
    first = cache.spacings(stacks, CONFIG)
    alike = {name: replace(s, windows=s.windows.copy()) for name, s in stacks.items()}
    assert cache.spacings(alike, CONFIG) == first
    assert len(fits) == 1


@pytest.mark.slow
def test_what_comes_after_the_fit_asks_for_no_other(stacks, fits):
    cache = MeasurementCache()
    cache.spacings(stacks, CONFIG)
    cache.spacings(stacks, CONFIG.replace(strain=StrainConfig(smoothing_pm=10.0)))
    assert len(fits) == 1


@pytest.mark.slow
def test_a_step_back_finds_what_was_measured_before(stacks, fits):
    cache = MeasurementCache()
    without = {**stacks, "SV": leave_out(stacks["SV"], [2])}
    assert [cache.spacings(s, CONFIG)["SV"] for s in (stacks, without, stacks, without)] == [
        1,
        2,
        1,
        2,
    ]
    # put back by hand instead of by a step back: the same windows count, for the same reasons
    back = {**stacks, "SV": put_back(without["SV"], [2])}
    assert cache.spacings(back, CONFIG)["SV"] == 1


CHANGES = {
    "a pixel": lambda s: replace(
        s, windows=s.windows + np.eye(len(s.windows[0]), dtype="f4") * 1e-6
    ),
    "a choice": lambda s: leave_out(s, [0]),
    "an image": lambda s: replace(s, image_index=s.image_index + np.arange(s.n)),
    "a probability": lambda s: replace(s, probability=0.9 * s.probability),
    "the pixel size": lambda s: replace(s, step_pm=1.01 * s.step_pm),
    "the detector's doubt": lambda s: replace(s, overconfidence=2.0),
    "the probes": lambda s: replace(s, group=np.arange(len(s.included))),
    "the reasons": lambda s: replace(s, reason=np.full(len(s.included), "improbable")),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_other_windows_are_others(stacks, change):
    other = {**stacks, "SV": change(stacks["SV"])}
    assert measurement_key(other, CONFIG) != measurement_key(stacks, CONFIG)


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"seed": 1}, {"bootstrap": 51}, {"material": "MoS2"}])
def test_any_other_settings_of_the_measurement_are_others(stacks, change):
    assert measurement_key(stacks, CONFIG.replace(**change)) != measurement_key(stacks, CONFIG)
    model = CONFIG.replace(columns=CONFIG.columns.replace(model="gaussian"))
    assert measurement_key(stacks, model) != measurement_key(stacks, CONFIG)


@pytest.mark.slow
def test_what_was_used_least_recently_is_forgotten(stacks, fits):
    cache = MeasurementCache(kept=2)
    for seed in (0, 1, 0, 2, 0):
        cache.spacings(stacks, CONFIG.replace(seed=seed))
    assert len(cache) == 2 and len(fits) == 3
    cache.spacings(stacks, CONFIG.replace(seed=1))
    assert len(fits) == 4


@pytest.mark.slow
def test_a_failed_or_cancelled_one_is_not_kept(stacks, fits):
    cache = MeasurementCache()

    def stop(_fraction, message):
        raise Cancelled(message)

    with pytest.raises(Cancelled):
        cache.spacings(stacks, CONFIG, stop)
    assert len(cache) == 0
    cache.spacings(stacks, CONFIG)
    assert len(fits) == 1


@pytest.mark.slow
def test_who_asks_for_what_is_being_measured_waits_for_it(stacks, monkeypatch):
    calls, begun, go_on = [], threading.Event(), threading.Event()

    def measure(stacks, config, progress):
        calls.append(set(stacks))
        progress(0.25, "fitting")
        begun.set()
        assert go_on.wait(30)
        return {name: len(calls) for name in stacks}

    monkeypatch.setattr(measurement_cache, "measure_spacings", measure)
    cache, found, seen = MeasurementCache(), [], []
    first = threading.Thread(target=lambda: found.append(cache.spacings(stacks, CONFIG)))
    first.start()
    assert begun.wait(30)

    def progress(fraction, message):
        seen.append((fraction, message))
        go_on.set()

    found.append(cache.spacings(stacks, CONFIG, progress))
    first.join(30)
    assert len(calls) == 1 and found[0] == found[1]
    assert set(seen) == {(0.25, "fitting")}


@pytest.mark.slow
def test_who_waits_for_a_cancelled_one_measures_it(stacks, monkeypatch):
    begun, stop, calls = threading.Event(), threading.Event(), []

    def measure(stacks, config, progress):
        calls.append(set(stacks))
        begun.set()
        if len(calls) == 1:
            assert stop.wait(30)
        progress(0.5, "fitting")
        return {name: len(calls) for name in stacks}

    monkeypatch.setattr(measurement_cache, "measure_spacings", measure)
    cache = MeasurementCache()

    def cancelled(_fraction, message):
        raise Cancelled(message)

    def first():
        with pytest.raises(Cancelled):
            cache.spacings(stacks, CONFIG, cancelled)

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(30)
    found = cache.spacings(stacks, CONFIG, lambda *_: stop.set())
    thread.join(30)
    assert found["SV"] == 2


@pytest.mark.slow
def test_averages_over_the_symmetry_are_worked_out_once_a_choice(stacks, monkeypatch):
    calls = []

    def symmetrise(stack):
        calls.append(stack.class_name)
        return len(calls)

    monkeypatch.setattr(measurement_cache, "symmetrise_average", symmetrise)
    cache = MeasurementCache()
    without = leave_out(stacks["SV"], [2])
    asked = (stacks["SV"], stacks["2Se"], without, stacks["SV"], stacks["2Se"], without)
    assert [cache.symmetric(stack) for stack in asked] == [1, 2, 3, 1, 2, 3]
    assert calls == ["SV", "2Se", "SV"]
    monkeypatch.setattr(measurement_cache, "KEPT_AVERAGES", 2)
    assert [cache.symmetric(stack) for stack in (without, stacks["2Se"])] == [3, 2]
    assert cache.symmetric(stacks["SV"]) == 4  # used least recently
