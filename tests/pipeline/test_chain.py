"""The chain on simulated images whose truth is known, and what it says about doubtful ones."""

from dataclasses import replace

import numpy as np
import pytest
from small_alloy import QUICK, SHARED_PROFILE, SPACING_CHANGE, relabelled, simulated, true_sites

from napari_defectstrain.crystal.regions import NOT_2H, label_regions, usable_sites
from napari_defectstrain.io.file_names import distinct_names
from napari_defectstrain.materials import WSE2
from napari_defectstrain.output.results import write_results
from napari_defectstrain.output.tables import spacings_table, summary
from napari_defectstrain.pipeline import chain as pipeline
from napari_defectstrain.pipeline.chain import RunConfig, RunResult
from napari_defectstrain.pipeline.loading import calibrate
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulationConfig, simulate_image
from napari_defectstrain.types import CalibratedImage, Cancelled, DefectStrainError, Sites


@pytest.fixture(scope="module")
def result() -> RunResult:
    """Two images at different scan rotations, their true columns given."""
    made = [simulated(seed=1, rotation_deg=8.0), simulated(seed=2, rotation_deg=51.0)]
    return pipeline.run(
        [m.image for m in made], SHARED_PROFILE, sites=[true_sites(m) for m in made]
    )


@pytest.mark.slow
def test_strains_agree_with_what_was_built_in(result):
    assert set(SPACING_CHANGE) - set(result.measurements) == {"DV"}  # of too few windows
    for name in [n for n in SPACING_CHANGE if n in result.measurements]:
        spacing, truth = result.measurements[name].spacing, SPACING_CHANGE[name]
        # 3 sigma of each class's own total error
        assert abs(spacing.strain - truth) < 3 * spacing.strain_total_std, name
        assert spacing.strain_total_std < 0.01


def test_signs_are_right_for_the_classes_that_stand_out(result):
    assert result.measurements["SV"].spacing.strain < -0.03
    assert result.measurements["2Te"].spacing.strain > 0.0


def test_spacing_of_the_reference_is_the_lattice_constant(result):
    spacing = result.measurements["2Se"].spacing
    # built with a = 330 pm; the scan's shear is zero, so calibration is exact
    assert spacing.spacing_pm == pytest.approx(330.0, abs=5 * spacing.precision_pm + 0.5)
    assert result.measurements["2Se"].displacement is None


def test_maps_are_where_the_strain_is(result):
    strain = result.measurements["SV"].strain
    middle = len(strain.y_pm) // 2
    assert strain.components["dilation"][middle, middle] < -0.01
    assert set(strain.sigma) == set(strain.components)


def test_populations_are_those_of_the_truth(result):
    truth = sum(np.bincount(sites.class_index, minlength=7) for sites in result.sites)
    table = result.populations.query("image == 'all'").set_index("class")
    for name, count in zip(WSE2.class_names, truth, strict=True):
        assert table.loc[name, "columns"] == count


def test_equal_names_are_told_apart(result):
    assert [image.name for image in result.images] == ["alloy", "alloy_2"]
    assert set(result.populations["image"]) == {"alloy", "alloy_2", "all"}


@pytest.fixture(scope="module")
def followed() -> tuple[RunResult, list[float]]:
    """A quick run on one image, and the fractions it reported."""
    made = simulated(seed=1, rotation_deg=8.0)
    seen: list[float] = []
    found = pipeline.run(
        [made.image], QUICK, [true_sites(made)], lambda fraction, text: seen.append(fraction)
    )
    return found, seen


@pytest.mark.slow
def test_same_seed_same_numbers(followed):
    found, _ = followed
    again = pipeline.measure_classes(found.stacks, QUICK)
    assert set(again) == set(found.measurements)
    for name, measured in found.measurements.items():
        assert again[name].spacing.precision_pm == measured.spacing.precision_pm


@pytest.mark.slow
def test_inputs_are_left_alone():
    made = simulated(seed=1, rotation_deg=8.0)
    image, sites = made.image, true_sites(made)
    before = image.data.copy(), sites.position_px.copy(), sites.class_index.copy()
    pipeline.average_classes([image], [sites], QUICK)
    np.testing.assert_array_equal(image.data, before[0])
    np.testing.assert_array_equal(sites.position_px, before[1])
    np.testing.assert_array_equal(sites.class_index, before[2])


@pytest.mark.slow
def test_progress_runs_from_nothing_to_everything_and_can_stop(followed):
    made = simulated(seed=1, rotation_deg=8.0)
    _, seen = followed
    assert seen == sorted(seen)
    assert seen[0] >= 0
    assert 0.9 < seen[-1] <= 1.0

    def stop(fraction: float, message: str) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):  # carries no message to match
        pipeline.run([made.image], QUICK, [true_sites(made)], stop)


