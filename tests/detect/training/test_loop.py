"""Training: windows and labels, resuming, time limits, calibration, weights files."""

import errno
import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_defectstrain.cli.main import main
from napari_defectstrain.detect.network import weights_file
from napari_defectstrain.detect.network.bundled import bundled_materials, bundled_weights
from napari_defectstrain.detect.network.calibration import Calibration
from napari_defectstrain.detect.network.condition import N_CONDITIONS, material_condition
from napari_defectstrain.detect.network.config import NetworkConfig, TrainConfig
from napari_defectstrain.detect.network.network import ResUNet
from napari_defectstrain.detect.network.weights_file import (
    load_weights,
    save_weights,
)
from napari_defectstrain.detect.training.calibrate import fit_correction, labelled_columns
from napari_defectstrain.detect.training.loop import (
    draw_example,
    fraction_done,
    learning_rate,
    train,
)
from napari_defectstrain.detect.training.resuming import checkpoint_of, stopped_training
from napari_defectstrain.detect.training.windows import draw_window
from napari_defectstrain.materials import ROLES
from napari_defectstrain.simulate.conditions import Conditions
from napari_defectstrain.types import Cancelled, DefectStrainError

SMALL = NetworkConfig(features=(4, 4, 8, 8, 8))
TINY = TrainConfig(
    network=SMALL,
    steps=6,
    batch=2,
    window_px=48,
    steps_per_epoch=3,
    validation_windows=2,
    calibration_windows=3,
    workers=0,
)


