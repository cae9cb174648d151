"""Class averages: right frame, right place, right brightness, and honest about what is left out."""

import os
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates
from synthetic_lattice import HEIGHTS, frame_matrix, make_crystal, render

from napari_defectstrain.averages.average import AverageConfig, average_stack, stack_classes
from napari_defectstrain.averages.patches import lattice_of
from napari_defectstrain.averages.windows import WindowFrame, window_centres
from napari_defectstrain.crystal.lattice import ideal_sites
from napari_defectstrain.io import large_arrays
from napari_defectstrain.types import CalibratedImage, Cancelled, DefectStrainError, Sites

A_PM = 330.0
PIXEL_PM = 20.74
SIGMA_PM = 47.0
NAMES = ("W", "2Se", "SeTe", "2Te", "SV", "DV", "other")
SHAPE = (640, 640)
DEFECTS = (0.03, 0.015, 0.03, 0.0)
SMALL = AverageConfig(window_nm=2.0, max_reference=60)


def as_sites(position_px, class_index, certain=0.99):
    probabilities = np.full((len(class_index), 7), (1 - certain) / 6)
    probabilities[np.arange(len(class_index)), class_index] = certain
    return Sites(position_px, probabilities, class_index, NAMES, np.full(len(class_index), "model"))


def region(
    seed,
    angle_deg=0.0,
    shear=None,
    noise=0.08,
    jitter_px=0.3,
    inward_pm=(0.0, 0.0, 0.0, 0.0),
    gain=500.0,
    defects=DEFECTS,
    wave_px=0.0,
    dirt=0.0,
):
    """An image and its columns as a network would find them, a third of a pixel off."""
    rng = np.random.default_rng(seed)
    matrix = frame_matrix(PIXEL_PM, angle_deg, shear)
    crystal = make_crystal(SHAPE, matrix, A_PM, (310.4, 322.7), rng, defects, inward_pm)
    position = crystal.position_px.copy()
    position[:, 1] += wave_px * np.sin(2 * np.pi * position[:, 0] / 1500)
    # The probe is round on the sample: an isotropic Gaussian in the (nearly isotropic) image
    image = render(SHAPE, position, HEIGHTS[crystal.class_index], SIGMA_PM / PIXEL_PM)
    if dirt:
        z = gaussian_filter(rng.normal(size=SHAPE), 60)
        image += dirt * z / z.std()
    image = gain * (image + rng.normal(0, noise, SHAPE)) + 0.2 * gain
    inside = ((position > 2) & (position < np.array(SHAPE) - 3)).all(axis=1)
    seen = position[inside] + rng.normal(0, jitter_px, (inside.sum(), 2))
    return (
        CalibratedImage(image, PIXEL_PM, f"region {seed}"),
        as_sites(seen, crystal.class_index[inside]),
        position[inside],
    )


def centre_of_column(mean, step_pm, x_pm, y_pm, reach_pm=60.0):
    """Centroid of log-parabolas through a column near (x, y): exact for one Gaussian [pm]."""
    half = mean.shape[0] // 2
    row, column = half - y_pm / step_pm, half + x_pm / step_pm
    offset = np.linspace(-reach_pm, reach_pm, 13) / step_pm
    grid = np.stack(np.meshgrid(offset, offset, indexing="ij"))
    value = map_coordinates(mean, [row + grid[0], column + grid[1]], order=5)
    design = np.stack(
        [np.ones_like(value), *grid, grid[0] ** 2, grid[1] ** 2, grid[0] * grid[1]]
    ).reshape(6, -1)
    c, *_ = np.linalg.lstsq(design.T, np.log(np.maximum(value, 0.05)).ravel(), rcond=None)
    peak = np.linalg.solve([[2 * c[3], c[5]], [c[5], 2 * c[4]]], -c[1:3])
    return x_pm + peak[1] * step_pm, y_pm - peak[0] * step_pm


def w_spacing(average):
    r = average.a_pm / np.sqrt(3)
    metal = [
        centre_of_column(average.mean, average.step_pm, r * np.cos(t), r * np.sin(t))
        for t in np.deg2rad([90, 210, 330])
    ]
    sides = [np.subtract(metal[i], metal[i - 1]) for i in range(3)]
    return np.hypot(*np.transpose(sides)).mean()


@pytest.fixture(scope="module")
def two_regions():
    """Two scan rotations, one sheared and wavy; SV draws its metals in by 8 pm."""
    inward = (0.0, 0.0, 8.0, 0.0)
    return [
        region(1, 8.0, inward_pm=inward),
        region(2, 51.0, np.array([[0.01, 0.02], [-0.01, -0.01]]), inward_pm=inward, wave_px=3.0),
    ]


