import shlex
from pathlib import Path

import pytest

import napari_defectstrain as nds
import napari_defectstrain.detect as nds_detect
from napari_defectstrain.cli.main import _run_config, build_parser
from napari_defectstrain.cli.train import run_train
from napari_defectstrain.detect import TrainConfig
from napari_defectstrain.detect.training import loop
from napari_defectstrain.pipeline import RunConfig
from napari_defectstrain.simulate.conditions import Conditions
from napari_defectstrain.study import run_command, run_script, train_command, train_script
from napari_defectstrain.types import no_progress

PLAIN = RunConfig()
SETTINGS = {
    "none": PLAIN,
    "options": PLAIN.replace(
        material="MoS2",
        pixel_size_pm=12.5,
        seed=4,
        bootstrap=100,
        frames=True,
        force_material=True,
        split=("SV", "2Te"),
        judge=PLAIN.judge.replace(enabled=False),
        detect=PLAIN.detect.replace(weights="my weights.safetensors", device="cpu"),
    ),
    "others": PLAIN.replace(
        average=PLAIN.average.replace(window_nm=2.5, crowded=True),
        detect=PLAIN.detect.replace(thresholds=(0.4, 0.5, 0.6, 0.7)),
        columns=PLAIN.columns.replace(model="gaussian"),
    ),
}
PATHS = ["a b.tif", "it's.dm4"]


@pytest.mark.parametrize("config", SETTINGS.values(), ids=SETTINGS)
def test_the_command_gives_the_same_settings(config):
    line = run_command(PATHS, config, "out dir")
    name, command, *arguments = shlex.split(line)
    assert (name, command) == ("defectstrain", "run")
    options = build_parser(["run"]).parse_args([command, *arguments])
    assert _run_config(options) == config
    assert options.images == [Path(path) for path in PATHS]
    assert options.out == Path("out dir")


@pytest.mark.parametrize("config", SETTINGS.values(), ids=SETTINGS)
def test_the_script_gives_the_same_settings(config, monkeypatch):
    given = {}
    monkeypatch.setattr(
        nds, "load_images", lambda paths, frames=False: (given.update(frames=frames) or paths, ())
    )
    monkeypatch.setattr(nds, "run", lambda images, config: given.update(i=images, c=config))
    monkeypatch.setattr(nds, "write_results", lambda result, out, force: given.update(out=out))
    exec(run_script(PATHS, config, "out dir"), {})
    assert given == {"frames": config.frames, "i": PATHS, "c": config, "out": "out dir"}


TRAININGS = {
    "none": TrainConfig(),
    "options": TrainConfig(steps=300, minutes=5.0, seed=3, workers=2, device="auto"),
    "others": TrainConfig(
        batch=4,
        conditions=Conditions(materials=("MoS2", "MoSe2"), background="it's mine.tif", frames=(1,)),
    ),
}


@pytest.mark.parametrize("config", TRAININGS.values(), ids=TRAININGS)
def test_a_training_is_told_too(config, monkeypatch):
    given = {}
    monkeypatch.setattr(
        loop, "train", lambda config, out, **more: given.update(config=config, out=out) or []
    )
    line = train_command(config, "my own.safetensors")
    name, command, *arguments = shlex.split(line)
    assert (name, command) == ("defectstrain", "train")
    options = build_parser(["train"]).parse_args([command, *arguments])
    run_train(options, no_progress)
    assert given == {"config": config, "out": Path("my own.safetensors")}
    given.clear()
    monkeypatch.setattr(nds_detect, "train", loop.train)
    exec(train_script(config, "my own.safetensors"), {"__name__": "__main__"})
    assert given == {"config": config, "out": Path("my own.safetensors")}


def test_what_is_as_usual_is_not_told():
    assert run_command(["a.tif"], PLAIN, "out") == "defectstrain run a.tif --out out"
    assert "RunConfig()" in run_script(["a.tif"], PLAIN, "out")
