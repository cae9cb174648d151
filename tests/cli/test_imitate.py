"""``defectstrain imitate``: images like the user's own, with truth."""

import json

import pandas as pd
import pytest
from look_stage import STEADY, pictured

from napari_defectstrain.cli.main import main
from napari_defectstrain.detect import TrainConfig
from napari_defectstrain.io import sites_table, write_table, write_tiff
from napari_defectstrain.output.figures import files as figure_files
from napari_defectstrain.trials import read_look, true_columns


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imitate")
    made = pictured(*STEADY)
    write_tiff(folder / "mine.tif", made.counts, 20.74, {})
    write_table(folder / "mine.sites.csv", sites_table(true_columns(made), 20.74))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure_files, "DPI", 50)
        words = ["imitate", folder / "mine.tif", "--sites", folder, "--material", "WSe2"]
        words += ["--out", folder / "out", "-n", "2", "--size", "240"]
        words += ["--training-config", folder / "mine_training.json"]
        assert main([str(w) for w in words]) == 0
    return folder


def test_look_images_truth_and_figure_are_written(out):
    written = {p.name for p in (out / "out").iterdir()}
    assert {"look.json", "look.csv", "training.json", "imitation.json", "figures"} <= written
    assert {"mine_like_1.tif", "mine_like_1.truth.csv", "mine_like_2.tif"} <= written
    assert (out / "out" / "figures" / "look.png").is_file()
    look = read_look(out / "out" / "look.json")
    assert look.images == ("mine",)
    assert look.scan.line_px.value == pytest.approx(0.29, abs=0.1)
    table = pd.read_csv(out / "out" / "look.csv")
    assert {"quantity", "real", "simulated", "difference", "by_chance"} <= set(table.columns)


def test_training_takes_the_settings_as_they_are(out):
    for path in (out / "mine_training.json", out / "out" / "training.json"):
        config = TrainConfig.from_dict(json.loads(path.read_text()))
        assert config.conditions.materials == ("WSe2",)
        low, high = config.conditions.pixel_size_pm
        assert low < 20.74 < high


def test_a_folder_of_results_stands_for_its_images(out, capsys):
    assert main(["imitate", str(out), "--out", str(out / "other"), "--material", "WSe2"]) == 2
    assert "no run.json there" in capsys.readouterr().err


def test_nothing_is_overwritten_or_dropped_in_silence(out, capsys):
    kept = (out / "mine_training.json").read_bytes()
    for given, said in (
        ([out / "mine.tif", "--training-config", out / "mine_training.json"], "expected a new one"),
        ([out, out / "out"], "got 2 folders"),
        ([out, "--results", out / "out"], "got 2 folders"),
    ):
        words = ["imitate", *given, "--out", out / "third", "--material", "WSe2"]
        assert main([str(w) for w in words]) == 2
        assert said in capsys.readouterr().err
    assert (out / "mine_training.json").read_bytes() == kept and not (out / "third").exists()