@pytest.fixture(scope="module")
def stacks(two_regions):
    images, sites, _ = zip(*two_regions, strict=True)
    return stack_classes(images, sites, SMALL, A_PM, np.random.default_rng(5))


@pytest.mark.slow
def test_every_class_that_occurs_has_a_stack_and_no_other(stacks):
    assert list(stacks) == ["2Se", "SeTe", "2Te", "SV"]
    for name, stack in stacks.items():
        assert stack.class_name == name
        assert stack.windows.shape[1:] == (101, 101)  # 2 nm in steps of 20 pm, odd
        assert stack.step_pm == 20.0 and stack.a_pm == A_PM
        assert np.array_equal(stack.included, stack.reason == "")
        assert set(stack.image_index) == {0, 1}


def test_clean_windows_are_kept(stacks):
    for stack in stacks.values():
        assert stack.included.mean() >= 0.97


def test_metals_are_one_and_hexagon_centres_zero(stacks):
    for stack in stacks.values():
        mean = average_stack(stack).mean
        frame = WindowFrame(A_PM, 20.0, 2.0)
        site, is_metal = ideal_sites(A_PM, 850.0)
        far = np.hypot(*site.T) > 1.2 * A_PM
        place = np.stack([50 - site[:, 1] / 20, 50 + site[:, 0] / 20])
        inside = (np.abs(place - 50) < 47).all(axis=0)
        value = map_coordinates(mean, place, order=5)
        # Defects beyond the shells and registration errors of 1-2 pm change heights by 1-2 %.
        assert value[is_metal & far & inside].mean() == pytest.approx(1.0, abs=0.02)
        assert mean[frame.hexagon_centres].mean() == pytest.approx(0.0, abs=1e-6)


def test_the_centre_is_the_class_and_the_metals_lie_at_90_210_330(stacks):
    expected = {"2Se": 0.70, "SeTe": 1.05, "2Te": 1.40, "SV": 0.36}
    for name, stack in stacks.items():
        mean = average_stack(stack).mean
        # A pixel's noise of 0.08 over 15 windows or more is 0.02; that the tables miss the metals
        # by 0.3 px of 2.27 makes the unit 2 % too small.
        assert mean[50, 50] == pytest.approx(expected[name] / 0.98, abs=3 * 0.08 / np.sqrt(stack.n))
        r = A_PM / np.sqrt(3) / 20
        for t in np.deg2rad([90, 210, 330]):
            metal = mean[round(50 - r * np.sin(t)), round(50 + r * np.cos(t))]
            hollow = mean[round(50 + r * np.sin(t)), round(50 + r * np.cos(t))]
            assert metal > 0.8 and hollow < 0.15


def test_contraction_survives_averaging_and_the_others_stay(stacks):
    spacing = {name: w_spacing(average_stack(stack)) for name, stack in stacks.items()}
    # Noise: 0.08 of a metal in 2.3 px-wide columns is about 0.08 * 20.74 = 1.7 pm per column
    # and 0.3 pm after 30 windows; the neighbours' tails move log-parabolas by some tenths.
    assert spacing["2Se"] == pytest.approx(A_PM, abs=0.7)
    assert spacing["SV"] - spacing["2Se"] == pytest.approx(-8.0 * np.sqrt(3), abs=1.2)
    assert spacing["SeTe"] - spacing["2Se"] == pytest.approx(0.0, abs=1.2)


def test_registration_finds_the_true_places(two_regions, stacks):
    # Columns in the tables scatter by 0.3 px = 6 pm; the lattice of an image is known far better.
    images, sites, truth = zip(*two_regions, strict=True)
    for name, stack in stacks.items():
        for i in (0, 1):
            mine = stack.image_index == i
            exact = np.array([truth[i][k] for k in stack.site_index[mine]])
            miss = (stack.position_px[mine] - exact) * PIXEL_PM
            # Noise of 0.08 over 200 columns: 0.2 pm; the wave bends windows by up to 1 pm.
            assert np.abs(miss).max() < 3.0, name
            # four windows of a rare class halve what the wave does to one
            assert np.abs(miss.mean(axis=0)).max() < 0.8, name


