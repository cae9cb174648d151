"""Opening files and samples in napari: layers, units, and what a user sees on a bad file."""

import time

import numpy as np
import pytest
from microscope_files import write_dm, write_velox
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from npe2 import PluginManager
from qtpy.QtCore import QEventLoop, QTimer

from napari_defectstrain.io.files import write_tiff
from napari_defectstrain.simulate.samples import sample_image
from napari_defectstrain.types import DefectStrainError
from napari_defectstrain.widgets.layers import readers, samples
from napari_defectstrain.widgets.layers.readers import KEY, get_reader, read_layers

PLUGIN = "napari-defectstrain"


@pytest.fixture
def viewer():
    """The model of a viewer: all of napari's opening of files, without a window."""
    PluginManager.instance().discover()
    return ViewerModel()


@pytest.fixture
def frames(rng):
    return rng.poisson(50, (3, 40, 48)).astype(np.uint16)


@pytest.fixture
def notifications():
    """What napari tells its user during the test."""
    seen = []

    def remember(event):
        seen.append(event)

    notification_manager.notification_ready.connect(remember)
    yield seen
    notification_manager.notification_ready.disconnect(remember)


def pm(layer):
    return [f"{unit:~}" for unit in layer.units]


def test_dm3_opens_with_scale_units_and_metadata(viewer, tmp_path, frames):
    path = write_dm(tmp_path / "a.dm3", frames[0], scale=0.02074)
    (layer,) = viewer.open(path, plugin=None)  # nothing else reads .dm3
    assert np.array_equal(layer.data, frames[0])
    assert layer.scale == pytest.approx([20.74, 20.74], rel=1e-7)
    assert pm(layer) == ["pm", "pm"]
    assert layer.axis_labels == ("y", "x")
    assert layer.name == "a"
    found = layer.metadata[KEY]
    assert found["beam_energy_kev"] == 80.0
    assert found["dwell_time_us"] == 2.0
    assert found["source"] == "a.dm3"
    assert found["pixel_size_pm"] == pytest.approx(20.74, rel=1e-7)


def test_stack_opens_as_a_stack_beside_an_image(make_napari_viewer, tmp_path, frames):
    viewer = make_napari_viewer()
    write_tiff(tmp_path / "a.tif", frames, 20.74)
    write_tiff(tmp_path / "b.tif", frames[0], 20.74)
    (stack,) = viewer.open(tmp_path / "a.tif", plugin=PLUGIN)
    (single,) = viewer.open(tmp_path / "b.tif", plugin=PLUGIN)
    assert stack.data.shape == (3, 40, 48)
    assert stack.axis_labels == ("frame", "y", "x")
    assert stack.scale.tolist() == [1.0, 20.74, 20.74]
    # One slider step a frame, and both layers agree on pm: the scale bar is a length.
    assert viewer.dims.nsteps[0] == 3
    assert [f"{unit:~}" for unit in viewer.layers.extent.units][-2:] == ["pm", "pm"]
    assert pm(single) == ["pm", "pm"]
    viewer.dims.set_point(0, 2)
    assert np.array_equal(stack._data_view, frames[2])


def test_uncalibrated_file_opens_in_pixels(viewer, tmp_path, frames):
    np.save(tmp_path / "a.npy", frames[0])
    (layer,) = viewer.open(tmp_path / "a.npy", plugin=PLUGIN)
    assert layer.scale.tolist() == [1.0, 1.0]
    assert pm(layer) == ["pixel", "pixel"] or pm(layer) == ["px", "px"]
    assert layer.metadata[KEY]["pixel_size_pm"] is None


def test_absurd_calibration_opens_in_pixels_and_warns(tmp_path, frames, notifications):
    path = write_dm(tmp_path / "a.dm3", frames[0], scale=20.0)
    ((_, keywords, _),) = read_layers(str(path))
    assert "a: the file states a pixel size of 2e+04 pm" in notifications[0].message
    assert notifications[0].severity == "warning"
    assert "scale" not in keywords
    assert keywords["metadata"][KEY]["stated_pixel_size_pm"] == pytest.approx(20e3)


def test_every_detector_of_a_velox_file_becomes_a_layer(viewer, tmp_path, frames):
    path = write_velox(tmp_path / "a.emd", {"BF": frames[0], "HAADF": frames[1]}, 2e-11)
    layers = viewer.open(path, plugin=None)
    assert [layer.name for layer in layers] == ["a[BF]", "a[HAADF]"]


def test_strain_maps_open_one_layer_a_channel(viewer, tmp_path, rng):
    maps = rng.normal(size=(2, 40, 40)).astype(np.float32)
    maps[0, :3] = np.nan
    write_tiff(tmp_path / "a.tif", maps, 5.0, channels=["exx", "eyy"])
    layers = viewer.open(tmp_path / "a.tif", plugin=PLUGIN)
    assert [layer.name for layer in layers] == ["a[exx]", "a[eyy]"]
    assert all(layer.ndim == 2 for layer in layers)


def test_several_files_open_as_one_stack(viewer, tmp_path, frames):
    paths = [str(tmp_path / f"{i}.tif") for i in range(3)]
    for path, frame in zip(paths, frames, strict=True):
        write_tiff(path, frame, 20.0)
    (layer,) = viewer.open(paths, stack=True, plugin=PLUGIN)
    assert np.array_equal(layer.data, frames)
    assert layer.metadata[KEY]["source"] == ["0.tif", "1.tif", "2.tif"]