@pytest.mark.slow
def test_corrected_class_changes_the_averages():
    made = simulated(seed=1, rotation_deg=8.0)
    sites = true_sites(made)
    stacks = pipeline.average_classes([made.image], [sites], QUICK)
    chosen = stacks["SV"].site_index[stacks["SV"].included][0]
    corrected = relabelled(sites, np.arange(len(sites)) == chosen, "SeTe")
    changed = pipeline.average_classes([made.image], [corrected], QUICK)
    assert chosen not in changed["SV"].site_index
    assert chosen in changed["SeTe"].site_index
    assert len(changed["SV"].included) == len(stacks["SV"].included) - 1


# ------------------------------------------------------------------ calibration


def test_lattice_calibrates_an_image_without_pixel_size():
    image = replace(simulated().image, pixel_size_pm=None)
    found, (text,) = calibrate(image, WSE2)
    # 20.74 pm within 0.5 %: defects change the mean lattice a little
    assert found.pixel_size_pm == pytest.approx(20.74, rel=0.005)
    assert found.metadata["calibration"] == "lattice"
    assert "not calibrated" in text
    assert "20.7" in text


def test_good_calibration_is_kept_in_silence():
    found, warnings = calibrate(simulated().image, WSE2)
    assert found.pixel_size_pm == 20.74
    assert found.metadata["calibration"] == "file"
    assert warnings == ()


def test_calibration_that_is_off_is_kept_and_said():
    image = replace(simulated().image, pixel_size_pm=20.74 * 1.05)
    found, (text,) = calibrate(image, WSE2)
    assert found.pixel_size_pm == image.pixel_size_pm
    assert "another material" in text


def test_calibration_that_contradicts_the_lattice_is_an_error():
    image = replace(simulated().image, pixel_size_pm=41.48)
    with pytest.raises(DefectStrainError, match=r"41\.48 pm per pixel, but the lattice of WSe2"):
        calibrate(image, WSE2)


@pytest.mark.parametrize("off", [0.7, 1.3])
@pytest.mark.parametrize("given", [False, True])
def test_a_pixel_size_beyond_the_tolerance_is_refused_wherever_it_comes_from(off, given):
    image = replace(simulated().image, pixel_size_pm=20.74 * (1 if given else off))
    with pytest.raises(DefectStrainError, match=r"[-+]30 %, expected 25 % at most"):
        calibrate(image, WSE2, 20.74 * off if given else None)


@pytest.mark.parametrize("off", [0.77, 1.23])
def test_a_pixel_size_within_the_tolerance_is_kept_and_said(off):
    image = replace(simulated().image, pixel_size_pm=20.74 * off)
    found, (text,) = calibrate(image, WSE2)
    assert found.pixel_size_pm == image.pixel_size_pm
    assert "it is kept" in text


@pytest.mark.parametrize(("shear", "said"), [(0.05, False), (0.11, True)])
def test_a_sheared_lattice_is_said(shear, said):
    scan = ScanConfig(shape=(400, 400), shear_x=shear, jitter_px=0.0, contamination=0.0)
    made = simulate_image(SimulationConfig(scan=scan), np.random.default_rng(3), "drifted")
    _, texts = calibrate(made.image, WSE2)
    assert any("sheared by 11" in text for text in texts) == said


def test_given_pixel_size_comes_first():
    image = replace(simulated().image, pixel_size_pm=41.48)
    found, warnings = calibrate(image, WSE2, 20.74)
    assert found.pixel_size_pm == 20.74
    assert found.metadata["calibration"] == "given"
    assert warnings == ()


def test_image_without_lattice_is_an_error():
    noise = np.random.default_rng(0).normal(100.0, 10.0, (300, 300))
    with pytest.raises(DefectStrainError, match="noise: pixel size: no lattice"):
        calibrate(CalibratedImage(noise, 20.0, "noise"), WSE2)


@pytest.mark.slow
def test_lattice_constant_of_uncalibrated_images_is_the_nominal_one():
    made = simulated(seed=1, rotation_deg=8.0)
    image, _ = calibrate(replace(made.image, pixel_size_pm=None), WSE2)
    stacks = pipeline.average_classes([image], [true_sites(made)], QUICK)
    assert stacks["2Se"].a_pm == WSE2.lattice_pm


# ------------------------------------------------------------------ settings and bad input


