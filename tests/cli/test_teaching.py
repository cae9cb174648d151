import judge_stage
import numpy as np
import pandas as pd
import pytest
from study_stage import small_study

from napari_defectstrain import teaching
from napari_defectstrain.cli.main import _run_config, build_parser, main
from napari_defectstrain.io.files import write_json, write_tiff
from napari_defectstrain.judge import JudgeConfig, LearntClasses
from napari_defectstrain.materials import WSE2
from napari_defectstrain.teaching import (
    CLASSES,
    Course,
    Gain,
    Step,
    Verdict,
    read_taught,
    write_taught,
)

LEARNT = LearntClasses(mean=(0.6, 1.2, 1.7, 0.3, 0.1), spread=(0.02,) * 5)
GAIN = Gain(0.8, 0.9, 0.05, 0.15, 200)
COURSE = Course(
    (Step(CLASSES, Verdict(GAIN, (GAIN,) * 4, 4, 0.0, 0)),), JudgeConfig(learnt=LEARNT), None, False
)


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    module = "napari_defectstrain.teaching.taught.user_data_path"
    monkeypatch.setattr(module, lambda name: tmp_path / name)


def options_of(*arguments):
    return build_parser(arguments).parse_args(arguments)


def test_a_run_takes_what_was_taught_by_name_and_by_path(tmp_path):
    made = write_taught("mine", COURSE, "WSe2", [])
    for name in ("mine", str(made.path)):
        options = options_of("run", "a.tif", "--out", "b", "--taught", name)
        assert _run_config(options).judge.learnt == LEARNT
    options = options_of("run", "a.tif", "--out", "b")
    assert _run_config(options).judge.learnt is None


def test_other_materials_and_unknown_names_are_refused_in_one_line(tmp_path, capsys):
    write_taught("mine", COURSE, "WSe2", [])
    for given, said in (
        (["--taught", "mine", "--material", "MoS2"], "expected WSe2, by whose columns"),
        (["--taught", "yours"], "expected one of mine"),
    ):
        code = main(["detect", str(tmp_path / "a.tif"), "--out", str(tmp_path / "o"), *given])
        error = capsys.readouterr().err.strip()
        assert code == 2 and said in error and "\n" not in error


def test_teach_wants_a_study_or_labels_and_a_free_name(tmp_path, capsys):
    write_taught("mine", COURSE, "WSe2", [])
    (tmp_path / "a.tif").write_bytes(b"")
    for given, said in (
        ([str(tmp_path / "a.tif")], "expected one; or images with --labels DIR"),
        ([str(tmp_path / "a.tif"), "-o", "mine"], "a name that is taken"),
        (["x", "--labels", "y", "--done", "all"], "leave --done out"),
    ):
        assert main(["teach", *given]) == 2
        assert said in capsys.readouterr().err


@pytest.fixture
def labelled(tmp_path, monkeypatch):
    """An image with its table; what it teaches is there at once."""
    made = judge_stage.made()
    data = np.asarray(made.image.data, dtype=np.float32)
    write_tiff(tmp_path / "one.tif", data, judge_stage.SCAN.pixel_size_pm)
    table = pd.DataFrame(made.position_px, columns=["y_px", "x_px"])
    table["class"] = np.array(WSE2.class_names)[np.asarray(made.class_index)]
    table.to_csv(tmp_path / "one.truth.csv", index=False)
    monkeypatch.setattr(teaching, "seen_lessons", lambda *_: [])
    monkeypatch.setattr(teaching, "teach_judge", lambda *_: COURSE)
    return [str(tmp_path / "one.tif"), "--labels", str(tmp_path)]


def test_the_network_that_a_judge_was_taught_with_is_kept_with_it(labelled, tmp_path, capsys):
    weights = tmp_path / "own.safetensors"
    weights.write_bytes(b"weights")
    assert main(["teach", *labelled, "--weights", str(weights), "-o", "first"]) == 0
    assert weights.is_file()  # copied, not taken away
    first = read_taught("first")
    assert first.weights.read_bytes() == b"weights"
    assert main(["teach", *labelled, "--taught", "first", "-o", "second"]) == 0
    second = read_taught("second")
    assert second.parent == "first" and second.weights_sha256 == first.weights_sha256
    options = options_of("run", "a.tif", "--out", "b", "--taught", "second")
    assert _run_config(options).detect.weights == str(second.weights)


def test_a_comparison_without_enough_images_is_refused_at_once(labelled, monkeypatch, capsys):
    monkeypatch.setattr(teaching, "seen_lessons", lambda *_: pytest.fail("too late"))
    assert main(["teach", *labelled, "--compare-hand-labelled"]) == 2
    assert "expected 4 or more" in capsys.readouterr().err


@pytest.mark.slow
def test_an_image_and_its_table_teach_what_a_run_then_uses(tmp_path, capsys):
    made = judge_stage.made((0.1, 0.08, 0.08, 0.03))
    data = np.asarray(made.image.data, dtype=float)
    low, high = data.min(), np.quantile(data, 0.999)
    bent = (1e4 * ((data - low) / (high - low)) ** 2.2).astype(np.float32)
    pixel_pm = judge_stage.SCAN.pixel_size_pm
    write_tiff(tmp_path / "bent.tif", bent, pixel_pm)
    table = pd.DataFrame(made.position_px, columns=["y_px", "x_px"])
    table["class"] = np.array(WSE2.class_names)[np.asarray(made.class_index)]
    table.to_csv(tmp_path / "bent.truth.csv", index=False)
    image = str(tmp_path / "bent.tif")
    assert main(["teach", image, "--labels", str(tmp_path), "-o", "bent"]) == 0
    said = capsys.readouterr().out
    assert "this helps" in said and "from one image only the judge can be taught" in said
    options = options_of("run", image, "--out", "b", "--taught", "bent")
    assert _run_config(options).judge.learnt.mean


def test_a_study_is_named_without_its_suffix(tmp_path, monkeypatch, capsys):
    with small_study(tmp_path, 1):
        pass
    monkeypatch.chdir(tmp_path)
    assert main(["teach", "small"]) == 2
    assert "got no study" not in capsys.readouterr().err
    assert main(["teach", "small", "--minutes", "3"]) == 2
    assert "--minutes: got no --network" in capsys.readouterr().err


def test_no_other_network_comes_beside_what_was_taught(labelled, tmp_path, capsys):
    assert main(["teach", *labelled, "-o", "own"]) == 0  # with the package's own network
    capsys.readouterr()
    given = ["a.tif", "--out", str(tmp_path / "o"), "--taught", "own", "--weights", "x"]
    assert main(["run", *given]) == 2
    assert "--taught own: got --weights, too" in capsys.readouterr().err
    assert main(["teach", *labelled, "--taught", "own", "--weights", "x"]) == 2
    assert "--taught own: got --weights, too" in capsys.readouterr().err
    write_json(tmp_path / "other.json", {"detect": {"weights": "other.safetensors"}})
    options = options_of(*["run", *given[:5], "--config", str(tmp_path / "other.json")])
    assert _run_config(options).detect.weights is None