@pytest.mark.slow
def test_training_learns_and_goes_on_where_it_was(tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    epochs: list[float] = []
    first = train(TINY, out, on_epoch=lambda entry: epochs.append(entry["step"]))
    assert [r["step"] for r in first] == epochs == [3, 6]
    assert first[1]["loss"] < first[0]["loss"]
    more = train(TINY.replace(steps=9), out)
    assert [r["step"] for r in more] == [3, 6, 9]
    assert more[:2] == first
    loaded = load_weights(out)
    assert loaded.record[-1]["step"] == 9
    assert loaded.calibration is not None
    assert out.with_name("w.safetensors.csv").read_text().count("\n") == 4
    with pytest.raises(DefectStrainError, match="other settings \\(seed\\)"):
        train(TINY.replace(seed=5), out)


@pytest.mark.slow
def test_training_begins_with_the_weights_it_is_given(tmp_path: Path) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    train(TINY.replace(calibration_windows=0), first)
    still = TINY.replace(steps=1, learning_rate=1e-9, seed=3, calibration_windows=0)
    train(still, second, start=first)
    before, after = load_weights(first), load_weights(second)
    assert after.config.started_from == before.sha256
    for name, tensor in before.network.named_parameters():
        torch.testing.assert_close(dict(after.network.named_parameters())[name], tensor)
    # it goes on from its checkpoint, with the same start only
    assert train(still.replace(steps=2), second, start=first)[-1]["step"] == 2
    with pytest.raises(DefectStrainError, match="other settings \\(started_from\\)"):
        train(still.replace(steps=3), second)
    with pytest.raises(DefectStrainError, match="start: got weights of a network"):
        wider = SMALL.replace(features=(8, 16))
        train(still.replace(network=wider), tmp_path / "third.safetensors", start=first)


@pytest.mark.slow
def test_a_stopped_training_keeps_its_last_step(tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"

    def stop(fraction: float, message: str) -> None:
        if message.startswith("step 2"):
            raise Cancelled

    with pytest.raises(Cancelled):
        train(TINY, out, progress=stop)
    assert load_weights(out).calibration is None
    record = train(TINY, out)
    assert record[-1]["step"] == 6  # four more steps, not six


@pytest.mark.slow
def test_training_ends_with_its_time(tmp_path: Path) -> None:
    record = train(TINY.replace(steps=10**6, minutes=1e-4), tmp_path / "w.safetensors")
    assert [r["step"] for r in record] == [1]


def test_learning_rate_warms_up_and_decays_to_zero() -> None:
    config = TrainConfig(steps=1000, learning_rate=1e-3, minutes=10)
    assert learning_rate(0, 0.0, config) == pytest.approx(1e-5)
    assert learning_rate(500, 0.5, config) == pytest.approx(1e-3)
    assert learning_rate(850, 0.85, config) == pytest.approx(0.5e-3)
    assert learning_rate(999, 1.0, config) == 0
    assert fraction_done(100, 0.0, config) == pytest.approx(0.1)
    assert fraction_done(100, 300.0, config) == pytest.approx(0.5)  # half of ten minutes


@pytest.mark.slow
def test_one_network_a_class_sees_the_other_classes_as_the_host() -> None:
    every = draw_example(TINY, np.random.default_rng(3)).labels
    one = draw_example(TINY.replace(only="V1"), np.random.default_rng(3)).labels
    metal, host, wanted = (1 + ROLES.index(r) for r in ("metal", "X2", "V1"))
    for label in (0, metal, wanted):
        assert torch.equal(every == label, one == label)
    assert (one[(every > metal) & (every != wanted)] == host).all()
    with pytest.raises(DefectStrainError, match="only: got 'metal'"):
        TrainConfig(only="metal")


@pytest.mark.slow
def test_windows_come_from_all_the_materials_and_patterns_asked_for() -> None:
    conditions = Conditions(materials=("WSe2", "MoS2", "NbSe2(S, 344.5)"))
    rng = np.random.default_rng(0)
    windows = [draw_window(conditions, 48, rng) for _ in range(40)]
    assert {w.material for w in windows} == set(conditions.materials)
    labels = np.concatenate([np.unique(w.labels) for w in windows])
    assert set(labels) == set(range(len(ROLES) + 1))
    with pytest.raises(DefectStrainError, match="material: got 'Unobtainium'"):
        Conditions(materials=("Unobtainium",))


def test_the_condition_tells_bright_chalcogens_from_dim_ones() -> None:
    bright, dim = material_condition("MoSe2"), material_condition("WS2")
    assert bright.shape == (N_CONDITIONS,)
    assert bright[0] > 0 > dim[0]  # 2Se outshines Mo, 2S doesn't outshine W
    # a fresh network ignores it: modulation starts at zero
    network = ResUNet(SMALL).eval()
    x = torch.randn(1, 1, 32, 32)
    with torch.inference_mode():
        maps = [network(x, torch.tensor(c).float()[None]) for c in (bright, dim)]
        torch.testing.assert_close(maps[0], maps[1])
        for block in network.down:
            torch.nn.init.normal_(block.film.weight)
        maps = [network(x, torch.tensor(c).float()[None]) for c in (bright, dim)]
    assert not torch.allclose(maps[0], maps[1])


@pytest.mark.slow
def test_calibration_makes_probabilities_agree_with_frequencies() -> None:
    # Columns whose true probabilities are known, reported too boldly in poor images (p^2) and too
    # modestly in clear ones (p^(1/2)), renormalised.
    rng = np.random.default_rng(4)
    reported, classes, truths = [], [], []
    for sharpness, power in ((0.004, 0.5), (0.08, 2.0)):
        for _ in range(6):
            alpha = np.full(len(ROLES), sharpness)
            true = np.clip(rng.dirichlet(alpha, 3000), 1e-9, 1)
            true /= true.sum(axis=1, keepdims=True)
            true = true[true[:, 0] < 0.5]
            classes.append((true.cumsum(axis=1) > rng.random((len(true), 1))).argmax(axis=1))
            reported.append(true**power / (true**power).sum(axis=1, keepdims=True))
            truths.append(true)
    n = len(ROLES)
    parameters = tuple(fit_correction(reported, classes))
    calibration = replace(
        Calibration.none(),
        slope=parameters[:2],
        offset=parameters[2 : 2 + n],
        offset_by_doubt=parameters[2 + n :],
    )
    fixed = np.concatenate([calibration.apply(p) for p in reported])
    true, bold = np.concatenate(truths), np.concatenate(reported)
    # some 30000 columns fix the slopes to a few per cent
    assert np.abs(fixed - true).mean() < 0.35 * np.abs(bold - true).mean()
    assert fixed.sum(axis=1) == pytest.approx(1)


@pytest.mark.slow
def test_columns_of_a_window_are_found_with_their_true_roles() -> None:
    loaded = load_weights(bundled_weights("WSe2"))
    easy = Conditions(
        dose_e_per_nm2=(3e7, 3e7), read_noise=(0, 0), contamination=(0, 0), patterns=("whole",),
        lookalikes=(0, 0), pixel_size_pm=(20, 20), jitter_px=(0, 0), c1_std_pm=100, energy_kev=(80,)
    )  # fmt: skip
    window = draw_window(easy, 96, np.random.default_rng(1))
    probabilities, true_class = labelled_columns(loaded.network, window)
    # 3.84 nm a side, 0.0943 nm2 a cell of two columns: 313, less those at the rim
    assert 260 < len(true_class) < 330
    assert (probabilities.argmax(axis=1) == true_class).mean() > 0.97


def test_calibration_keeps_the_impossible_impossible() -> None:
    calibration = replace(Calibration.none(), slope=(-0.2, 0.0), offset=(0.1,) * len(ROLES))
    p = np.zeros((1, len(ROLES)))
    p[0, 1], p[0, 2] = 0.7, 0.3
    fixed = calibration.apply(p)
    assert (fixed[0, [0, 3, 4, 5, 6]] == 0).all()
    assert fixed.sum() == pytest.approx(1)
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration


def test_weights_files_carry_settings_record_calibration_and_hash(tmp_path: Path) -> None:
    network = ResUNet(SMALL)
    path = tmp_path / "w.safetensors"
    calibration = replace(Calibration.none(), slope=(0.1, -0.4))
    sha256 = save_weights(path, network, TINY, [{"step": 1, "loss": 2.0}], calibration)
    loaded = load_weights(path)
    assert loaded.config == TINY
    assert loaded.sha256 == sha256
    assert loaded.calibration == calibration
    assert loaded.record == ({"step": 1, "loss": 2.0},)
    assert loaded.materials == ("WSe2",)
    x = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(loaded.network(x), network.eval()(x))


@pytest.mark.parametrize("part", ["weights", "settings"])
def test_damaged_weights_files_are_refused(part: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, ResUNet(SMALL), TINY, [])
    content = path.read_bytes()
    if part == "weights":
        content = content[:-3] + bytes([content[-3] ^ 0xFF]) + content[-2:]
    else:
        content = content.replace(b"learning_rate", b"learning_ratf")
    path.write_bytes(content)
    with pytest.raises(DefectStrainError, match=r"w.safetensors is damaged: its hash is"):
        load_weights(path)


def test_pickles_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(DefectStrainError, match=r"pickled .pt and .pth files are refused"):
        load_weights(path)
    with pytest.raises(DefectStrainError, match="is no file"):
        load_weights(tmp_path / "missing.safetensors")


@pytest.mark.slow
def test_the_bundled_weights_serve_the_family() -> None:
    for material in ("WSe2", "MoS2", "WS2", "MoSe2"):
        path = bundled_weights(material)
        assert path.stat().st_size < 10e6
        loaded = load_weights(path)
        assert material in loaded.materials
        assert loaded.calibration is not None
        assert loaded.record[-1]["step"] > 1000
        # trained on crystals of random cross sections, they serve materials they never saw by name
        assert bundled_weights("TaS2") == path
    named = ("MoS2", "MoSe2", "MoTe2", "NbSe2(S, 344.5)", "WS2", "WSe2", "WTe2")
    assert bundled_materials() == named


@pytest.mark.slow
def test_train_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(TINY.to_dict()))
    out = tmp_path / "new" / "w.safetensors"
    assert main(["train", "--config", str(settings), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "6 steps, log in w.safetensors.csv, drawn in w.safetensors.png" in said
    assert (out.parent / "w.safetensors.png").read_bytes().startswith(b"\x89PNG")
    assert load_weights(out).config == TINY
    out.with_name("w.safetensors.checkpoint").unlink()
    for arguments, message in (
        (["--config", str(settings), "--out", str(out)], "no checkpoint to go on from"),
        (["--config", str(settings), "--out", str(tmp_path / "w.pt")], "ending in .safetensors"),
        (["--config", str(tmp_path / "none.json"), "--out", str(out)], "No such file"),
        (["--out", str(tmp_path / "v.safetensors"), "--steps", "0"], "steps: got 0"),
    ):
        assert main(["train", *arguments]) == 2
        assert message in capsys.readouterr().err


def resealed(path: Path, change: str, value: object) -> None:
    """Put a wrong value into a weights file and give it the hash that belongs to it."""
    tensors, metadata = weights_file._read(path)
    settings = {name: json.loads(metadata[name]) for name in ("config", "record", "calibration")}
    if change in tensors:
        tensors[change] = torch.full_like(tensors[change], float("nan"))
    elif change == "head":
        tensors["head.weight"] = torch.zeros(3, 3, 1, 1)
    elif change == "missing":
        del tensors["head.bias"]
    elif change != "text":
        *groups, last = change.split(".")
        place = settings
        for name in groups:
            place = place[name]
        place[last] = value
    texts = {name: json.dumps(content) for name, content in settings.items()}
    if change == "text":
        texts["config"] = "{"
    sha256 = weights_file.content_sha256(tensors, "".join(texts.values()))
    path.write_bytes(weights_file.save_bytes(tensors, {**metadata, **texts, "sha256": sha256}))


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("config", []),
        ("config", None),
        ("config.network.features", [10**9, 10**9]),
        ("config.network.features", [8] * 1000),
        ("config.network.features", "abc"),
        ("config.network.features", []),
        ("config.network", 3),
        ("config.conditions.materials", 7),
        ("config.steps", "many"),
        ("record", 5),
        ("record", [1, 2]),
        ("calibration", {"slope": [1]}),
        ("calibration.slope", [0.0]),
        ("calibration.offset", ["a"] * 7),
        ("calibration.overconfidence", [float("nan")] * 7),
        ("head.bias", None),
        ("head", None),
        ("missing", None),
        ("text", None),
    ],
)
def test_weights_with_a_right_hash_and_wrong_contents_are_refused(
    change: str, value: object, tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, ResUNet(SMALL), TINY, [{"step": 1.0}], Calibration.none())
    resealed(path, change, value)
    with pytest.raises(DefectStrainError, match=r"w\.safetensors holds settings or tensors"):
        load_weights(path)


@pytest.mark.parametrize(
    "change",
    [
        {"step": -1},
        {"step": "3"},
        {"seconds": float("nan")},
        {"seconds": None},
        {"record": [1]},
        {"record": "abc"},
        {"config": 7},
        {"config": {"steps": "many"}},
        {"network": []},
    ],
)
def test_checkpoints_of_wrong_contents_are_refused(
    change: dict[str, object], tmp_path: Path
) -> None:
    out = tmp_path / "w.safetensors"
    good = {"config": TINY.to_dict(), "network": {}, "optimiser": {}, "step": 1, "seconds": 1.0}
    torch.save({**good, "record": [], **change}, checkpoint_of(out))
    with pytest.raises(DefectStrainError, match="is no checkpoint of a training|another version"):
        stopped_training(out)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    state = {"config": TINY.to_dict(), "network": {"a": torch.zeros(1)}, "optimiser": {}}
    torch.save({**state, "step": 1, "seconds": 1.0, "record": []}, checkpoint_of(out))
    with pytest.raises(DefectStrainError, match="holds a network of another shape"):
        train(TINY, out)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no zip", b"\x80\x04."])
def test_damaged_checkpoints_are_one_line(content: bytes, tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    checkpoint_of(out).write_bytes(content)
    with pytest.raises(DefectStrainError, match="is no checkpoint of a training"):
        stopped_training(out)


# ------------------------------------------------------------------ what can't be written


def test_a_folder_that_cant_be_written_is_found_before_training(tmp_path, monkeypatch) -> None:
    from napari_defectstrain.io import writing

    def refused(self: Path, data: bytes) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(writing.Path, "write_bytes", refused)
        with pytest.raises(DefectStrainError, match="can't be written: Read-only"):
            train(TINY, tmp_path / "w.safetensors", progress=never)
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(writing.shutil, "disk_usage", lambda _: full)
    with pytest.raises(DefectStrainError, match="0 MB of free space, expected"):
        train(TINY, tmp_path / "w.safetensors", progress=never)
    assert list(tmp_path.iterdir()) == []


def never(fraction: float, message: str) -> None:
    raise AssertionError("training began")


@pytest.mark.slow
def test_a_disk_that_fills_up_leaves_the_last_checkpoint(tmp_path, monkeypatch) -> None:
    out = tmp_path / "w.safetensors"
    train(TINY, out)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.name.endswith(".checkpoint"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        DefectStrainError, match="w.safetensors.checkpoint: can't be written: No sp"
    ):
        train(TINY.replace(steps=9), out)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.slow
def test_starting_anew_sets_the_earlier_training_aside_until_there_is_a_new_one(tmp_path) -> None:
    out = tmp_path / "w.safetensors"
    train(TINY, out)
    old = out.read_bytes()

    def stop(fraction: float, message: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="^$"):
        train(TINY.replace(seed=4), out, resume=False, progress=stop)
    assert not out.exists()  # nothing passes for the new one's weights
    assert out.with_name("w.safetensors.earlier").read_bytes() == old
    train(TINY.replace(seed=4), out, resume=False)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {out.name, f"{out.name}.csv", f"{out.name}.checkpoint"}
    assert out.read_bytes() != old