def test_bad_file_is_reported_without_a_traceback(viewer, tmp_path, frames, notifications):
    path = write_dm(tmp_path / "a.dm3", frames[0])
    path.write_bytes(path.read_bytes()[:2000])
    assert viewer.open(path, plugin=None) == []
    (seen,) = notifications
    assert "not a readable .dm3 image, or a damaged or cut-off one" in seen.message
    assert seen.severity == "error"
    assert len(viewer.layers) == 0


def test_frames_of_different_pixel_size_are_not_stacked(tmp_path, frames, notifications):
    paths = [str(tmp_path / f"{i}.tif") for i in range(2)]
    for path, size in zip(paths, (20.0, 21.0), strict=True):
        write_tiff(path, frames[0], size)
    assert read_layers(paths) == [(None,)]
    assert "1: got (40, 48) px of 21.0 pm, but 0 has" in notifications[0].message


@pytest.mark.parametrize("path", ["a.csv", "a", "folder.d", ["a.tif", "b.csv"]])
def test_other_kinds_of_files_are_left_to_others(path):
    assert get_reader(path) is None


@pytest.mark.parametrize(
    "name", ["a.dm3", "a.DM4", "a.emd", "a.ser", "a.mrc", "a.tif", "a.tiff", "a.png", "a.npy"]
)
def test_manifest_knows_every_suffix(name):
    manager = PluginManager.instance()
    manager.discover()
    readers = {reader.command for reader in manager.iter_compatible_readers([name])}
    assert "napari-defectstrain.read" in readers
    assert get_reader(name) is not None


# ------------------------------------------------------------------ samples


@pytest.mark.parametrize(
    ("key", "layers", "ndim"),
    [("nine_regions", 9, 2), ("one_region", 1, 2), ("drift_series", 1, 3), ("dose_series", 1, 3)],
)
def test_sample_opens_from_the_menu(viewer, key, layers, ndim):
    opened = viewer.open_sample(PLUGIN, key)
    assert len(opened) == layers
    for layer in opened:
        assert layer.ndim == ndim
        assert pm(layer)[-2:] == ["pm", "pm"]
        assert layer.metadata[KEY]["truth"] == f"{layer.name}.truth.csv"


def test_the_window_lives_while_a_sample_is_made(viewer, qtbot, monkeypatch):
    """As after an install from a wheel, which leaves the series out: here it takes 0.3 s."""
    ticks = []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(None))
    timer.start(10)

    def made(stem):
        time.sleep(0.3)
        return sample_image(stem)

    monkeypatch.setattr(samples, "sample_image", made)
    (layer,) = viewer.open_sample(PLUGIN, "dose_series")
    assert layer.data.shape == (30, 512, 512)
    assert ticks


def test_the_window_is_drawn_between_the_layers_of_a_sample(viewer, qtbot, monkeypatch):
    """Somebody who chose it in the menu: then napari's event loop runs."""
    monkeypatch.setattr(samples, "present_viewer", lambda: viewer)
    seen, loop, timer = [], QEventLoop(), QTimer()
    timer.timeout.connect(lambda: seen.append(len(viewer.layers)))
    timer.start(0)

    def chosen():
        viewer.open_sample(PLUGIN, "nine_regions")
        loop.quit()

    QTimer.singleShot(0, chosen)
    loop.exec()
    assert len(set(seen)) >= 5
    assert [layer.name for layer in viewer.layers] == [f"nine_regions_{i + 1}" for i in range(9)]
    assert len({tuple(layer.translate) for layer in viewer.layers}) == 9
    assert all(layer.source.sample == (PLUGIN, "nine_regions") for layer in viewer.layers)
    qtbot.wait(50)
    assert_all_in_sight(viewer)


def test_files_that_are_dropped_together_are_all_in_sight(
    viewer, tmp_path, frames, qtbot, monkeypatch
):
    monkeypatch.setattr(readers, "present_viewer", lambda: viewer)
    for i in range(4):
        write_tiff(tmp_path / f"{i}.tif", frames[0], 20.0)
    viewer.open(sorted(tmp_path.glob("*.tif")), stack=False, plugin=PLUGIN)
    qtbot.wait(50)
    assert_all_in_sight(viewer)
    viewer.scene.camera.zoom *= 5  # somebody looks closer: what is opened then leaves that alone
    zoom = viewer.scene.camera.zoom
    viewer.open(tmp_path / "0.tif", plugin=PLUGIN)
    qtbot.wait(50)
    assert viewer.scene.camera.zoom == zoom


def assert_all_in_sight(viewer):
    camera = viewer.scene.camera
    seen = (*camera.center, camera.zoom)
    viewer.reset_view()
    assert seen == pytest.approx((*camera.center, camera.zoom))


def test_a_sample_that_cannot_be_made_says_why(monkeypatch):
    def refused(stem):
        time.sleep(0.05)
        raise DefectStrainError("no room")

    monkeypatch.setattr(samples, "sample_image", refused)
    with pytest.raises(DefectStrainError, match="no room"):
        samples.open_dose_series()


def test_nine_regions_lie_side_by_side():
    corners, sides = [], []
    for data, keywords, _ in samples.open_nine_regions():
        corners.append(np.array(keywords["translate"]))
        sides.append(np.array(data.shape) * keywords["scale"])
    for i in range(9):
        for j in range(i):
            # Apart along at least one axis.
            assert (np.abs(corners[i] - corners[j]) > sides[j]).any()


def test_real_dm3_in_napari(real_images, viewer):
    (layer,) = viewer.open(real_images / "example_Se_implanted_MoS2.dm3", plugin=None)
    assert layer.scale.tolist() == [12.6953125, 12.6953125]
    assert pm(layer) == ["pm", "pm"]
    assert layer.metadata[KEY]["beam_energy_kev"] == 60.0