def test_columns_that_are_all_found_a_little_beside_give_the_same_average(two_regions, stacks):
    images, sites, _ = zip(*two_regions, strict=True)
    beside = [replace(s, position_px=s.position_px + (-0.06, -0.11)) for s in sites]
    again = stack_classes(images, beside, SMALL, A_PM, np.random.default_rng(5))
    for name, stack in stacks.items():
        assert again[name].position_px == pytest.approx(stack.position_px, abs=0.005)
    # and the lattice lies on its sites, where the columns beyond the rim are held
    reference = average_stack(again["2Se"])
    r = A_PM / np.sqrt(3)
    metal = [
        np.subtract(centre_of_column(reference.mean, reference.step_pm, *place), place)
        for place in r * np.array([[np.cos(t), np.sin(t)] for t in np.deg2rad([90, 210, 330])])
    ]
    assert np.mean(metal, axis=0) == pytest.approx([0.0, 0.0], abs=1.0)


def test_two_rotations_give_one_average(stacks):
    stack = stacks["2Se"]
    parts = [stack.windows[stack.image_index == i].mean(axis=0) for i in (0, 1)]
    count = [(stack.image_index == i).sum() for i in (0, 1)]
    noise = 0.08 * np.sqrt(1 / count[0] + 1 / count[1])
    # Interpolation lowers the noise; defects farther out add to it; 30 degrees of error would
    # leave differences of 0.3.
    inner = np.s_[20:-20, 20:-20]
    assert np.std((parts[0] - parts[1])[inner]) < 2.5 * noise


@pytest.mark.slow
def test_reference_windows_are_drawn_apart(two_regions):
    images, sites, _ = zip(*two_regions, strict=True)
    config = SMALL.replace(max_reference=12)
    one, same, other = (
        stack_classes(images, sites, config, A_PM, np.random.default_rng(seed))["2Se"]
        for seed in (1, 1, 2)
    )
    assert len(one.included) == 12
    assert np.array_equal(one.site_index, same.site_index)
    assert np.array_equal(one.windows, same.windows)
    assert not np.array_equal(one.site_index, other.site_index)
    for i in (0, 1):
        place = one.position_px[one.image_index == i]
        gap = np.hypot(*(place[:, None] - place[None]).T) + np.eye(len(place)) * 1e9
        assert gap.min() * PIXEL_PM > 3.8 * A_PM  # 4 a, less the shear and the wave


def test_windows_lie_inside_their_images(stacks):
    for stack in stacks.values():
        # Half a window of 2 nm is 48.2 px upright, more when turned
        border = np.minimum(stack.position_px, np.array(SHAPE) - 1 - stack.position_px)
        assert border.min() > 48


@pytest.mark.slow
def test_improbable_windows_stay_in_the_stack_with_a_reason(two_regions):
    image, sites, _ = two_regions[0]
    doubtful = np.flatnonzero(sites.class_index == 4)[::2]
    probabilities = sites.probabilities.copy()
    probabilities[doubtful] = [0.05, 0.05, 0.05, 0.05, 0.75, 0.05, 0.0]
    changed = Sites(sites.position_px, probabilities, sites.class_index, NAMES, sites.source)
    stack = stack_classes([image], [changed], SMALL, A_PM, np.random.default_rng(0))["SV"]
    out = np.isin(stack.site_index, doubtful)
    assert out.any() and not out.all()
    assert not stack.included[out].any() and stack.included[~out].all()
    assert set(stack.reason[out]) == {"probability 0.750 < 0.9"}
    average = average_stack(stack)
    assert average.n == (~out).sum() and average.n_excluded == out.sum()
    assert average.purity == pytest.approx(0.99)


@pytest.mark.slow
def test_dirt_and_mistaken_classes_are_outliers(two_regions):
    image, sites, _ = two_regions[0]
    clean = stack_classes([image], [sites], SMALL, A_PM, np.random.default_rng(0))
    victim = clean["2Se"].position_px[3]
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    data = image.data + 1500 * np.exp(-((y - victim[0] - 18) ** 2 + (x - victim[1]) ** 2) / 50)
    dirty = CalibratedImage(data, PIXEL_PM, "dirty")
    # A perfect column given as SV, in a stack of true ones
    classes = sites.class_index.copy()
    perfect = clean["2Se"].site_index[-1]
    classes[perfect] = 4
    found = stack_classes(
        [dirty], [as_sites(sites.position_px, classes)], SMALL, A_PM, np.random.default_rng(0)
    )
    mistaken = found["SV"].site_index == perfect
    assert mistaken.sum() == 1
    assert all(r.startswith("outlier: centre too bright") for r in found["SV"].reason[mistaken])
    near = np.hypot(*(found["2Se"].position_px - victim - [18, 0]).T) < 15
    assert all(r.startswith("outlier") for r in found["2Se"].reason[near])
    total = np.concatenate([s.reason for s in found.values()])
    far = np.concatenate([np.hypot(*(s.position_px - victim).T) > 80 for s in found.values()])
    assert np.char.startswith(total[far], "outlier").sum() <= 2