def test_settings_round_trip():
    config = RunConfig(bootstrap=77, pixel_size_pm=20.0, frames=True)
    assert RunConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"material": "NaCl"}, "material: got 'NaCl'"),
        ({"pixel_size_pm": 0.0}, r"RunConfig\.pixel_size_pm: got 0\.0"),
        ({"pixel_size_pm": float("nan")}, r"RunConfig\.pixel_size_pm: got nan"),
        ({"bootstrap": 1}, "bootstrap: got 1, expected a whole number from 2"),
        ({"seed": -1}, "seed: got -1"),
    ],
)
def test_settings_out_of_range(changes, match):
    with pytest.raises(DefectStrainError, match=match):
        RunConfig(**changes)


def test_distinct_names():
    assert distinct_names(["a", "b", "a", "a_2"]) == ["a", "b", "a_2", "a_2_2"]


def test_images_and_sites_must_match():
    made = simulated()
    with pytest.raises(DefectStrainError, match="2 images and 1 tables of sites"):
        pipeline.average_classes([made.image] * 2, [true_sites(made)], QUICK)


@pytest.mark.slow
def test_perfect_crystal_is_measured_and_said_to_have_no_defects():
    made = simulated(seed=3, fractions=(0.0, 0.0, 0.0, 0.0), size=320)
    found = pipeline.run([made.image], QUICK, [true_sites(made)])
    assert list(found.measurements) == ["2Se"]
    assert "no defect" in " ".join(found.warnings)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "said"), [(1, "only one window"), (2, "only 2 windows")])
def test_few_defects_are_averaged_and_shown_but_not_measured(count, said, tmp_path):
    made = simulated(seed=3, fractions=(0.0, 0.0, 0.0, 0.0), size=320)
    sites = with_defects(true_sites(made), made.image, count, spread_px=120.0)
    found = pipeline.run([made.image], QUICK, [sites])
    assert list(found.measurements) == ["2Se"]
    assert {name: average.n for name, average in found.unmeasured.items()} == {"SV": count}
    assert any(text.startswith(f"SV: {said}: averaged and shown") for text in found.warnings)
    row = spacings_table(found).set_index("class").loc["SV"]
    assert row["n"] == count and np.isnan(row["spacing_pm"]) and np.isnan(row["sigma_total"])
    text = summary(found)
    assert "SV" in text and "not measured: fewer than 3 windows" in text and "nan" not in text
    write_results(found, tmp_path)
    assert (tmp_path / "average_SV.tif").exists() and not (tmp_path / "strain_SV.tif").exists()


@pytest.mark.slow
def test_defects_at_the_edge_are_left_out_and_said():
    made = simulated(seed=3, fractions=(0.0, 0.0, 0.0, 0.0), size=320)
    sites = true_sites(made)
    edge = np.min(np.minimum(sites.position_px, 319 - sites.position_px), axis=1) < 20
    few = np.cumsum(edge & ~sites.is_metal) < 9  # the picture shows none: more would be refused
    sites = relabelled(sites, edge & ~sites.is_metal & few, "SV")
    found = pipeline.run([made.image], QUICK, [sites])
    assert "SV" not in found.measurements
    assert any(text.startswith("SV: no isolated column") for text in found.warnings)


def test_crystal_of_defects_alone_has_no_reference():
    made = simulated(seed=3, fractions=(0.0, 0.0, 0.0, 0.0), size=320)
    sites = true_sites(made)
    with pytest.raises(DefectStrainError, match="no defect-free column"):
        pipeline.run([made.image], QUICK, [relabelled(sites, ~sites.is_metal, "SeTe")])


def with_defects(sites: Sites, image: CalibratedImage, count: int, spread_px: float) -> Sites:
    """The same columns, `count` chalcogens in a row around the middle called SV."""
    middle = (np.array(image.data.shape) - 1) / 2
    for k in range(count):
        place = middle + (0.0, (k - (count - 1) / 2) * spread_px)
        distance = np.hypot(*(sites.position_px - place).T)
        distance[sites.is_metal] = np.inf
        sites = relabelled(sites, distance == distance.min(), "SV")
    return sites


# ---------------------------------------------------------------- several domains in one image

SEAM, TWIN_SIDE = 384, 768  # px


@pytest.fixture(scope="module")
def twin() -> tuple[CalibratedImage, Sites]:
    """Two halves of an image, mirror twins: turned by 60 degrees against each other."""
    left = simulated(seed=1, rotation_deg=8.0, size=TWIN_SIDE)
    right = simulated(seed=2, rotation_deg=68.0, size=TWIN_SIDE)
    data = np.hstack([left.image.data[:, :SEAM], right.image.data[:, SEAM:]])
    keep = [left.position_px[:, 1] < SEAM, right.position_px[:, 1] >= SEAM]
    index = np.concatenate([left.class_index[keep[0]], right.class_index[keep[1]]])
    sites = replace(
        true_sites(left),
        position_px=np.concatenate([left.position_px[keep[0]], right.position_px[keep[1]]]),
        probabilities=np.eye(len(WSE2.class_names))[index],
        class_index=index,
        source=np.full(len(index), "model"),
    )
    return replace(left.image, data=data, name="twin"), sites


