"""Windows of all kinds of images come into one frame, exactly; their lattices are told."""

import numpy as np
import pytest
from synthetic_lattice import HEIGHTS, frame_matrix, make_crystal, render

from napari_defectstrain.averages import average
from napari_defectstrain.averages.average import AverageConfig, stack_classes
from napari_defectstrain.averages.patches import lattice_table
from napari_defectstrain.averages.turned import TurnedImage
from napari_defectstrain.averages.windows import CORE_RADIUS, WindowFrame
from napari_defectstrain.crystal.lattice import decompose
from napari_defectstrain.io import large_arrays
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulationConfig, simulate_image
from napari_defectstrain.simulate.structure import CrystalConfig
from napari_defectstrain.types import CalibratedImage, Sites

A_PM = 330.0
NAMES = ("W", "2Se", "SeTe", "2Te", "SV", "DV", "other")
SIGMA_PM = 50.0


def sites_of(position_px, class_index):
    n = len(class_index)
    return Sites(position_px, np.eye(7)[class_index], class_index, NAMES, np.full(n, "truth"))


def picture(
    seed=0, angle=0.0, pixel=20.0, mirror=False, shear=None, side=420, noise=0.0, stated=None
):
    """An image with one lone SV near its middle, whose metals lie 10 pm inwards."""
    rng = np.random.default_rng(seed)
    matrix = frame_matrix(pixel, angle, shear, mirror)
    shape = (side, side)
    crystal = make_crystal(shape, matrix, A_PM, (side / 2 + 0.3, side / 2 - 0.2), rng)
    position, role = crystal.position_px.copy(), crystal.class_index.copy()
    defect = int(np.hypot(*crystal.site_pm.T).argmin())
    role[defect] = 4
    ring = crystal.is_metal & (np.hypot(*crystal.site_pm.T) < 0.6 * A_PM)
    position[ring] += (position[defect] - position[ring]) * (10.0 / (A_PM / np.sqrt(3)))
    image = render(shape, position, HEIGHTS[role], SIGMA_PM / pixel)
    image = 300 * (image + rng.normal(0, noise, shape)) + 50
    inside = ((position > 1) & (position < side - 2)).all(axis=1)
    name = f"{angle:g} {pixel:g}"
    data = CalibratedImage(image, stated or pixel, name)
    return data, sites_of(position[inside], role[inside])


def flipped(image, sites, axis):
    """An image written by a scan that runs the other way."""
    position = sites.position_px.copy()
    position[:, axis] = image.data.shape[axis] - 1 - position[:, axis]
    data = CalibratedImage(np.flip(image.data, axis).copy(), image.pixel_size_pm, "flipped")
    return data, sites_of(position, sites.class_index)


CONFIG = AverageConfig(window_nm=2.0, max_reference=40)


def windows_of(*pictures):
    images, sites = zip(*pictures, strict=True)
    return stack_classes(images, sites, CONFIG, A_PM, np.random.default_rng(0))


@pytest.mark.slow
def test_rotations_pixel_sizes_mirror_twins_and_flips_give_the_same_windows():
    plain = picture()
    pictures = [
        plain,
        picture(angle=23.0),
        picture(angle=8.0, pixel=16.0, side=520),
        picture(mirror=True),
        picture(angle=11.0, mirror=True),
        flipped(*plain, 0),
        flipped(*plain, 1),
        flipped(*picture(angle=40.0), 1),
    ]
    stack = windows_of(*pictures)["SV"]
    assert stack.image_index.tolist() == list(range(len(pictures)))
    # A spline of fifth order on pixels of 20 pm misses Gaussians of 50 pm by 1e-3 of their
    # height; 60 degrees of error, or a metal taken for its mirror image, would be 0.6.
    for window in stack.windows[1:]:
        assert np.abs(window - stack.windows[0]).max() < 5e-3
    # A mirrored crystal of this symmetry is a turned one: the frame stays right-handed
    for lattice in lattice_table(*zip(*pictures, strict=True), A_PM).itertuples():
        assert -60.0 < lattice.rotation_deg <= 60.0


@pytest.mark.slow
def test_a_sheared_image_is_put_right_but_for_the_probe():
    shear = np.array([[0.01, 0.03], [0.0, -0.02]])
    stack = windows_of(picture(), picture(angle=30.0, shear=shear))["SV"]
    # The sheared image's round columns are ellipses in the frame: 3 % of their width
    difference = stack.windows[1] - stack.windows[0]
    assert np.abs(difference).max() < 0.05
    # Odd about the centre is what a shift would be: none of 0.1 pm
    gradient = np.stack(np.gradient(stack.windows[0].astype(float), stack.step_pm))
    shift = [(difference * g).sum() / (g * g).sum() for g in gradient]
    assert np.abs(shift).max() < 0.1


