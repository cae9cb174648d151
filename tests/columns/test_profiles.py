"""The column profile: its shape, its derivatives, and images made of it."""

from dataclasses import replace

import numpy as np
import pytest

from napari_defectstrain.columns.profiles import (
    ColumnProfile,
    FourierWindow,
    gaussian_profile,
    spline_profile,
)
from napari_defectstrain.types import DefectStrainError


def odd_profile() -> ColumnProfile:
    """A profile with tails, not a Gaussian, blurred along a slanted ellipse."""
    profile = spline_profile(55.0, 9, 0.7)
    shape = profile.coefficient * (1.0 + 0.1 * np.sin(np.arange(9)))
    return replace(profile, coefficient=shape, blur_pm2=np.array([200.0, -60.0, 90.0]))


def test_a_gaussian_is_a_gaussian() -> None:
    profile = gaussian_profile(60.0).with_blur(np.array([3000.0, 500.0, 4000.0]))
    x, y = np.meshgrid(np.linspace(-200, 200, 9), np.linspace(-180, 180, 7))
    inverse = np.linalg.inv([[3000.0, 500.0], [500.0, 4000.0]])
    q = inverse[0, 0] * x * x + 2 * inverse[0, 1] * x * y + inverse[1, 1] * y * y
    exact = np.exp(-0.5 * q) * np.sqrt(np.linalg.det(inverse)) / (2 * np.pi)
    # the transfer function ends at 1.1 / sigma, where it is 4e-11
    np.testing.assert_allclose(profile.evaluate(x, y), exact, atol=1e-9 * exact.max())


@pytest.mark.slow
def test_the_integral_is_the_first_coefficient() -> None:
    profile = odd_profile()
    step = 20.0  # finer than the cutoff needs: the sum is the integral
    x = np.arange(-2500, 2500, step)
    total = profile.evaluate(x[None, :], x[:, None]).sum() * step**2
    assert total == pytest.approx(profile.coefficient[0], rel=1e-9)
    assert profile.normalised().transfer(np.array(0.0), np.array(0.0)) == pytest.approx(1.0)


def test_a_spline_profile_starts_as_a_gaussian() -> None:
    profile = spline_profile(55.0, 10, 0.7)
    k = np.linspace(0, 0.02, 50)
    exact = np.exp(-2 * (np.pi * 55.0 * k) ** 2)
    # ten coefficients follow it to some thousandths; beyond the cutoff it is 6e-5
    np.testing.assert_allclose(profile.transfer(k, 0 * k), exact, atol=5e-3)


def test_the_transfer_function_is_linear_in_the_coefficients() -> None:
    profile = odd_profile()
    k = np.linspace(0.0, 0.013, 11)
    by = profile.by_parameters(k, 0.5 * k)
    np.testing.assert_allclose(by @ profile.coefficient, profile.transfer(k, 0.5 * k), atol=1e-15)


def test_an_image_is_the_sum_of_its_columns() -> None:
    profile = odd_profile()
    window = FourierWindow(31, 20.0, profile.cutoff_per_pm)
    position = np.array([[3.3, -41.7], [150.2, 90.9], [-390.0, 12.0]])
    weight = np.array([1.0, 0.4, -0.2])
    transfer = profile.transfer(window.kx_per_pm, window.ky_per_pm)
    image = window.image(transfer * window.structure_factor(position, weight))
    x = window.x_pm
    exact = sum(
        w * profile.evaluate(x[None, :] - px, x[::-1, None] - py)
        for w, (px, py) in zip(weight, position, strict=True)
    )
    # the two differ in where the periodic images lie, 1.2 and 5 nm away: their tails are left,
    # 4e-4 of the peak with this one's rough transfer function
    np.testing.assert_allclose(image, exact, atol=1e-3 * exact.max())
    assert np.argmax(image) == np.argmax(exact)


def test_patches_are_parts_of_the_image_and_their_derivatives_are_right() -> None:
    profile = odd_profile()
    window = FourierWindow(31, 20.0, profile.cutoff_per_pm)
    transfer = profile.transfer(window.kx_per_pm, window.ky_per_pm)
    position = np.array([[13.3, -41.7], [-87.0, 60.0]])
    patch, row, column = window.patches(transfer, position, 7)
    step = 0.01

    def image(j: int, dx: float, dy: float) -> np.ndarray:
        place = position[j : j + 1] + [dx, dy]
        full = window.image(transfer * window.structure_factor(place, np.ones(1)))
        return full[np.ix_(row[j], column[j])]

    for j in range(2):
        np.testing.assert_allclose(patch[0, j], image(j, 0, 0), atol=1e-17)
        by_x = (image(j, step, 0) - image(j, -step, 0)) / (2 * step)
        by_y = (image(j, 0, step) - image(j, 0, -step)) / (2 * step)
        # central differences: relative error (step / width)^2 = 3e-8, rounding 1e-16 / 1e-2
        np.testing.assert_allclose(patch[1, j], by_x, atol=1e-6 * np.abs(by_x).max())
        np.testing.assert_allclose(patch[2, j], by_y, atol=1e-6 * np.abs(by_y).max())


def test_bad_profiles_are_refused() -> None:
    with pytest.raises(DefectStrainError, match="expected at least 5"):
        ColumnProfile(np.ones(3), 0.01, np.zeros(3))
    with pytest.raises(DefectStrainError, match="expected a positive cutoff"):
        ColumnProfile(np.ones(6), 0.0, np.zeros(3))
    with pytest.raises(DefectStrainError, match="got sigma -1"):
        gaussian_profile(-1.0)
    with pytest.raises(DefectStrainError, match="expected positive numbers"):
        spline_profile(55.0, 3, 0.7)


def test_a_spline_profile_can_start_as_a_probe_of_an_aperture() -> None:
    sigma, limit, spot = 57.0, 0.012, 0.0035
    profile = spline_profile(sigma, 12, 0.7, limit, spot)
    zero = np.zeros(1)

    def transfer(k: float) -> float:
        return float(profile.transfer(np.array([k]), zero)[0])

    gaussian = np.exp(-2 * np.pi**2 * sigma**2 * np.array([spot, 2 * spot]) ** 2)
    # where a lattice's spots fix the width it is the Gaussian, to the spline's thousandths
    np.testing.assert_allclose([transfer(spot), transfer(2 * spot)], gaussian, atol=2e-3)
    # the cusp of an aperture at k = 0: T falls by 4 k / (pi limit) of itself, no Gaussian does
    fall = 1 - transfer(2e-4) / transfer(0.0)
    assert fall == pytest.approx(4 / np.pi * 2e-4 / limit, rel=0.15)
    assert transfer(0.0) > 1.15
