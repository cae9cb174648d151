"""Plans keep to the square roots of windows and dose, and to what the beam destroys."""

import numpy as np
import pytest

from napari_defectstrain.pipeline.planning import Test, loss_of_series, plan_images
from napari_defectstrain.types import DefectStrainError

SV = Test("SV", 50, 1, 0.002, 0.0005, 1.0, 1e7, atoms=1, vacancies=0.05)


def test_four_times_the_images_halve_the_error():
    plan = plan_images(SV, 0.001, 0.0, doses=(1.0,)).iloc[0]
    assert plan["images"] == 4
    assert plan["sigma_strain_%"] == pytest.approx(0.1)
    assert plan["sigma_total_%"] == pytest.approx(np.hypot(0.1, 0.05))
    assert plan["windows"] == 50
    assert plan["new_vacancies_%"] == plan["windows_lost_%"] == 0.0


def test_dose_helps_as_far_as_noise_is_counting():
    counted = plan_images(SV, 0.001, 0.0, doses=(0.25, 4.0))["images"].tolist()
    assert counted == [16, 1]
    shaken = Test("SV", 50, 1, 0.002, 0.0, 0.0, 1e7)
    assert plan_images(shaken, 0.001, 0.0, doses=(0.25, 4.0))["images"].tolist() == [4, 4]


def test_no_more_defect_free_windows_are_averaged_than_are():
    """Their error falls with the images until there are as many as are ever averaged."""
    test = Test("SV", 50, 1, 0.002, 0.0, 0.0, 1e7, 1, 0.0, 0.0008, 500, 1000)
    own = 0.002**2 - 0.0008**2

    def sigma(images):
        return 100 * np.sqrt(own / images + 0.0008**2 * 500 / min(500 * images, 1000))

    for target in (0.0015, 0.001, 0.0007):
        plan = plan_images(test, target, 0.0, doses=(1.0,)).iloc[0]
        assert plan["sigma_strain_%"] == pytest.approx(sigma(plan["images"]))
        assert sigma(plan["images"]) <= 100 * target < sigma(plan["images"] - 1)
    least = 0.0008 / np.sqrt(2)
    never = plan_images(test, 0.99 * least, 0.0, doses=(1.0,)).iloc[0]
    assert np.isinf(never["images"])
    assert never["sigma_strain_%"] == pytest.approx(100 * least)


@pytest.mark.parametrize("windows", [10, 31, 100])
def test_intervals_hold_the_images_that_are_needed(windows):
    """By tests whose windows scatter and number as chance has it."""
    rng = np.random.default_rng(windows)
    scatter, target, inside = 0.0141, 0.001, []
    needed = scatter**2 / windows / target**2
    for n in rng.poisson(windows, 400):
        sigma = scatter * np.sqrt(rng.chisquare(n - 1) / (n - 1) / n)
        plan = plan_images(Test("SV", n, 1, sigma, 0.0, 0.5, 1e7), target, 0.0, doses=(1.0,))
        inside.append(plan["images_low"][0] - 1 < needed <= plan["images_high"][0])
    assert 0.92 < np.mean(inside) < 0.99  # 400: 1.1 %; images are whole


def test_what_the_beam_destroys():
    loss = 1e-9  # one atom in a hundred at the test's dose
    plan = plan_images(SV, 0.001, loss, shells=2, doses=(1.0, 8.0))
    assert plan["new_vacancies_%"][0] == pytest.approx(100 * (1 - np.exp(-0.02)))
    assert plan["class_lost_%"][0] == pytest.approx(100 * (1 - np.exp(-0.01)))
    # 12 columns of two atoms, and the vacancy's own, until the middle of the exposure
    assert plan["windows_lost_%"][0] == pytest.approx(100 * (1 - np.exp(-25 * 0.005)))
    new = 1 - np.exp(-0.01)
    assert plan["new_among_vacancies_%"][0] == pytest.approx(100 * new / (new + 0.05))
    assert plan["windows"][0] == pytest.approx(50)
    assert plan["windows"][1] == pytest.approx(50 * np.exp(-25 * 0.04 + 25 * 0.005))


def test_the_loss_of_a_series_is_found():
    rng = np.random.default_rng(0)
    dose, loss = 3.9e6, 9e-10
    gone = 0.002 + 1 - np.exp(-loss * dose * np.arange(1, 31))
    found, error = loss_of_series(gone + rng.normal(0, 0.002, 30), dose, 1e6)
    assert found == pytest.approx(loss, abs=3 * error + 0.01 * loss)
    assert error < 0.05 * loss


@pytest.mark.parametrize(("frames", "own"), [(5, 0.0), (5, 40.0), (12, 0.0), (12, 5.0)])
def test_errors_of_the_loss_are_those_of_counts_that_add_up(frames, own):
    """What chance took is missing in all frames that follow; detection errs anew in each."""
    rng = np.random.default_rng(frames)
    dose, n_sites, lost = 1e6, 4000, 20.0
    pulls = []
    for _ in range(80):
        gone = np.cumsum(rng.poisson(lost, frames)) + rng.normal(0, own, frames)
        found, error = loss_of_series(gone / n_sites, dose, n_sites)
        kept = 1 - gone.mean() / n_sites
        pulls.append((found - lost / n_sites / dose / kept) / error)
    assert 0.75 < np.sqrt(np.mean(np.square(pulls))) < 1.3  # 80 pulls: 8 %


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: plan_images(SV, 0.0, 0.0), "target above 0"),
        (lambda: plan_images(SV, 0.001, -1.0), "loss of at least 0"),
        (lambda: Test("SV", 0, 1, 0.002, 0.0, 0.5, 1e7), "expected a measured class"),
        (lambda: Test("SV", 5, 1, 0.002, 0.0, 2.0, 1e7), "expected 0 to 1"),
        (lambda: loss_of_series([0.1, 0.2], 1e6, 100), "at least three"),
    ],
)
def test_what_makes_no_sense_is_said(make, message):
    with pytest.raises(DefectStrainError, match=message):
        make()


@pytest.mark.parametrize(
    ("loss", "message"),
    [(np.nan, "a loss of at least 0"), (np.inf, "a loss of at least 0"), (9.0, "1 barn = 1e-10")],
)
def test_losses_that_no_test_outlives_are_said(loss, message):
    with pytest.raises(DefectStrainError, match=message):
        plan_images(SV, 0.001, loss)


def test_a_dose_without_end_is_no_dose():
    with pytest.raises(DefectStrainError, match="a dose above 0"):
        Test("SV", 50, 1, 0.002, 0.0, 1.0, np.inf)
