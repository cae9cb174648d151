"""``defectstrain series``: which files, in which order, by which settings."""

import numpy as np
import pytest

import napari_defectstrain.series as series
from napari_defectstrain.cli.main import main
from napari_defectstrain.io.files import write_json, write_tiff


@pytest.fixture
def asked(monkeypatch):
    """What the command asks for, instead of an analysis."""
    given = {}

    def analyse_series(frames, config, run, name, progress):
        given.update(frames=frames, config=config, run=run)
        raise KeyError("asked")

    monkeypatch.setattr(series, "analyse_series", analyse_series)
    return given


def frames_of(folder, numbers, size_pm=20.0):
    """Files of one frame each, whose grey value is its number."""
    paths = [folder / f"f_{n}.tif" for n in numbers]
    for path, n in zip(paths, numbers, strict=True):
        size = size_pm(n) if callable(size_pm) else size_pm
        write_tiff(path, np.full((64, 64), n, np.float32) + np.eye(64, dtype=np.float32), size)
    return [str(path) for path in paths]


def test_files_come_by_their_numbers_where_the_shell_sorted_them(tmp_path, asked, capsys):
    paths = frames_of(tmp_path, (1, 10, 2))
    with pytest.raises(KeyError, match="asked"):
        main(["series", *paths, "--out", str(tmp_path / "out")])
    assert [frame.data[0, 1] for frame in asked["frames"]] == [1, 2, 10]
    with pytest.raises(KeyError, match="asked"):  # an order by hand stays
        main(["series", paths[2], paths[0], "--out", str(tmp_path / "out")])
    assert [frame.data[0, 1] for frame in asked["frames"]] == [2, 1]


def test_frames_of_other_magnification_are_refused(tmp_path, asked, capsys):
    paths = frames_of(tmp_path, (1, 2), size_pm=lambda n: 20.0 * n)
    assert main(["series", *paths, "--out", str(tmp_path / "out")]) == 2
    assert "got pixels of 40 pm, expected 20 pm as in f_1.tif" in capsys.readouterr().err


def test_settings_of_a_run_are_taken_and_other_files_refused(tmp_path, asked, capsys):
    paths = frames_of(tmp_path, (1, 2))
    file = tmp_path / "settings.json"
    arguments = ["series", *paths, "--out", str(tmp_path / "out"), "--config", str(file)]
    write_json(file, {"material": "MoS2"})
    with pytest.raises(KeyError, match="asked"):
        main(arguments)
    assert asked["run"].material == "MoS2"
    write_json(file, {"series": {"purity": 0.9}})
    with pytest.raises(KeyError, match="asked"):
        main(arguments)
    assert asked["config"].purity == 0.9
    write_json(file, {"typo": 1})
    assert main(arguments) == 2
    assert "typo" in capsys.readouterr().err
