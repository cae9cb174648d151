import shlex
from pathlib import Path

import pytest

import napari_defectstrain.io as nds_io
import napari_defectstrain.output as nds_output
import napari_defectstrain.series as nds_series
from napari_defectstrain.cli.main import build_parser
from napari_defectstrain.cli.series import _settings
from napari_defectstrain.frames import FrameConfig
from napari_defectstrain.pipeline import RunConfig
from napari_defectstrain.series import SeriesConfig, series_command, series_script

RUN = RunConfig()
SERIES = {
    "none": (SeriesConfig(), RUN),
    "options": (
        SeriesConfig("time", 4, 2, 0.9, None, 30.0, 12.5, 0.02, 1.5, 3),
        RUN.replace(material="MoS2", pixel_size_pm=12.5),
    ),
    "others": (
        SeriesConfig(dose_e_per_nm2=3.9e6),
        RUN.replace(
            series=FrameConfig(exclude=(0, 7), include=(3,), jitter="off"),
            detect=RUN.detect.replace(thresholds=(0.4, 0.5, 0.6, 0.7)),
        ),
    ),
}
PATHS = ["it's a series.tif"]


@pytest.mark.parametrize(("config", "run"), SERIES.values(), ids=SERIES)
def test_the_command_gives_the_same_settings(config, run):
    name, command, *arguments = shlex.split(series_command(PATHS, config, run, "out dir"))
    assert (name, command) == ("defectstrain", "series")
    options = build_parser(["series"]).parse_args([command, *arguments])
    assert _settings(options) == (config, run)
    assert options.images == [Path(path) for path in PATHS]
    assert options.out == Path("out dir")


@pytest.mark.parametrize(("config", "run"), SERIES.values(), ids=SERIES)
def test_the_script_gives_the_same_settings(config, run, monkeypatch):
    given = {}
    monkeypatch.setattr(nds_io, "read_images", lambda path: [path])
    monkeypatch.setattr(nds_series, "analyse_series", lambda *a: given.update(asked=a))
    monkeypatch.setattr(nds_series, "series_text", lambda result: "")
    monkeypatch.setattr(nds_output, "write_series", lambda result, out: given.update(out=out))
    exec(series_script(PATHS, config, run, "out dir"), {})
    assert given == {"asked": (PATHS, config, run, "it's a series"), "out": "out dir"}
