import shlex
from pathlib import Path

import pytest

import napari_defectstrain as nds
from napari_defectstrain.cli.main import _run_config, build_parser
from napari_defectstrain.pipeline import RunConfig
from napari_defectstrain.study import run_command, run_script

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


def test_what_is_as_usual_is_not_told():
    assert run_command(["a.tif"], PLAIN, "out") == "defectstrain run a.tif --out out"
    assert "RunConfig()" in run_script(["a.tif"], PLAIN, "out")
