"""Companions: the right amplitude with the right error, whatever was scanned, in little memory."""

import tracemalloc
from dataclasses import replace
from functools import lru_cache

import dask.array as da
import numpy as np
import pytest
from small_alloy import QUICK, simulated, true_sites

from napari_defectstrain.averages.companion import CompanionConfig, average_companions
from napari_defectstrain.averages.patches import find_patches
from napari_defectstrain.pipeline import chain
from napari_defectstrain.pipeline.companions import average_companion
from napari_defectstrain.simulate.companions import (
    SpectrumConfig,
    expected_spectra,
    simulate_spectra,
)
from napari_defectstrain.types import DefectStrainError

A_PM = 330.0
SPECTRUM = SpectrumConfig(
    step_px=2,
    channels=32,
    line_channel=(6.0, 14.0, 24.0),
    line_width=1.5,
    counts=(40.0, 20.0, 150.0),
)
LINE = slice(20, 29)
BINS = CompanionConfig(window_nm=1.0, step_pm=50.0)


@lru_cache
def run():
    made = simulated(seed=1, size=400)
    found = chain.detect([made.image], QUICK, sites=[true_sites(made)])
    stacks = chain.average_classes(found.images, found.sites, QUICK, regions=found.regions)
    return made, replace(found, stacks=stacks)


@pytest.fixture(scope="module")
def averaged():
    made, found = run()
    spectra = simulate_spectra(made, SPECTRUM, np.random.default_rng(2))
    lazy = da.from_array(spectra, chunks=(64, 64, -1))
    exact = average_companion(found, {0: expected_spectra(made, SPECTRUM)}, BINS)
    return average_companion(found, {0: lazy}, BINS), exact


def test_vacancies_carry_their_line_with_the_right_amplitude_and_error(averaged):
    result, exact = averaged
    half = result.averages["SV"].mean.shape[0] // 2
    core = np.s_[half - 1 : half + 2, half - 1 : half + 2, LINE]
    got = result.differences["SV"].mean[core].sum()
    sigma = np.sqrt((result.differences["SV"].sigma[core] ** 2).sum())
    truth = exact.differences["SV"].mean[core].sum()
    assert truth > 15 * sigma > 0
    assert got == pytest.approx(truth, abs=float(3 * sigma))
    # nothing of it at other defects
    for name in ("2Te", "SeTe", "DV"):
        one = result.differences.get(name)
        if one is None or one.n < 3:  # a bin of one value has no error
            continue
        rest = float(np.sqrt(np.nansum(one.sigma[core] ** 2)))
        expected = float(np.nansum(exact.differences[name].mean[core]))
        assert np.nansum(one.mean[core]) == pytest.approx(expected, abs=3.5 * rest)
        assert expected < 0.25 * truth


@pytest.mark.parametrize("name", ["2Se", "SV"])
def test_errors_are_those_of_counting(averaged, name):
    result, exact = averaged
    one, truth = result.averages[name], exact.averages[name]
    deviation = one.mean - truth.mean
    # by what counts must scatter, not by a few of them: those are skewed, and so are their errors
    poisson = np.sqrt(truth.mean / one.count[..., None])
    assert (deviation / poisson).std() == pytest.approx(1.0, abs=0.06)
    assert abs((deviation / poisson).mean()) < 0.1
    ratio = np.sqrt((one.sigma**2).mean() / (poisson**2).mean())
    # bins are 50 pm wide: what varies within them is in the error, too
    assert 0.95 < ratio < 1.2


def test_bins_lie_where_the_lattice_has_its_columns(averaged):
    result, exact = averaged
    metal = exact.averages["2Se"].mean[..., 2:11].sum(axis=-1)
    half = metal.shape[0] // 2
    # metals at 90, 210 and 330 degrees, y up: 190 pm above the centre is 4 bins
    assert metal[half - 4, half] > 1.5 * metal[half + 4, half]
    row = int(round(half + 190.5 / 2 / 50))
    for column in (half - 3, half + 3):
        assert metal[row, column] > 1.5 * metal[2 * half - row, column]


def test_the_result_does_not_depend_on_blocks(averaged):
    made, found = run()
    spectra = simulate_spectra(made, SPECTRUM, np.random.default_rng(2))
    small = average_companion(found, {0: spectra}, BINS.replace(memory_mb=1))
    for name, one in averaged[0].averages.items():
        np.testing.assert_allclose(small.averages[name].mean, one.mean, rtol=1e-6)
        np.testing.assert_allclose(small.averages[name].sigma, one.sigma, rtol=1e-4, atol=1e-6)


def test_memory_is_bounded_however_large_the_companion(averaged):
    _, found = run()
    frame = (48, 48)

    def block(block_info=None):
        shape = block_info[None]["chunk-shape"]
        return np.ones(shape, dtype=np.float32)

    # 4D-STEM of 120 x 120 positions: 133 MB, of which no block is more than 1.9 MB
    lazy = da.map_blocks(block, chunks=((10,) * 12, (20,) * 6, *frame), dtype=np.float32)
    config = CompanionConfig(window_nm=0.6, step_pm=100.0, memory_mb=12)
    patches = find_patches(found.images, found.sites, A_PM, found.regions)
    stacks = {n: s for n, s in found.stacks.items() if n == "SV"}
    tracemalloc.start()
    try:
        made = average_companions({0: lazy}, found.images, patches, stacks, config)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    result = sum(one.mean.nbytes + one.sigma.nbytes for one in made.values())
    assert lazy.nbytes > 130e6
    assert peak < 12e6 * 1.3 + 3 * result + 5e6 < 40e6
    np.testing.assert_allclose(made["SV"].mean, 1.0)


