"""From image to classified columns: sampling, tiles, memory, models of several networks."""

import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from napari_defectstrain.detect.finding import model as models
from napari_defectstrain.detect.finding import prepare, tiles
from napari_defectstrain.detect.finding.model import find_model, join_maps
from napari_defectstrain.detect.finding.predict import detect_columns, find_sampling
from napari_defectstrain.detect.finding.prepare import normalise, resample, to_resampled
from napari_defectstrain.detect.finding.tiles import (
    columns_by_tiles,
    receptive_radius,
    split,
    with_rim,
)
from napari_defectstrain.detect.network.condition import material_condition
from napari_defectstrain.detect.network.config import DetectConfig, NetworkConfig, TrainConfig
from napari_defectstrain.detect.network.device import pick_device
from napari_defectstrain.detect.network.folding import folded
from napari_defectstrain.detect.network.network import N_LABELS, ResUNet
from napari_defectstrain.detect.network.weights_file import load_weights, save_weights
from napari_defectstrain.evaluation.score import match_columns
from napari_defectstrain.io.rasters import block_means
from napari_defectstrain.materials import DEFECT_ROLES, ROLES, WSE2
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulatedImage, SimulationConfig, simulate_image
from napari_defectstrain.simulate.structure import CrystalConfig
from napari_defectstrain.types import CalibratedImage, Cancelled, DefectStrainError, Progress

SMALL = NetworkConfig(features=(4, 4, 6, 6, 8))
CPU = DetectConfig(device="cpu", symmetries=1)


@lru_cache
def region(seed: int = 0, side: int = 400, rotation: float = 17.0) -> SimulatedImage:
    config = SimulationConfig(
        crystal=CrystalConfig(fractions=(0.06, 0.05, 0.06, 0.02)),
        scan=ScanConfig(shape=(side, side), rotation_deg=rotation),
    )
    return simulate_image(config, np.random.default_rng(seed), "region")


class Threshold:
    """Stands in for a model: bright pixels are columns, the brighter ones metal."""

    stride = 16

    def __init__(self, room_px: int = 10**6) -> None:
        self.room_px = room_px
        self.seen: list[tuple[int, ...]] = []

    def label_maps(self, tile: np.ndarray) -> np.ndarray:
        self.seen.append(tile.shape)
        if max(tile.shape) > self.room_px:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: not enough "
                "memory: you tried to allocate 1 bytes."
            )
        maps = np.zeros((N_LABELS, *tile.shape), dtype=np.float32)
        bright = np.clip(tile, 0, 1)
        maps[1], maps[2] = bright * (tile > 0.75), bright * (tile <= 0.75)
        maps[0] = 1 - bright
        return maps


