"""The family of probes: what a transfer function is held to where the data don't tell it."""

import numpy as np
import pytest

from napari_defectstrain.columns.probe_family import (
    FOCUS_AMOUNT,
    FREQUENCIES,
    _beyond_a_blur,
    family_departure,
    family_member,
    family_members,
    family_way,
    focused,
    focused_probe,
    made_members,
)
from napari_defectstrain.columns.profiles import aperture_transfer, spline_profile

LIMIT, SPOT, SIGMA = 0.012, 0.0035, 55.0


def test_all_members_are_transfer_functions() -> None:
    members = family_members()
    assert members[:, 0] == pytest.approx(np.ones(len(members)), abs=1e-12)
    # aberrations pass nothing on that the aperture doesn't, up to the sizes it may have
    largest = aperture_transfer(FREQUENCIES / 1.1)
    assert np.all(members < largest + 0.03)  # a coarse grid of the aperture


def test_the_members_that_are_kept_are_those_that_would_be_made() -> None:
    kept, made = family_members(), made_members()
    assert kept.shape == made.shape
    # a later SciPy may draw others: the kept ones stay, and are as many and alike
    np.testing.assert_allclose(kept.mean(axis=0), made.mean(axis=0), atol=0.01)
    if np.abs(kept - made).max() > 0.01:
        pytest.skip("this SciPy draws other members")
    np.testing.assert_allclose(kept, made, atol=1e-12)


def test_the_way_is_that_in_which_the_family_differs() -> None:
    start = focused(spline_profile(SIGMA, 12, 0.7, LIMIT, SPOT), LIMIT, SPOT)
    way = family_way(start, LIMIT, SPOT)
    k = np.linspace(0.0, 0.009, 40)
    departure = family_departure(SPOT / LIMIT)
    mode = np.interp(k / LIMIT, departure.frequency, departure.mode)
    expected = start.transfer(k, np.zeros_like(k)) * mode
    np.testing.assert_allclose(start.basis(k) @ way, expected, atol=1.2e-2)
    assert way[-1] == 0.0


def test_a_probe_in_focus_is_a_member_and_others_pass_less_of_the_middle() -> None:
    plain = spline_profile(SIGMA, 12, 0.7, LIMIT, SPOT)
    k = np.linspace(0.0, 0.009, 40)
    sharp, member, blurred = (
        one.transfer(k, np.zeros_like(k))
        for one in (
            focused(plain, LIMIT, SPOT),
            family_member(plain, LIMIT, SPOT, FOCUS_AMOUNT),
            family_member(plain, LIMIT, SPOT, 1.0),
        )
    )
    np.testing.assert_allclose(member, sharp, atol=5e-3)
    at_spot = np.array([SPOT])
    tails = [one[0] / np.interp(at_spot, k, one)[0] for one in (sharp, blurred)]
    assert tails[1] > 1.1 * tails[0]


@pytest.mark.parametrize("spot", [0.27, 0.29, 0.31])
def test_a_probe_in_focus_is_no_mean_member(spot: float) -> None:
    """Most members are more aberrated: a prior about focus errs by more than the family's width."""
    departure = family_departure(spot)
    counts = aperture_transfer(FREQUENCIES) * np.exp(-0.5 * (FREQUENCIES / spot) ** 2)
    mode = departure.mode * counts
    away = (_beyond_a_blur(focused_probe()[None], spot)[0] - departure.mean) * counts
    assert away @ mode / (mode @ mode) == pytest.approx(FOCUS_AMOUNT, abs=0.04)
