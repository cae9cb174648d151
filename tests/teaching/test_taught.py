import ast
import json
import shlex
from pathlib import Path

import pytest

from napari_defectstrain.cli.main import _run_config, build_parser
from napari_defectstrain.judge import JudgeConfig, LearntClasses, Stranger
from napari_defectstrain.pipeline import RunConfig
from napari_defectstrain.study import run_command, run_script
from napari_defectstrain.teaching import (
    CLASSES,
    THRESHOLDS,
    Course,
    Gain,
    Step,
    TaughtFrom,
    Verdict,
    read_taught,
    taught_names,
    taught_path,
    write_taught,
)
from napari_defectstrain.teaching import taught as taught_module
from napari_defectstrain.teaching.taught import TAUGHT_FILE, WEIGHTS_FILE
from napari_defectstrain.types import DefectStrainError

LEARNT = LearntClasses(
    mean=(0.7, 1.1, 1.4, 0.3, 0.02),
    spread=(0.02,) * 5,
    share=(0.8, 0.08, 0.04, 0.05, 0.02, 0.01),
    strength=120.0,
    strangers=(Stranger(0.43, 0.02, 0.05),),
    thresholds=(0.5, 0.4, 0.3, 0.5),
)
GAIN = Gain(0.8, 0.9, 0.05, 0.15, 200)
NONE = Gain(float("nan"), float("nan"), float("nan"), float("nan"), 0)
VERDICT = Verdict(GAIN, (GAIN, GAIN, GAIN, NONE), 4, 0.0005, 1)
COURSE = Course(
    (Step(CLASSES, VERDICT), Step(THRESHOLDS, None, "no whole image")),
    JudgeConfig(network_say=(0.0, 0.0), learnt=LEARNT),
    VERDICT,
    False,
)
IMAGES = [TaughtFrom("one", "ab", 12, True)]


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    module = "napari_defectstrain.teaching.taught.user_data_path"
    monkeypatch.setattr(module, lambda name: tmp_path / name)


def test_what_was_taught_is_read_as_it_was_written():
    made = write_taught("my microscope", COURSE, "WSe2", IMAGES, parent="before")
    again = read_taught("my microscope")
    assert again.judge == COURSE.judge and again.images == tuple(IMAGES)
    assert again.steps[0].taken and again.steps[0].verdict.mean == GAIN
    assert again.steps[0].verdict.classes[3].columns == 0
    assert (again.total.by_chance, again.total.worse) == (0.0005, 1)
    assert not again.steps[1].taken and again.steps[1].note == "no whole image"
    assert (again.name, again.parent, again.weights) == ("my microscope", "before", None)
    assert taught_names() == ["my microscope"]
    assert read_taught(made.path).created == made.created


def test_a_run_takes_it_on_and_records_it():
    taught = write_taught("mine", COURSE, "WSe2", IMAGES)
    config = taught.applied_to(RunConfig())
    assert config.judge.learnt == LEARNT and config.judge.network_say == (0.0, 0.0)
    assert config.detect.weights is None
    values = json.loads(json.dumps(config.to_dict()))
    assert RunConfig.from_dict(values) == config


def test_what_a_run_was_taught_can_be_copied_as_command_and_as_python():
    config = RunConfig(judge=COURSE.judge)
    line = run_command(["a.tif"], config, "out")
    words = shlex.split(line)[1:]
    assert _run_config(build_parser(words).parse_args(words)) == config
    # and on top of what was taught before
    again = [*words, "--set", "judge.learnt=null"]
    assert _run_config(build_parser(again).parse_args(again)).judge.learnt is None
    script = run_script(["a.tif"], config, "out")
    text = script.split("nds.RunConfig.from_dict(")[1].split("\nresult")[0].rstrip(")")
    assert RunConfig.from_dict(ast.literal_eval(text)) == config