@pytest.mark.slow
def test_slow_contamination_is_taken_out():
    image, sites, truth = region(3, 20.0, dirt=0.3)
    stacks = stack_classes([image], [sites], SMALL, A_PM, np.random.default_rng(0))
    level = [w[~WindowFrame(A_PM, 20.0, 2.0).hexagon_centres].mean() for w in stacks["2Se"].windows]
    # dirt of 0.3 rms over 60 px wavelengths leaves a few hundredths in a window's mean
    assert np.std(level) < 0.03
    miss = (stacks["2Se"].position_px - truth[stacks["2Se"].site_index]) * PIXEL_PM
    assert np.abs(miss).max() < 3.0


@pytest.mark.slow
def test_inputs_are_not_mutated(two_regions):
    image, sites, _ = two_regions[0]
    before = image.data.copy(), sites.position_px.copy(), sites.probabilities.copy()
    stack_classes([image], [sites], SMALL, A_PM, np.random.default_rng(0))
    assert np.array_equal(before[0], image.data)
    assert np.array_equal(before[1], sites.position_px)
    assert np.array_equal(before[2], sites.probabilities)


@pytest.mark.slow
def test_integer_images_and_inverted_contrast(two_regions):
    image, sites, _ = two_regions[0]
    counts = CalibratedImage(np.clip(image.data, 0, None).astype(np.uint16), PIXEL_PM, "counts")
    stack = stack_classes([counts], [sites], SMALL, A_PM, np.random.default_rng(0))["2Se"]
    assert average_stack(stack).mean.max() == pytest.approx(1.0, abs=0.05)
    dark = CalibratedImage(-image.data, PIXEL_PM, "dark")
    with pytest.raises(DefectStrainError, match="dark: metal columns are not brighter"):
        stack_classes([dark], [sites], SMALL, A_PM, np.random.default_rng(0))


@pytest.mark.slow
def test_one_defect_alone_has_no_standard_error(two_regions):
    image, sites, _ = two_regions[0]
    classes = np.where(sites.class_index > 1, 1, sites.class_index)
    lattice = lattice_of(image, sites, A_PM)
    chalcogen = np.flatnonzero(classes == 1)
    middle = chalcogen[np.hypot(*(sites.position_px[chalcogen] - 320).T).argmin()]
    classes[middle] = 5
    stacks = stack_classes(
        [image], [as_sites(sites.position_px, classes)], SMALL, A_PM, np.random.default_rng(0)
    )
    assert list(stacks) == ["2Se", "DV"]
    assert len(stacks["DV"].included) == 1
    with pytest.warns(UserWarning, match="DV: one window only"):
        average = average_stack(stacks["DV"])
    assert np.isnan(average.sem).all() and np.isfinite(average.mean).all()
    assert lattice.a_pm == A_PM


@pytest.mark.slow
def test_no_defects_gives_the_reference_alone():
    image, sites, _ = region(4, defects=(0.0, 0.0, 0.0, 0.0))
    stacks = stack_classes([image], [sites], SMALL, A_PM, np.random.default_rng(0))
    assert list(stacks) == ["2Se"]
    assert stacks["2Se"].n >= 20


def test_no_isolated_reference_is_said_with_advice(two_regions):
    image, sites, _ = two_regions[0]
    rng = np.random.default_rng(0)
    crowded = np.where(
        (sites.class_index == 1) & (rng.random(len(sites)) < 0.7), 2, sites.class_index
    )
    with pytest.raises(DefectStrainError, match="no defect-free column has 2 perfect shells"):
        stack_classes([image], [as_sites(sites.position_px, crowded)], SMALL, A_PM, rng)


@pytest.mark.slow
def test_windows_all_left_out_cannot_be_averaged(two_regions):
    image, sites, _ = two_regions[0]
    probabilities = sites.probabilities.copy()
    probabilities[sites.class_index == 3] = [0.05, 0.05, 0.05, 0.75, 0.05, 0.05, 0.0]
    changed = Sites(sites.position_px, probabilities, sites.class_index, NAMES, sites.source)
    stack = stack_classes([image], [changed], SMALL, A_PM, np.random.default_rng(0))["2Te"]
    assert stack.n == 0
    with pytest.raises(DefectStrainError, match="2Te: all [0-9]+ windows are left out"):
        average_stack(stack)


