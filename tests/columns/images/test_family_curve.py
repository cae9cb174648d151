"""Profiles along the one way in which probes differ."""

import numpy as np
import pytest

from napari_defectstrain.columns.images.measure import _of_family
from napari_defectstrain.columns.images.rendering import Shape
from napari_defectstrain.columns.probe_family import (
    FREQUENCIES,
    _beyond_a_blur,
    family_departure,
    focused_probe,
)
from napari_defectstrain.columns.profiles import aperture_transfer, spline_profile

LIMIT, SPOT, SIGMA = 0.24, 0.07, 2.5
LEAST_SEEN = 0.15  # of the family


@pytest.fixture(scope="module")
def start():
    profile = spline_profile(SIGMA, 14, 1.1, LIMIT, SPOT)
    return profile, _of_family(profile, LIMIT, SPOT)


def shape(start):
    profile, curve = start
    coefficient, mode = curve.at(0.0)
    mean = profile.with_parameters(coefficient)
    return Shape.starting(mean, mode, np.eye(3), curve)


@pytest.mark.parametrize("amount", [-1.5, -0.7, 1.0])
def test_logarithms_change_in_proportion(start, amount):
    profile, curve = start
    k = np.linspace(0.0, 0.6 * LIMIT, 60)
    mode = np.interp(k / LIMIT, FREQUENCIES, family_departure(SPOT / LIMIT).mode)
    transfer = profile.basis(k) @ np.stack([curve.at(a)[0] for a in (0.0, amount)], axis=1)
    grown = np.log(transfer[:, 1] / transfer[:, 0])
    # but for what few splines can't follow
    assert np.abs(grown - amount * mode).max() < 0.02


def test_derivative_is_that_of_the_coefficients(start):
    _, curve = start
    by = (curve.at(-0.6999)[0] - curve.at(-0.7001)[0]) / 2e-4
    assert curve.at(-0.7)[1][:, 0] == pytest.approx(by, abs=1e-6)


def test_two_steps_are_one(start):
    whole = shape(start).moved(np.array([-0.9, 0.0, 0.0, 0.0]))
    halves = shape(start).moved(np.array([-0.45, 0.1, 0.0, 0.0]))
    halves = halves.moved(np.array([-0.45, -0.1, 0.0, 0.0]))
    assert halves.profile.coefficient == pytest.approx(whole.profile.coefficient)
    assert halves.modes == pytest.approx(whole.modes)
    assert halves.profile.blur_pm2 == pytest.approx(whole.profile.blur_pm2)


def test_transfer_stays_positive_far_from_the_mean(start):
    # in proportion to the coefficients a probe three sigma away was below zero at the outer spots
    profile, curve = start
    k = np.linspace(0.0, 0.8 * LIMIT, 60)
    assert (profile.basis(k) @ curve.at(-3.0)[0] > 0).all()


@pytest.mark.parametrize("spot", [0.24, 0.26, 0.28, 0.30])
def test_spots_tell_the_middle_of_the_probe_in_focus(spot):
    """Much aberrated members bent mean and slope at the outer spots: 0.2 of the family too much."""
    departure = family_departure(spot)
    focus = _beyond_a_blur(focused_probe()[None], spot)[0]
    order = np.array([1.0, np.sqrt(3), 2.0, np.sqrt(7), 3.0])
    at = order * spot
    at = at[at < 0.95]
    same = np.array([0, 1, 0, 0, 1])[: len(at)]  # kinds of spots: sublattices in phase, or not
    strength = np.sqrt(np.array([6, 6, 6, 12, 6]) * np.array([0.77, 2.72, 0.77, 0.77, 2.72]))
    width = np.exp(-0.8 * (at / spot) ** 2)
    wave = strength[: len(at)] * width * aperture_transfer(at)
    by, mean, mode = (np.interp(at, FREQUENCIES, f) for f in (focus, *departure[1:]))
    free = np.stack([same == 0, same == 1, at**2, mode], axis=1) * wave[:, None]
    amount = np.linalg.lstsq(free, (by - mean) * wave, rcond=None)[0][-1]
    middle = (0.15 * spot < FREQUENCIES) & (0.6 * spot > FREQUENCIES)
    left = (focus - departure.mean - amount * departure.mode)[middle]
    assert abs(np.mean(left)) < LEAST_SEEN * np.mean(departure.mode[middle])