def dots(shape: tuple[int, int]) -> np.ndarray:
    """Blobs 6 px apart, of random height and place."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros(shape, dtype=np.float32)
    for cy in np.arange(2.0, shape[0], 6):
        for cx in np.arange(2.0, shape[1], 6):
            py, px = np.array([cy, cx]) + rng.uniform(-0.5, 0.5, 2)
            near = (
                slice(max(0, int(py) - 4), int(py) + 5),
                slice(max(0, int(px) - 4), int(px) + 5),
            )
            blob = rng.uniform(0.5, 1) * np.exp(-((y[near] - py) ** 2 + (x[near] - px) ** 2) / 2)
            image[near] = np.maximum(image[near], blob)
    return image


# ------------------------------------------------------------------ what the network sees


@pytest.mark.parametrize("shape", [(300, 280), (1100, 290)])
def test_resampling_keeps_places_and_values(shape: tuple[int, int]) -> None:
    y, x = np.mgrid[: shape[0], : shape[1]]
    wave = np.cos(2 * np.pi * (x / 9.0 + y / 11.3))
    kept = wave.copy()
    small = resample(wave, 20.74, 40.0)
    place = np.stack(np.mgrid[: small.shape[0], : small.shape[1]], axis=-1)
    old = to_resampled(place, small.shape, wave.shape)
    expected = np.cos(2 * np.pi * (old[..., 1] / 9 + old[..., 0] / 11.3))
    # the mirrored rim has a kink whose ringing dies off inwards
    np.testing.assert_allclose(small[30:-30, 30:-30], expected[30:-30, 30:-30], atol=0.01)
    assert small.dtype == np.float32
    np.testing.assert_array_equal(wave, kept)


@pytest.mark.slow
def test_normalised_contrast_does_not_depend_on_gain_offset_or_slow_background() -> None:
    data = region().counts.astype(float)
    kept = data.copy()
    x = np.linspace(0, 1, data.shape[1])
    same = normalise(3.7 * data + 500)
    np.testing.assert_allclose(same, normalise(data), atol=2e-3)
    tilted = normalise(data + 0.3 * data.std() * x)
    assert np.abs(tilted - normalise(data))[60:-60, 60:-60].max() < 0.1
    np.testing.assert_array_equal(data, kept)


# ------------------------------------------------------------------ tiles


def test_cores_cover_the_image_once_and_tiles_keep_their_size() -> None:
    shape = (1040, 2000)
    covered = np.zeros(shape, dtype=int)
    for rows, columns in split(((0, 1040), (0, 2000)), shape, 512, 112, 16):
        covered[slice(*rows), slice(*columns)] += 1
        for span, side in zip((rows, columns), shape, strict=True):
            low, high = with_rim(span, side, 112)
            assert high - low <= 512 and low % 16 == 0
    assert (covered == 1).all()


def test_the_rim_is_as_wide_as_the_network_sees() -> None:
    torch.manual_seed(0)
    network = ResUNet(SMALL).double().eval()
    place = np.arange(160, 176)  # every place within a cell of the deepest level
    x = torch.randn(16, 1, 320, 16, dtype=torch.double, requires_grad=True)
    network(x)[np.arange(16), :, place].sum().backward()
    assert x.grad is not None
    seen = (x.grad[:, 0] != 0).any(dim=2).numpy()  # (16, 320)
    first, last = seen.argmax(axis=1), 319 - seen[:, ::-1].argmax(axis=1)
    radius = max((place - first).max(), (last - place).max())
    # rectifiers may hide the outermost pixel, but not show one more
    assert receptive_radius(16) - 4 <= radius <= receptive_radius(16)


@pytest.mark.slow
@pytest.mark.parametrize("tile_px", [256, 320, 512])
def test_tiles_give_the_columns_of_the_whole(tile_px: int) -> None:
    prepared = dots((500, 611))
    whole, _ = columns_by_tiles(Threshold(), prepared, 1024, 1, 0.3)
    tiled, used = columns_by_tiles(Threshold(), prepared, tile_px, 1, 0.3)
    assert used == tile_px and len(whole) > 7000
    np.testing.assert_array_equal(tiled.pixel, whole.pixel)
    np.testing.assert_array_equal(tiled.probabilities, whole.probabilities)
    np.testing.assert_allclose(tiled.position_px, whole.position_px, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_the_networks_tiles_give_what_it_makes_of_the_whole() -> None:
    image = region(side=600).image
    whole = detect_columns(image, CPU.replace(symmetries=4))
    tiled = detect_columns(image, CPU.replace(symmetries=4, tile_px=272))
    assert len(whole.sites) > 3000
    np.testing.assert_allclose(tiled.sites.position_px, whole.sites.position_px, atol=1e-3)
    np.testing.assert_array_equal(tiled.sites.class_index, whole.sites.class_index)
    np.testing.assert_allclose(tiled.sites.probabilities, whole.sites.probabilities, atol=1e-5)
    assert tiled.warnings == whole.warnings == ()


def test_the_mean_over_orientations_turns_with_the_image() -> None:
    torch.manual_seed(0)
    network = ResUNet(SMALL).eval()

    def label_maps(tile: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(tile)[None, None])[0].numpy()

    tile = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    turns = {
        2: (lambda m: np.rot90(m, 2, (-2, -1)), lambda m: np.rot90(m, 2, (-2, -1))),
        4: (lambda m: np.rot90(m, 1, (-2, -1)), lambda m: np.rot90(m, -1, (-2, -1))),
        8: (lambda m: m[..., ::-1, :], lambda m: m[..., ::-1, :]),
    }
    for symmetries, (turn, back) in turns.items():
        mean = tiles.orientation_mean(label_maps, tile, symmetries)
        turned = tiles.orientation_mean(label_maps, np.ascontiguousarray(turn(tile)), symmetries)
        # single precision: sums in another order
        np.testing.assert_allclose(back(turned), mean, atol=1e-5)


# ------------------------------------------------------------------ memory


@pytest.mark.slow
@pytest.mark.parametrize("room_px, expected", [(600, 512), (400, 256)])
def test_without_memory_tiles_get_smaller(room_px: int, expected: int) -> None:
    prepared = dots((300, 1050))
    model = Threshold(room_px)
    found, used = columns_by_tiles(model, prepared, 1024, 1, 0.3)
    whole, _ = columns_by_tiles(Threshold(), prepared, 2048, 1, 0.3)
    assert used == expected
    np.testing.assert_array_equal(found.pixel, whole.pixel)
    np.testing.assert_array_equal(found.probabilities, whole.probabilities)
    # each size is tried once only
    assert sum(max(shape) > room_px for shape in model.seen) == {512: 1, 256: 2}[expected]


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 1 GiB"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    ],
)
def test_without_any_memory_detection_gives_up_with_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def nothing(self: models.Model, tile: np.ndarray) -> np.ndarray:
        sizes.append(max(tile.shape))
        raise error

    monkeypatch.setattr(models.Model, "label_maps", nothing)
    with pytest.raises(DefectStrainError, match="out of memory: .* 256 x 256 px") as caught:
        detect_columns(region(side=1000).image, CPU)
    assert "\n" not in str(caught.value)
    assert sizes[0] > 500 and sizes[-1] <= 256


@pytest.mark.slow
def test_smaller_tiles_are_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = models.Model.label_maps

    def little(self: models.Model, tile: np.ndarray) -> np.ndarray:
        if tile.size > 300**2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(self, tile)

    image = region(side=600).image
    expected = detect_columns(image, CPU).sites
    monkeypatch.setattr(models.Model, "label_maps", little)
    found = detect_columns(image, CPU)
    assert any("out of memory" in w and "tiles of 256 px" in w for w in found.warnings)
    np.testing.assert_array_equal(found.sites.class_index, expected.class_index)


def test_other_errors_of_the_network_are_not_taken_for_a_lack_of_memory() -> None:
    class Broken(Threshold):
        def label_maps(self, tile: np.ndarray) -> np.ndarray:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        columns_by_tiles(Broken(), dots((64, 64)), 256, 1, 0.3)


# ------------------------------------------------------------------ images


@pytest.mark.slow
def test_columns_are_found_where_they_are() -> None:
    simulated = region(11, side=600, rotation=3.0)
    before = simulated.counts.copy()
    found = detect_columns(simulated.image, DetectConfig(device="cpu"))
    assert found.warnings == ()
    np.testing.assert_array_equal(simulated.counts, before)
    inside = np.all((simulated.position_px > 12) & (simulated.position_px < 588), axis=1)
    f, t = match_columns(found.sites.position_px, simulated.position_px, 150 / 20.74)
    assert inside[t].sum() == inside.sum()
    right = (found.sites.class_index[f] == np.asarray(simulated.class_index)[t])[inside[t]]
    assert right.mean() > 0.99


def test_detection_can_be_stopped() -> None:
    def stop(fraction: float, message: str) -> None:
        if fraction > 0.1:
            raise Cancelled

    with pytest.raises(Cancelled):
        detect_columns(region().image, DetectConfig(device="cpu"), stop)


@pytest.mark.slow
def test_progress_rises_to_one() -> None:
    said: list[float] = []
    detect_columns(region(side=600).image, CPU.replace(tile_px=288), lambda f, _: said.append(f))
    assert said == sorted(said) and said[0] == 0 and said[-1] == 1 and len(said) > 5


def test_images_without_a_lattice_are_refused() -> None:
    noise = CalibratedImage(np.random.default_rng(0).normal(size=(256, 256)), None, "noise")
    with pytest.raises(DefectStrainError, match="no lattice"):
        detect_columns(noise, CPU)
    blank = CalibratedImage(np.zeros((128, 128)), 20.0, "blank")
    with pytest.raises(DefectStrainError, match="value 0 in every pixel"):
        detect_columns(blank, CPU)


def test_too_coarse_a_scan_is_refused() -> None:
    coarse = CalibratedImage(resample(region().counts, 20.74, 66.0), 66.0, "coarse")
    with pytest.raises(DefectStrainError, match="66.* pm per pixel, expected at most 60 pm"):
        detect_columns(coarse, CPU)
    blurred = CalibratedImage(np.random.default_rng(0).normal(size=(128, 128)), 100.0, "coarse")
    with pytest.raises(DefectStrainError, match="columns 191 pm apart are not resolved"):
        detect_columns(blurred, CPU)


@pytest.mark.slow
def test_the_lattice_is_believed_before_the_file() -> None:
    counts = region().counts
    wrong = CalibratedImage(counts, 20.74 * 1.06, "wrong scale")
    sampling = find_sampling(wrong, WSE2)
    # the scan's shear of 0 leaves the estimate's own error, far below 0.5 %
    assert sampling.pixel_pm == pytest.approx(20.74, rel=5e-3)
    assert sampling.measured_a_pm == pytest.approx(330 * 1.06, rel=5e-3)
    assert find_sampling(CalibratedImage(counts, None), WSE2).measured_a_pm is None
    absurd = CalibratedImage(counts, 20.74 * 1.3, "absurd")
    with pytest.raises(DefectStrainError, match="check the calibration"):
        find_sampling(absurd, WSE2)
    for how in ("kept", "hand"):
        kept = find_sampling(replace(absurd, metadata={"calibration": how}), WSE2)
        assert kept.pixel_pm == pytest.approx(20.74, rel=5e-3) and "gives 20." in kept.warnings[0]
    noise = CalibratedImage(np.random.default_rng(0).normal(size=(256, 256)), 25.0, "noise")
    sampling = find_sampling(noise, WSE2)
    assert sampling.pixel_pm == 25 and "no lattice seen" in sampling.warnings[0]


# ------------------------------------------------------------------ models


def saved(path: Path, only: str = "", seed: int = 0, network: NetworkConfig = SMALL) -> Path:
    torch.manual_seed(seed)
    made = ResUNet(network)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as after training
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.3)
            torch.nn.init.normal_(module.bias, std=0.3)
    save_weights(path, made, TrainConfig(network=network, only=only), [])
    return path


@pytest.mark.slow
@pytest.mark.parametrize("conditioned", [False, True])
def test_folding_changes_nothing_but_the_time(conditioned: bool, tmp_path: Path) -> None:
    config = SMALL.replace(conditioned=conditioned)
    network = load_weights(saved(tmp_path / "w.safetensors", network=config)).network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    condition = torch.from_numpy(material_condition("WSe2")).float()[None]
    x = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        logits = network(x, condition if conditioned else None)
        expected = logits[0]
        fast = folded(network, "WSe2" if conditioned else None)(x)
        if conditioned:
            other = folded(network, "MoS2")(x)
            assert (other - expected).abs().max() > 0.01
    # single precision, through a dozen layers; to the rim, where zeros are doubled too
    assert fast.shape == (N_LABELS, 64, 64)
    torch.testing.assert_close(fast, expected, atol=1e-4, rtol=1e-4)
    assert all((before[name] == value).all() for name, value in network.state_dict().items())


def maps_of(probability: dict[str, float]) -> torch.Tensor:
    """Maps of one pixel."""
    maps = torch.zeros(N_LABELS, 1, 1)
    for name, p in probability.items():
        maps[0 if name == "background" else 1 + ROLES.index(name)] = p
    return maps


def test_each_class_has_its_probability_from_its_own_network() -> None:
    joined = join_maps(
        [
            maps_of({"background": 0.1, "X2": 0.2, "V1": 0.7}),
            maps_of({"background": 0.1, "X2": 0.85, "Y2": 0.05}),
            maps_of({"background": 0.1, "metal": 0.3, "X2": 0.6}),
        ],
        ["V1", "Y2", "XY"],
    )[:, 0, 0]
    expected = maps_of({"background": 0.1, "metal": 0.1, "V1": 0.7, "Y2": 0.05, "X2": 0.05})
    torch.testing.assert_close(joined, expected[:, 0, 0])


def test_networks_that_claim_the_same_column_share_it() -> None:
    joined = join_maps(
        [maps_of({"background": 0.2, "V1": 0.8}), maps_of({"background": 0.2, "V2": 0.8})],
        ["V1", "V2"],
    )[:, 0, 0]
    expected = maps_of({"background": 0.2, "V1": 0.4, "V2": 0.4})
    torch.testing.assert_close(joined, expected[:, 0, 0])


@pytest.mark.slow
def test_one_file_a_class_in_a_folder_or_in_a_list(tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"{r}.safetensors", r, k) for k, r in enumerate(DEFECT_ROLES)]
    folder = find_model(DetectConfig(weights=str(tmp_path), device="cpu"), WSE2)
    listed = find_model(DetectConfig(weights=os.pathsep.join(map(str, paths)), device="cpu"), WSE2)
    assert {m.weights.config.only for m in folder.members} == set(DEFECT_ROLES)
    assert sorted(folder.sha256.split("+")) == sorted(listed.sha256.split("+"))
    assert folder.warnings == ()
    maps = folder.label_maps(np.zeros((32, 48), dtype=np.float32))
    assert maps.shape == (N_LABELS, 32, 48)
    np.testing.assert_allclose(maps.sum(axis=0), 1, atol=1e-5)
    paths[0].unlink()
    fewer = find_model(DetectConfig(weights=str(tmp_path), device="cpu"), WSE2)
    assert fewer.warnings == ("weights: no network for XY: such columns are not looked for",)


@pytest.mark.slow
def test_files_that_do_not_share_out_the_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DefectStrainError, match="folder .* holds no .safetensors file"):
        find_model(DetectConfig(weights=str(tmp_path), device="cpu"), WSE2)
    first = saved(tmp_path / "a.safetensors", "V1")
    second = saved(tmp_path / "b.safetensors", "V1", 1)
    with pytest.raises(DefectStrainError, match="b.safetensors knows V1, as another does"):
        find_model(DetectConfig(weights=f"{first}{os.pathsep}{second}", device="cpu"), WSE2)
    saved(second, "")
    with pytest.raises(DefectStrainError, match="b.safetensors knows all classes"):
        find_model(DetectConfig(weights=f"{first}{os.pathsep}{second}", device="cpu"), WSE2)
    with pytest.raises(DefectStrainError, match="c.safetensors, which is no file"):
        find_model(DetectConfig(weights=str(tmp_path / "c.safetensors"), device="cpu"), WSE2)


def test_weights_of_other_materials_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.safetensors")
    with pytest.raises(DefectStrainError, match="was trained on WSe2, expected MoS2"):
        detect_columns(region().image, CPU.replace(weights=str(path), material="MoS2"))


@pytest.mark.slow
def test_a_file_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.safetensors")
    config = DetectConfig(weights=str(path), device="cpu")
    first = find_model(config, WSE2)
    assert find_model(config, WSE2).members[0] is first.members[0]
    times = path.stat()
    saved(path, seed=1)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # even within the clock's tick
    assert find_model(config, WSE2).sha256 != first.sha256


def test_devices() -> None:
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    if not torch.cuda.is_available():
        with pytest.raises(DefectStrainError, match="this machine lacks"):
            pick_device("cuda")
        with pytest.raises(DefectStrainError, match="this machine lacks"):
            detect_columns(region().image, CPU.replace(device="cuda"))
    with pytest.raises(DefectStrainError, match="expected one of auto"):
        DetectConfig(device="tpu")
    with pytest.raises(DefectStrainError, match=r"thresholds\[1\]: got 1.5"):
        DetectConfig(thresholds=(0.5, 1.5, 0.5, 0.5))


# ------------------------------------------------------------------ large pictures


def test_large_pictures_are_drawn_by_the_means_of_their_blocks() -> None:
    data = np.arange(7 * 9, dtype=np.uint16).reshape(7, 9)
    means, side = block_means(data, 4)
    assert side == 3
    np.testing.assert_allclose(means, data[:6].reshape(2, 3, 3, 3).mean(axis=(1, 3)), rtol=1e-6)
    assert block_means(data, 9)[0] is data


def test_some_lines_at_a_time_are_evened_out_as_the_whole(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    image = rng.normal(100.0, 10.0, (67, 90)).astype(np.float32)
    whole = normalise(image)
    monkeypatch.setattr(prepare, "_LINES", 7)
    np.testing.assert_array_equal(normalise(image), whole)
    # the same as two filters of the whole image
    smooth = {"sigma": prepare.CONTRAST_PX, "mode": "reflect", "truncate": 2.5}
    flat = image - gaussian_filter(image, **smooth)
    spread = np.sqrt(np.maximum(gaussian_filter(flat**2, **smooth), 0))
    floor = np.float32(0.5) * np.median(spread) + np.float32(1e-12)
    np.testing.assert_allclose(whole, flat / np.maximum(spread, floor), atol=1e-4)


def test_preparing_an_image_can_be_cancelled_at_every_strip(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setattr(prepare, "_LINES", 10)
    image = rng.normal(size=(60, 80)).astype(np.float32)
    for prepared, strips in (
        (lambda progress: resample(image, 20.0, 40.0, progress), 6 + 4),
        (lambda progress: normalise(image, progress), 2 * (8 + 6)),
    ):
        told: list[float] = []
        prepared(lambda fraction, _message, told=told: told.append(fraction))
        assert len(told) == strips
        assert told == sorted(told) and 0.0 <= told[0] <= told[-1] < 1.0
        for stop in range(strips):
            with pytest.raises(Cancelled):
                prepared(cancel_after(stop))


def cancel_after(calls: int) -> Progress:
    """Asks to stop at that call."""
    left = iter(range(calls))

    def progress(_fraction: float, message: str) -> None:
        if next(left, None) is None:
            raise Cancelled(message)

    return progress
