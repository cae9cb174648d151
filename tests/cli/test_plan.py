"""``defectstrain plan``: from the folder of a run to a table."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from small_alloy import simulated, true_sites

from napari_defectstrain.cli.main import main
from napari_defectstrain.columns.images import measure
from napari_defectstrain.io import sites_table, write_tiff
from napari_defectstrain.io.files import read_settings, write_json, write_table
from napari_defectstrain.pipeline.loading import load_images
from napari_defectstrain.pipeline.runs import RunConfig


@pytest.fixture
def run(tmp_path):
    """What a run on one image leaves, as far as a plan reads it."""
    folder = tmp_path / "run"
    folder.mkdir()
    image = {"name": "a", "pixel_size_pm": 20.0, "conditions": {"dose": 1.0e7}, "metadata": {}}
    write_json(folder / "run.json", {"parameters": RunConfig().to_dict(), "images": [image]})
    rows = [
        {"class": "2Se", "n": 200, "sigma_stat": 0.0, "sigma_total": 0.0, "p1_pm": 5.0},
        {"class": "SV", "n": 40, "sigma_stat": 0.002, "sigma_total": 0.0025, "p1_pm": 5.0},
    ]
    write_table(folder / "spacings.csv", pd.DataFrame(rows))
    counts = [
        *(
            {
                "image": f"frame_{i}",
                "class": "vacancy fraction",
                "concentration": c,
                "all_columns": 900,
            }
            for i, c in enumerate((0.01, 0.012, 0.014))
        ),
        {"image": "all", "class": "SV", "concentration": 0.05},
    ]
    write_table(folder / "populations.csv", pd.DataFrame(counts))
    return folder


def test_a_plan_is_printed_and_written(run, tmp_path, capsys):
    options = ["--class", "SV", "--loss-nm2", "1e-9", "--counting-share", "1"]
    assert main(["plan", str(run), *options, "--out", str(tmp_path / "plan.csv")]) == 0
    said = capsys.readouterr().out
    assert "40 windows in 1 image(s) gave 0.2 %" in said
    assert "0.15 % more can't be averaged away" in said
    plan = pd.read_csv(tmp_path / "plan.csv").set_index("dose_e_per_nm2")
    assert plan.loc[1e7, "images"] == 4
    assert plan.loc[1e7, "sigma_strain_%"] == pytest.approx(0.1)


def test_the_loss_of_a_series_that_was_followed(run, tmp_path, capsys):
    table = pd.DataFrame(
        {
            "from": ["2Se", "2Se, SV"],
            "to": ["SV", "one Se less"],
            "cross_section_barn": [8.0, 9.0],
            "sigma_barn": [0.5, 0.4],
        }
    )
    table.to_csv(tmp_path / "rates.csv", index=False)
    options = ["--class", "SV", "--series", str(tmp_path), "--counting-share", "1"]
    assert main(["plan", str(run), *options]) == 0
    # 9 barn are 9e-10 nm2
    assert "an atom is lost at 9e-10 nm2 (by the sites of a series" in capsys.readouterr().out
    nothing = table.assign(cross_section_barn=0.0, sigma_barn=np.nan, high_barn=20.0)
    nothing.to_csv(tmp_path / "rates.csv", index=False)  # none was lost: not "no damage"
    assert main(["plan", str(run), *options]) == 0
    assert "lost at 2e-09 nm2 (at most: upper 95 % limit" in capsys.readouterr().out
    assert main(["plan", str(run), *options, "--loss-nm2", "1e-9"]) == 2
    assert "expected one source of the damage" in capsys.readouterr().err
    table.drop(columns="cross_section_barn").to_csv(tmp_path / "rates.csv", index=False)
    assert main(["plan", str(run), *options]) == 2
    assert "give series --dose" in capsys.readouterr().err


def test_the_loss_of_a_series(run, capsys):
    options = ["--class", "SV", "--series", str(run), "--frame-dose", "2e6"]
    assert main(["plan", str(run), *options, "--counting-share", "0.5"]) == 0
    assert "lost at 1.01e-09 nm2 (by 3 frames" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--class", "SV"], "expected --loss-nm2"),
        (["--class", "2Te", "--loss-nm2", "0"], "expected a measured defect of the run: SV"),
        (["--class", "SV", "--loss-nm2", "0"], "isn't where it was; give --counting-share"),
    ],
)
def test_what_is_missing_is_said(run, capsys, options, message):
    assert main(["plan", str(run), *options]) == 2
    assert message in capsys.readouterr().err


def test_a_plan_replaces_nothing_but_a_plan(run, tmp_path, capsys):
    options = ["--class", "SV", "--loss-nm2", "1e-9", "--counting-share", "1", "--out"]
    (tmp_path / "image.tif").write_bytes(b"mine")
    (tmp_path / "folder").mkdir()
    for out in (
        run / "spacings.csv",
        run / "run.json",
        tmp_path / "image.tif",
        tmp_path / "folder",
    ):
        before = out.read_bytes() if out.is_file() else None
        assert main(["plan", str(run), *options, str(out)]) == 2
        assert "is there and is no plan" in capsys.readouterr().err
        assert before is None or out.read_bytes() == before
    for _ in range(2):
        assert main(["plan", str(run), *options, str(tmp_path / "plan.csv")]) == 0


def test_a_fit_that_ended_on_the_way_is_said(run, tmp_path, capsys, monkeypatch):
    made = simulated(seed=3, size=128)
    write_tiff(tmp_path / "a.tif", made.image.data, 20.74, {})
    (image,), _ = load_images([tmp_path / "a.tif"])
    manifest = read_settings(run / "run.json")
    manifest["images"][0] |= {"pixel_size_pm": 20.74, "metadata": dict(image.metadata)}
    write_json(run / "run.json", manifest)
    write_table(run / "a.sites.csv", sites_table(true_sites(made), 20.74))
    fit_of = measure.fit_image_columns
    words = ["plan", str(run), "--class", "SV", "--loss-nm2", "1e-9"]
    for converged in (True, False):

        def fitted(*given, converged=converged, **named):
            few = measure.ImageColumnConfig(model="gaussians")
            return replace(fit_of(*given, few, **named), converged=converged)

        monkeypatch.setattr(measure, "fit_image_columns", fitted)
        assert main(words) == 0
        said = capsys.readouterr().err
        assert said.count("a: the fit of all columns had not converged") == (not converged)