@pytest.mark.slow
def test_windows_of_mirror_twins_come_into_one_frame(twin):
    image, sites = twin
    found = pipeline.detect([image], QUICK, [sites])
    (regions,) = found.regions
    assert [round(d.orientation_deg) % 120 for d in regions.domains] in ([8, 68], [68, 8])
    assert [d.sense for d in regions.domains] == [1, -1]
    assert any("2 2H domains" in text for text in found.warnings)
    stacks = pipeline.average_classes(found.images, found.sites, QUICK, regions=found.regions)
    stack = stacks["2Se"]
    # half of a 2 nm window's side is 48 px: whole windows, turned, lie on one side of the seam
    assert (np.abs(stack.position_px[:, 1] - SEAM) > 48).all()
    on_left = stack.position_px[:, 1] < SEAM
    one, other = (stack.windows[stack.included & w].mean(axis=0) for w in (on_left, ~on_left))
    difference, turned = np.std(one - other), np.std(one - other[::-1, ::-1])
    assert difference < 0.1 * turned  # noise of some 30 windows against a frame that is 60 deg off


@pytest.mark.slow
def test_counts_and_areas_are_those_of_the_domains(twin):
    image, sites = twin
    found = pipeline.detect([image], QUICK, [sites])
    (regions,) = found.regions
    inside = usable_sites(sites, regions)
    assert 0 < len(sites) - len(inside) < 0.05 * len(sites)
    rows = found.populations.query("image == 'all'").set_index("class")
    area = regions.usable_px * 0.02074**2
    for i, name in enumerate(WSE2.class_names):
        assert rows.loc[name, "columns"] == (inside.class_index == i).sum()
        assert rows.loc[name, "area_nm2"] == pytest.approx(area)
        assert rows.loc[name, "per_nm2"] == pytest.approx(rows.loc[name, "columns"] / area)
    # a unit cell of 330 pm holds one metal column: 1/(0.33^2 sqrt(3)/2) = 10.60 /nm2; the rim of
    # 4 000 nm cells decides about one per cent
    assert rows.loc["W", "per_nm2"] == pytest.approx(10.60, rel=0.015)


@pytest.mark.slow
def test_edited_regions_decide_what_is_counted_and_averaged(twin):
    image, sites = twin
    labels = np.full(image.data.shape, NOT_2H, dtype=np.uint8)
    labels[:, :SEAM] = 1
    edited = label_regions(labels, sites)
    found = pipeline.detect([image], QUICK, [sites], regions=[edited])
    np.testing.assert_array_equal(found.regions[0].labels, labels)
    assert found.regions[0].domains == edited.domains
    rows = found.populations.query("image == 'all'").set_index("class")
    assert (
        rows.loc["W", "columns"] == (sites.is_metal & (sites.position_px[:, 1] < SEAM - 0.5)).sum()
    )
    assert found.sites[0].class_index.tolist() == sites.class_index.tolist()  # as they were given
    stacks = pipeline.average_classes(found.images, found.sites, QUICK, regions=found.regions)
    assert all((s.position_px[:, 1] < SEAM).all() for s in stacks.values())


@pytest.mark.slow
def test_one_domain_gives_exactly_what_no_regions_give():
    made = simulated(seed=1, rotation_deg=8.0)
    found = pipeline.detect([made.image], QUICK, [true_sites(made)])
    assert (found.regions[0].labels == 1).all()
    plain = pipeline.average_classes(found.images, found.sites, QUICK)
    divided = pipeline.average_classes(found.images, found.sites, QUICK, regions=found.regions)
    for name, stack in plain.items():
        np.testing.assert_array_equal(divided[name].windows, stack.windows)


@pytest.mark.slow
def test_nothing_to_average_is_said(twin):
    image, sites = twin
    nowhere = label_regions(np.full(image.data.shape, NOT_2H, dtype=np.uint8), sites)
    with pytest.raises(DefectStrainError, match="no 2H domain in any image"):
        pipeline.average_classes([image], [sites], QUICK, regions=[nowhere])
    with pytest.raises(DefectStrainError, match="expected that of the image"):
        small = label_regions(np.ones((9, 9), dtype=np.uint8), sites)
        pipeline.detect([image], QUICK, [sites], regions=[small])
