"""Two halves of the data: split by image, compared by rings and by strain."""

import class_stage as stage
import numpy as np
import pytest

from napari_defectstrain.precision.half_sets import half_sets, ring_correlation, split_by_image


def test_images_are_shared_out_evenly_and_none_is_torn():
    image = np.repeat([3, 5, 8, 9], [10, 7, 6, 4])
    first, by_image = split_by_image(image)
    assert by_image
    assert all(len(set(first[image == i])) == 1 for i in (3, 5, 8, 9))
    assert first.sum() == 14  # 10 + 4, and 7 + 6 = 13


@pytest.mark.parametrize("counts", [(12,), (20, 1)])
def test_every_second_window_where_images_do_not_halve(counts):
    first, by_image = split_by_image(np.repeat(np.arange(len(counts)), counts))
    assert not by_image
    assert abs(first.sum() - (~first).sum()) <= 1


def test_rings_correlate_as_the_signal_and_noise_in_them():
    """Noise of the signal's power: one half, at every frequency but the lowest."""
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(101, 101))
    one, other = (signal + rng.normal(size=signal.shape) for _ in range(2))
    frequency, same = ring_correlation(signal, signal, 20.0)
    assert same == pytest.approx(1.0)
    assert frequency[-1] == pytest.approx(50 / (101 * 20.0))
    _, correlation = ring_correlation(one, other, 20.0)
    assert correlation[5:].mean() == pytest.approx(0.5, abs=0.03)
    _, nothing = ring_correlation(rng.normal(size=signal.shape), other, 20.0)
    assert abs(nothing[5:].mean()) < 0.06  # 45 rings of 40 to 300 independent values


def halves_of(strain: float, shift: float, seed: int):
    rng = np.random.default_rng(seed)
    measured = stage.measurement("SV", strain, 60, rng)
    base = stage.measurement("2Se", 0.0, 200, rng)
    stacks = {n: stage.noisy(n, k, rng) for n, k in (("SV", 60), ("2Se", 200))}
    for name, stack in stacks.items():
        object.__setattr__(stack, "image_index", np.arange(len(stack.windows)) % 4)
        assert name == stack.class_name
    spacing = 330.0 * (1 + strain) + rng.normal(0, 5.0, 60)
    spacing += shift * (split_by_image(stacks["SV"].image_index)[0])
    reference = 330.0 + rng.normal(0, 5.0, 200)
    return half_sets(
        stacks["SV"], measured.fits, measured.influence_pm, spacing, stacks["2Se"], reference
    ), base


def test_strains_of_halves_differ_as_their_errors_say():
    pulls = [halves_of(-0.05, 0.0, seed)[0].pull for seed in range(25)]
    assert 0.65 < np.std(pulls) < 1.4  # 25 values: 14 % a standard error
    found, _ = halves_of(-0.05, 8.0, 3)
    assert found.by_image and sum(found.n) == 60
    assert found.pull > 3.0
    assert found.strain[0] > found.strain[1]
    assert 0.7 < found.pull_rms < 1.3


def test_windows_that_both_halves_are_against_have_no_part_in_the_pull():
    """Of one image, or where a half's images hold no defect-free windows."""
    rng = np.random.default_rng(5)
    measured = stage.measurement("SV", 0.0, 60, rng)
    stack, base = stage.noisy("SV", 60, rng), stage.noisy("2Se", 20, rng)
    for images in (np.zeros(60, int), np.arange(60) % 4):
        object.__setattr__(stack, "image_index", images)
        pulls = []
        for _ in range(150):
            found = half_sets(
                stack,
                measured.fits,
                measured.influence_pm,
                330.0 + rng.normal(0, 5.0, 60),
                base,
                330.0 + rng.normal(0, 5.0, 20),
            )
            pulls.append(found.pull)
        # each half of 30: 5 / sqrt(30) pm; the 20 defect-free ones are 5 / sqrt(20) pm
        assert found.strain_std[0] > 5.0 / 330 * np.sqrt(1 / 30 + 1 / 20) * 0.7
        assert np.sqrt(np.mean(np.square(pulls))) == pytest.approx(1.0, abs=0.2)  # 6 %


def test_fewer_than_eight_windows_are_not_halved():
    rng = np.random.default_rng(1)
    measured = stage.measurement("SV", 0.0, 7, rng)
    stack = stage.noisy("SV", 7, rng)
    nothing = half_sets(stack, measured.fits, measured.influence_pm, np.ones(7), None, np.ones(7))
    assert nothing is None