def test_a_matrix_is_taken_apart_as_it_was_put_together():
    rng = np.random.default_rng(1)
    for _ in range(20):
        angle, scale = rng.uniform(-59, 59), rng.uniform(0.9, 1.1)
        e, s = rng.uniform(-0.03, 0.03, 2)
        stretch = np.array([[1 + e / 2, s], [s, 1 - e / 2]])
        stretch *= scale / np.sqrt(np.linalg.det(stretch))
        shape = decompose(frame_matrix(20.0, angle, stretch - np.eye(2)), 20.0)
        assert shape.rotation_deg == pytest.approx(angle, abs=1e-9)
        assert shape.scale == pytest.approx(scale, abs=1e-12)
        # Kept area makes 1 - e^2/4 - s^2 of the unit: second order in a few per cent
        assert shape.shear_xx_yy == pytest.approx(e, abs=1e-4)
        assert shape.shear_xy == pytest.approx(s, abs=1e-4)


@pytest.mark.slow
def test_the_table_tells_scale_shear_rotation_and_probe():
    shear = np.array([[0.01, 0.012], [0.012, -0.01]])
    pictures = [
        picture(angle=12.0, noise=0.05, stated=20.4),
        picture(1, angle=-20.0, shear=shear, noise=0.05),
    ]
    images, sites = zip(*pictures, strict=True)
    stacks = windows_of(*pictures)
    table = lattice_table(images, sites, A_PM, reference=stacks["2Se"])
    assert table["image"].tolist() == ["12 20", "-20 20"]
    assert table["rotation_deg"].tolist() == pytest.approx([12.0, -20.0], abs=0.05)
    assert table["scale"].tolist() == pytest.approx([1.02, 1.0], abs=3e-4)
    assert table["pixel_size_pm"].tolist() == pytest.approx([20.0, 20.0], abs=0.01)
    assert table["shear_xx_yy"].tolist() == pytest.approx([0.0, 0.02], abs=5e-4)
    assert table["shear_xy"].tolist() == pytest.approx([0.0, 0.012], abs=5e-4)
    assert table["probe_pm"].tolist() == pytest.approx([SIGMA_PM, SIGMA_PM], abs=0.5)
    assert (table["residual_pm"] < 1.0).all() and not table["twin"].any()
    uncalibrated = CalibratedImage(images[0].data, None, "no scale")
    row = lattice_table([uncalibrated], [sites[0]], A_PM).iloc[0]
    assert np.isnan(row["scale"]) and np.isnan(row["probe_pm"])
    assert row["pixel_size_pm"] == pytest.approx(20.0, abs=0.01)


@pytest.mark.slow
def test_errors_of_the_lattice_are_those_of_its_scatter():
    rng = np.random.default_rng(5)
    image, sites = picture(angle=15.0)
    line = (sites.position_px[:, 0] / 4).astype(int)
    rows = []
    for _ in range(60):
        # Columns scatter by 6 pm, and lines by another 4 pm as wholes
        u = rng.normal(0, 0.3, sites.position_px.shape)
        u[:, 1] += rng.normal(0, 0.2, line.max() + 1)[line]
        moved = sites_of(sites.position_px + u, sites.class_index)
        rows.append(lattice_table([image], [moved], A_PM).iloc[0])
    for name in ("rotation_deg", "scale", "shear_xx_yy", "shear_xy"):
        scatter = np.std([row[name] for row in rows])
        stated = np.sqrt(np.mean([row[f"sigma_{name}"] ** 2 for row in rows]))
        # 60 draws know a scatter to 9 %, 12 bands each a variance to 50 %
        assert stated == pytest.approx(scatter, rel=0.35), name