def test_a_second_image_is_a_companion_without_a_signal():
    made, found = run()
    result = average_companion(found, {0: made.counts}, BINS)
    assert result.averages["SV"].mean.shape == (21, 21)
    half = 10
    # the hole in the middle
    assert (
        result.differences["SV"].mean[half, half] < -5 * result.differences["SV"].sigma[half, half]
    )


def test_the_users_array_stays_as_it_is():
    made, found = run()
    mine = made.counts.astype(float)
    before = mine.copy()
    first = average_companion(found, {0: mine}, BINS)
    np.testing.assert_array_equal(mine, before)
    again = average_companion(found, {0: mine}, BINS)
    np.testing.assert_array_equal(first.averages["2Se"].mean, again.averages["2Se"].mean)


def test_positions_without_a_number_are_left_out_and_said():
    made, found = run()
    whole = average_companion(found, {0: made.counts[..., None] * np.ones(2)}, BINS)
    holes = made.counts[..., None] * np.ones(2)
    lost = np.random.default_rng(3).random(made.counts.shape) < 0.02
    holes[lost, 1] = np.nan  # of one channel alone
    result = average_companion(found, {0: holes}, BINS)
    one, truth = result.averages["2Se"], whole.averages["2Se"]
    assert np.isfinite(one.mean).all()
    np.testing.assert_array_equal(one.mean[..., 0], truth.mean[..., 0])
    off = (one.mean - truth.mean)[..., 1] / truth.sigma[..., 1]
    assert 0 < off.std() < 0.3
    assert one.missing == pytest.approx(0.02 * one.count.sum(), rel=0.3)
    assert f"{one.missing} in 2Se" in result.notes[-1]
    assert whole.averages["2Se"].missing == 0 and not whole.notes


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda a: a[::-1], "when it is flipped up and down"),
        (lambda a: a[:, ::-1], "when it is flipped left and right"),
        (lambda a: np.swapaxes(a, 0, 1), "when it is transposed"),
    ],
)
def test_a_companion_of_another_field_or_way_is_said(wrong, said):
    made, found = run()
    told = SPECTRUM.replace(
        counts=(80.0, 20.0, 150.0)
    )  # metals and chalcogens alike are a honeycomb
    spectra = simulate_spectra(made, told, np.random.default_rng(2))
    assert not average_companion(found, {0: spectra}, BINS).notes
    (note,) = average_companion(found, {0: wrong(spectra)}, BINS).notes
    assert "may not be of this field" in note and said in note
    assert note.startswith(made.name)


def test_a_companion_that_is_shifted_or_of_a_part_of_the_field_is_said():
    made, found = run()
    few = np.random.default_rng(5).binomial(made.counts.astype(int), 0.01)
    assert not average_companion(found, {0: few}, BINS).notes
    (note,) = average_companion(found, {0: np.roll(few, (40, 60), (0, 1))}, BINS).notes
    assert "moved by 40 position(s) up and 60 position(s) left" in note
    (note,) = average_companion(found, {0: few[30:-30, 30:-30]}, BINS).notes
    assert "of this field" in note


def test_a_companion_of_noise_alone_is_said_to_tell_nothing():
    made, found = run()
    noise = np.random.default_rng(0).poisson(1.0, (*made.counts.shape, 3))
    (note,) = average_companion(found, {0: noise}, BINS).notes
    assert "nothing tells" in note


def test_a_sum_of_frames_asks_for_its_own_field():
    made, found = run()
    cut = replace(found.images[0], metadata={"region_px": [4, 404, 2, 402]})
    summed = replace(found, images=(cut,))
    average_companion(summed, {0: made.counts}, BINS)
    average_companion(summed, {0: made.counts[::2, ::2]}, BINS)
    with pytest.raises(DefectStrainError, match="cut to what all frames show"):
        average_companion(summed, {0: np.zeros((412, 412))}, BINS)


def test_what_does_not_fit_is_said():
    made, found = run()
    with pytest.raises(DefectStrainError, match="expected the same field"):
        average_companion(found, {0: np.zeros((100, 200, 3))}, BINS)
    with pytest.raises(DefectStrainError, match="at most that of the averages"):
        average_companion(found, {0: made.counts}, BINS.replace(window_nm=5.0))
    with pytest.raises(DefectStrainError, match="expected one, the same for all"):
        average_companions(
            {0: np.zeros((9, 9, 3)), 1: np.zeros((9, 9, 4))}, found.images * 2, [], found.stacks
        )
    with pytest.raises(DefectStrainError, match="complex numbers, expected real ones"):
        average_companion(found, {0: made.counts * 1j}, BINS)
    colours = np.zeros(made.counts.shape, dtype=[("R", "u1"), ("G", "u1")])
    with pytest.raises(DefectStrainError, match="expected real ones"):
        average_companion(found, {0: colours}, BINS)
    with pytest.raises(DefectStrainError, match=r"shapes \[\(0,\)\]"):
        average_companion(found, {0: np.zeros((*made.counts.shape, 0))}, BINS)