def test_bad_requests_are_refused(two_regions):
    image, sites, _ = two_regions[0]
    rng = np.random.default_rng(0)
    with pytest.raises(DefectStrainError, match="got 1 images and 2 tables"):
        stack_classes([image], [sites, sites], SMALL, A_PM, rng)
    with pytest.raises(DefectStrainError, match="got 0 images"):
        stack_classes([], [], SMALL, A_PM, rng)
    other = Sites(
        sites.position_px, sites.probabilities, sites.class_index, tuple("abcdefg"), sites.source
    )
    with pytest.raises(DefectStrainError, match="average one material at a time"):
        stack_classes([image, image], [sites, other], SMALL, A_PM, rng)
    few = as_sites(sites.position_px[:6], sites.class_index[:6])
    with pytest.raises(DefectStrainError, match="region 1: lattice: got"):
        stack_classes([image], [few], SMALL, A_PM, rng)


@pytest.mark.parametrize(
    ("name", "value"),
    [("shells", 4), ("window_nm", 0.5), ("step_pm", 0.0), ("min_probability", 1.5)],
)
def test_absurd_settings_are_refused(name, value):
    with pytest.raises(DefectStrainError, match=f"AverageConfig.{name}: got {value:g}"):
        AverageConfig(**{name: value})


def test_settings_round_trip():
    config = AverageConfig(shells=3, window_nm=3.1)
    assert AverageConfig.from_dict(config.to_dict()) == config


@pytest.mark.slow
def test_progress_rises_and_can_cancel(two_regions):
    image, sites, _ = two_regions[0]
    seen = []
    stack_classes(
        [image], [sites], SMALL, A_PM, np.random.default_rng(0), lambda f, m: seen.append(f)
    )
    assert seen == sorted(seen) and seen[-1] == 1.0

    def stop(fraction, message):
        if fraction > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled, match="^$"):
        stack_classes([image], [sites], SMALL, A_PM, np.random.default_rng(0), stop)


def test_average_is_the_plain_mean_with_its_standard_error(stacks):
    stack = stacks["SV"]
    average = average_stack(stack)
    kept = stack.windows[stack.included].astype(float)
    assert np.abs(average.mean - kept.mean(axis=0)).max() < 1e-6
    assert np.abs(average.sem - kept.std(axis=0, ddof=1) / np.sqrt(len(kept))).max() < 1e-6
    assert average.n == len(kept)


def test_centres_come_from_the_columns_around_and_not_from_the_defect():
    rng = np.random.default_rng(11)
    crystal = make_crystal(SHAPE, frame_matrix(PIXEL_PM, 33.0), A_PM, (300, 300), rng)
    inside = ((crystal.position_px > 0) & (crystal.position_px < 639)).all(axis=1)
    position, is_metal = crystal.position_px[inside], crystal.is_metal[inside]
    lattice = lattice_of(
        CalibratedImage(np.zeros(SHAPE), PIXEL_PM),
        as_sites(position, 1 - is_metal.astype(int)),
        A_PM,
    )
    chalcogen = np.flatnonzero(~is_metal)
    k = int(chalcogen[np.hypot(*(position[chalcogen] - 320).T).argmin()])
    moved = position.copy()
    moved[k] += [3.0, -2.0]
    near = np.hypot(*(position - position[k]).T) * PIXEL_PM < 1.05 * A_PM
    moved[near & is_metal] += (position[k] - position[near & is_metal]) * 0.1
    centre = window_centres(moved, 1 - is_metal.astype(int), np.array([k]), lattice)
    assert np.abs(centre[0] - position[k]).max() < 1e-6


def test_windows_on_the_disk_are_averaged_to_the_same(two_regions, stacks, monkeypatch):
    monkeypatch.setattr(large_arrays, "LARGE_BYTES", 1)
    images, sites, _ = zip(*two_regions, strict=True)
    again = stack_classes(images, sites, SMALL, A_PM, np.random.default_rng(5))
    assert isinstance(again["SV"].windows, np.memmap) or not hasattr(os, "posix_fallocate")
    for name, stack in stacks.items():
        one, other = average_stack(stack), average_stack(again[name])
        assert np.array_equal(one.mean, other.mean)
        assert np.array_equal(one.sem, other.sem)
        windows = stack.windows[stack.included]
        assert one.mean == pytest.approx(windows.mean(axis=0, dtype=float), abs=1e-12)
        scatter = windows.std(axis=0, ddof=1, dtype=float) / np.sqrt(stack.n)
        assert one.sem == pytest.approx(scatter, rel=1e-9)