@pytest.fixture(scope="module", params=[0.0, 1.0], ids=["still", "jitter"])
def registered(request):
    """Errors of the centres of windows [px], their true places, and the bound for each axis."""
    misses, places, bounds = [], [], []
    for seed, rotation in enumerate((0.0, 13.0, 41.0)):
        scan = ScanConfig(
            shape=(576, 576), rotation_deg=rotation, jitter_px=request.param, contamination=0.0
        )
        config = SimulationConfig(crystal=CrystalConfig(fractions=(0, 0, 0, 0)), scan=scan)
        simulated = simulate_image(config, np.random.default_rng(seed), "pristine")
        rng = np.random.default_rng(100 + seed)
        seen = simulated.position_px + rng.normal(0, 0.3, simulated.position_px.shape)
        sites = sites_of(seen, np.asarray(simulated.class_index))
        averaging = AverageConfig(max_reference=140)
        stack = stack_classes([simulated.image], [sites], averaging, 331.6, rng)["2Se"]
        true = simulated.position_px[stack.site_index]
        miss = stack.position_px - true
        misses.append(miss - miss.mean(axis=0))  # what all windows share moves no average
        places.append(true)
        bounds.append(cramer_rao(stack, scan))
    bound = np.mean(bounds, axis=0)
    # Lines of 10 frames each shift by jitter / sqrt(10); the shift of a window is their mean
    lines = 2600.0 / 20.74
    return (
        np.concatenate(misses),
        np.concatenate(places),
        np.hypot(bound, [0.0, request.param / np.sqrt(10.0 * lines)]),
    )


def cramer_rao(stack, scan):
    """Least error of a window's centre (y, x) [px] by its counts and read noise."""
    frame = WindowFrame(stack.a_pm, stack.step_pm, 2.6)
    height = scan.dose_e_per_nm2 * (scan.pixel_size_pm * 1e-3) ** 2 * scan.metal_fraction
    mean = stack.windows.mean(axis=0, dtype=float)
    slope = np.stack(np.gradient(mean * height, stack.step_pm / scan.pixel_size_pm))
    variance = np.maximum(mean, 0) * height + (scan.read_noise * height) ** 2
    use = frame.outside(CORE_RADIUS)
    area = (stack.step_pm / scan.pixel_size_pm) ** 2  # px of the image in one of the window
    return 1 / np.sqrt(area * (slope**2 / variance)[:, use].sum(axis=1))


@pytest.mark.slow
def test_shifts_are_known_to_two_hundredths_of_a_pixel_and_near_the_bound(registered):
    miss, _, bound = registered
    rms = np.sqrt((miss**2).mean(axis=0))
    if bound[1] < 0.015:
        # 420 windows know a scatter to 3 %; smoothing the template costs a few per cent
        assert (rms > 0.85 * bound).all() and (rms < 1.2 * bound).all()
        assert (rms < 0.02).all()
    else:
        # The lines alone move windows along x by more than 0.02 px. Windows side by side share
        # them: three images have some 20 independent rows, which know a scatter to 16 %. What
        # lines do to the shape of columns is noise, too, which the bound for y doesn't know.
        assert bound[1] > 0.028 and 0.7 * bound[1] < rms[1] < 1.5 * bound[1]
        assert rms[0] < 1.5 * bound[0] and rms[0] < 0.02


def test_no_pixel_locks_the_centres(registered):
    miss, place, bound = registered
    for axis in (0, 1):
        phase = 2 * np.pi * place[:, axis]
        for harmonic in (1, 2):
            for wave in (np.cos, np.sin):
                amplitude = 2 * np.mean(miss[:, axis] * wave(harmonic * phase))
                error = bound[axis] * np.sqrt(2 / len(miss))
                # none beyond 3e-3 px, but for what chance gives (3.5 standard errors)
                assert abs(amplitude) < max(3e-3, 3.5 * error)


@pytest.mark.slow
def test_a_defect_does_not_pull_its_window():
    pictures = [picture(k, angle=17.0 * k) for k in range(3)]
    images, sites = zip(*pictures, strict=True)
    stack = windows_of(*pictures)["SV"]
    # The relaxed metals lie within the core; noise-free, what is left is interpolation.
    for k, index in enumerate(stack.site_index):
        true = sites[k].position_px[index]
        assert np.abs(stack.position_px[k] - true).max() < 2e-3


@pytest.mark.parametrize("large", [False, True])
def test_registration_by_turned_images_changes_no_window(monkeypatch, large):
    if large:  # turned anew in each round, instead of kept
        monkeypatch.setattr(large_arrays, "LARGE_BYTES", 1)
    made = []
    turn = TurnedImage.of.__func__
    monkeypatch.setattr(
        TurnedImage, "of", classmethod(lambda cls, *given: made.append(1) or turn(cls, *given))
    )
    noisy = picture(angle=23.0, noise=0.1)
    found = windows_of(noisy)["2Se"]
    assert len(made) == (2 if large else 1)
    monkeypatch.setattr(average._Turned, "image", lambda self, patch: None)
    direct = windows_of(noisy)["2Se"]
    # 0.5 pm are the noise of one window's place
    assert np.abs(found.shift_pm - direct.shift_pm).max() < 0.05
    assert np.abs(found.windows - direct.windows).max() < 5e-3
    assert np.array_equal(found.included, direct.included)