def test_what_can_not_be_written_leaves_nothing_and_may_be_tried_again(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(taught_module, "write_json", full)
        with pytest.raises(DefectStrainError, match="can't be written: No space left"):
            write_taught("mine", COURSE, "WSe2", IMAGES)
    folder = taught_path("mine").parent
    assert list(folder.iterdir()) == []
    with pytest.raises(DefectStrainError, match="can't be written"):
        write_taught("mine", COURSE, "WSe2", IMAGES, weights=tmp_path / "gone.safetensors")
    assert list(folder.iterdir()) == []
    assert write_taught("mine", COURSE, "WSe2", IMAGES).path.is_dir()


def test_it_is_for_one_material_only():
    taught = write_taught("mine", COURSE, "WSe2", IMAGES)
    with pytest.raises(DefectStrainError, match="got the material MoS2, expected WSe2"):
        taught.applied_to(RunConfig(material="MoS2"))
    named = taught.applied_to(RunConfig(material="WSe2 + SSe=0.52"))
    assert named.judge.learnt == LEARNT


def test_weights_that_were_changed_are_refused(tmp_path):
    weights = tmp_path / "new.safetensors"
    weights.write_bytes(b"tensors")
    taught = write_taught("mine", COURSE, "WSe2", IMAGES, weights=weights)
    assert weights.exists()  # copied: they may be the user's own
    config = taught.applied_to(RunConfig())
    assert Path(config.detect.weights) == taught.path / WEIGHTS_FILE
    taught.weights.write_bytes(b"others")
    with pytest.raises(DefectStrainError, match="expected the weights that were taught"):
        read_taught("mine").applied_to(RunConfig())


def test_nothing_is_replaced_and_nothing_kept_that_does_not_help():
    write_taught("mine", COURSE, "WSe2", IMAGES)
    with pytest.raises(DefectStrainError, match="a name that is taken"):
        write_taught("mine", COURSE, "WSe2", IMAGES)
    useless = Course((Step(CLASSES, None, "not tried"),), JudgeConfig(), None, False)
    with pytest.raises(DefectStrainError, match="nothing helps"):
        write_taught("other", useless, "WSe2", IMAGES)
    assert taught_names() == ["mine"]


@pytest.mark.parametrize("name", ["", "a:b", "..", "NUL", "x" * 99])
def test_names_that_no_system_writes_are_refused(name):
    with pytest.raises(DefectStrainError, match="expected letters"):
        taught_path(name)


def test_paths_stand_for_names(tmp_path):
    assert taught_path(tmp_path / "mine") == tmp_path / "mine.taught"
    assert taught_path("mine.taught") == Path("mine.taught")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"kind": "other"}, "got kind 'other'"),
        ({"schema": 99}, "update napari-defectstrain"),
        ({"steps": None}, "damaged"),
        ({"images": [{"name": 1, "extra": 2}]}, "damaged"),
        ({"judge": {"rounds": "two"}}, "judge.rounds: got 'two'"),
    ],
)
def test_damaged_records_are_one_line(change, match):
    taught = write_taught("mine", COURSE, "WSe2", IMAGES)
    file = taught.path / TAUGHT_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(DefectStrainError, match=match) as error:
        read_taught("mine")
    assert "\n" not in str(error.value)


def test_unknown_names_say_which_there_are():
    with pytest.raises(DefectStrainError, match="expected one of none"):
        read_taught("mine")
    write_taught("yours", COURSE, "WSe2", IMAGES)
    with pytest.raises(DefectStrainError, match="expected one of yours"):
        read_taught("mine")


def test_another_network_of_the_package_is_said(tmp_path, monkeypatch):
    weights = tmp_path / "new.safetensors"
    weights.write_bytes(b"tensors")
    write_taught("mine", COURSE, "WSe2", IMAGES)
    write_taught("brings its own", COURSE, "WSe2", IMAGES, weights=weights)
    assert read_taught("mine").notes == []
    other = RunConfig(detect=RunConfig().detect.replace(weights="x.safetensors"))
    assert read_taught("mine").applied_to(other).detect.weights is None
    monkeypatch.setattr(taught_module, "_own_network", lambda material: "b" * 64)
    (said,) = read_taught("mine").notes
    assert "was taught with an earlier network of the package" in said
    assert read_taught("brings its own").notes == []
