"""The command line on simulated images: files, columns, numbers, exit codes."""

import contextlib
import io
import json
import os
import subprocess
import sys
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from small_alloy import QUICK, SHARED_PROFILE, SPACING_CHANGE, simulated, true_sites

from napari_defectstrain import __version__
from napari_defectstrain.cli.main import main
from napari_defectstrain.detect.network import bundled
from napari_defectstrain.io.files import (
    read_file,
    read_images,
    sites_table,
    write_json,
    write_table,
)
from napari_defectstrain.materials import WSE2
from napari_defectstrain.output.figures import files as figure_files
from napari_defectstrain.simulate.samples import write_simulated

SITES_COLUMNS = [
    *("y_px", "x_px", "y_nm", "x_nm", "class", "probability"),
    *(f"p_{name}" for name in WSE2.class_names),
    "source",
]

MEASURED = {name: change for name, change in SPACING_CHANGE.items() if name != "DV"}
"""The two images hold too few double vacancies: they are averaged, not measured."""


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Two images of equal stem in two folders, and tables of their true columns."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "tables").mkdir()
    for stem, seed, angle in (("alloy", 1, 8.0), ("alloy_2", 2, 51.0)):
        made = simulated(seed=seed, rotation_deg=angle)
        (folder / stem).mkdir()
        write_simulated(made, (folder / stem).joinpath)
        table = sites_table(true_sites(made), 20.74)
        write_table(folder / "tables" / f"{stem}.sites.csv", table)
    write_json(folder / "quick.json", QUICK)
    write_json(folder / "settings.json", SHARED_PROFILE)
    return folder


@pytest.fixture(scope="module")
def out(work) -> Path:
    """The results of a run on them."""
    out = work / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure_files, "DPI", 50)  # drawn all the same, in a fraction of the time
        assert main([*run_arguments(work, "settings.json"), "--out", str(out)]) == 0
    return out


def run_arguments(work: Path, settings: str = "quick.json") -> list[str]:
    images = [str(work / stem / "alloy.tif") for stem in ("alloy", "alloy_2")]
    arguments = ["--sites", str(work / "tables"), "--config", str(work / settings)]
    return ["run", *images, *arguments, "--bootstrap", "200"]


@pytest.mark.slow
def test_every_file_is_there_and_listed(out):
    expected = {"alloy.sites.csv", "alloy_2.sites.csv", "populations.csv", "spacings.csv"}
    expected |= {f"alloy{n}.regions.{kind}" for n in ("", "_2") for kind in ("tif", "csv")}
    expected |= {"columns.csv", "displacement.csv", "budget.csv", "precision.csv"}
    expected |= {"lattices.csv", "theory.csv", "run.json"}
    expected |= {"class_parts.csv", "variability.csv", "half_sets.csv"}
    expected |= {"pair_correlation.csv", "clusters.csv", "nearest_defects.csv"}
    averaged = WSE2.class_names[1:-1]
    expected |= {f"{kind}_{name}.tif" for name in averaged for kind in ("average", "window")}
    expected |= {f"strain_{name}.tif" for name in MEASURED}
    expected |= {f"strain_{name}.sigma.tif" for name in MEASURED}
    expected |= {f"theory_{name}.tif" for name in MEASURED}
    assert {path.name for path in out.iterdir() if path.is_file()} == expected
    drawn = {path.name for path in (out / "figures").iterdir()}
    assert {"detections_alloy.png", "averages.png", "spacings.png", "precision.png"} <= drawn
    assert {"displacement.png", "strain_SV.png", "budget.png"} <= drawn
    assert {"theory.png", "theory_SV.png"} <= drawn
    listed = set(json.loads((out / "run.json").read_text())["files"])
    assert listed == (expected | {f"figures/{name}" for name in drawn}) - {"run.json"}


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("alloy.sites.csv", SITES_COLUMNS),
        (
            "populations.csv",
            [
                *("image", "class", "columns", "all_columns"),
                *("concentration", "per_site", "area_nm2", "per_nm2"),
                *("corrected", "corrected_std", "low", "high", "crystal_low", "crystal_high"),
                *("wilson_low", "wilson_high", "dispersion", "dispersion_p"),
                *("image_std", "images_low", "images_high"),
            ],
        ),
        (
            "spacings.csv",
            [
                "class",
                "n",
                "n_excluded",
                "spacing_pm",
                "precision_pm",
                "strain",
                "strain_std",
                "strain_total_std",
                "purity",
            ],
        ),
        (
            "columns.csv",
            [
                "class",
                "sublattice",
                "site_x_pm",
                "site_y_pm",
                "x_pm",
                "y_pm",
                "sigma_x_pm",
                "sigma_y_pm",
                "flag",
            ],
        ),
        (
            "displacement.csv",
            [
                "class",
                "sublattice",
                "site_x_pm",
                "site_y_pm",
                "ux_pm",
                "uy_pm",
                "sigma_x_pm",
                "sigma_y_pm",
            ],
        ),
    ],
)
def test_tables_have_the_documented_columns(out, name, columns):
    table = pd.read_csv(out / name)
    assert list(table)[: len(columns)] == columns
    assert len(table)


@pytest.mark.slow
def test_classes_are_compared_with_theories(out):
    table = pd.read_csv(out / "theory.csv").set_index("class")
    assert list(table.index) == list(MEASURED)
    assert (table["averages"] == "isolated").all()
    assert table.loc["SV", "reference_name"] == "SV_9x9.extxyz"
    # built in is an inclusion of -4.8 %, not the structure of -7.3 %
    row = table.loc["SV"]
    assert abs(row["reference_s"] - 0.67) < 0.15
    built_in = SPACING_CHANGE["SV"] * 330.0**2 / 3
    assert abs(row["eshelby_a_pm2"] - built_in) < 4 * row["eshelby_a_sigma_pm2"]
    about = json.loads((out / "run.json").read_text())["references"]
    assert about["SV"][0] == "SV_9x9.extxyz"
    assert "unconverged" in about["SV"][1]


def test_spacings_are_those_that_were_built_in(out):
    table = pd.read_csv(out / "spacings.csv").set_index("class")
    for name, truth in MEASURED.items():
        row = table.loc[name]
        assert abs(row["strain"] - truth) < 3 * row["strain_total_std"]
    assert table.loc["2Se", "strain"] == 0.0


def test_the_budget_adds_up(out):
    table = pd.read_csv(out / "budget.csv")
    assert set(table["class"]) == {"2Se", *MEASURED}
    spacings = pd.read_csv(out / "spacings.csv").set_index("class")
    for name, rows in table.groupby("class"):
        parts = rows[rows["kind"].isin(["statistical", "systematic"])]
        assert rows.loc[rows["kind"] == "unknown", "strain"].isna().all()
        total = rows[rows["kind"] == "total"].iloc[0]
        for column in ("strain", "metal_pm", "chalcogen_pm"):
            assert total[column] == pytest.approx(np.sqrt((parts[column] ** 2).sum()), rel=1e-6)
        if name != "2Se":
            assert spacings.loc[name, "sigma_total"] == pytest.approx(total["strain"])
            assert spacings.loc[name, "strain_total_std"] == pytest.approx(total["strain"])
    assert spacings["a_ref_pm"].unique() == pytest.approx(spacings.loc["2Se", "spacing_pm"])


def test_total_errors_are_no_less_than_statistical_ones(out):
    moved = pd.read_csv(out / "displacement.csv")
    for axis in "xy":
        known = moved[f"sigma_stat_{axis}_pm"].notna()
        rows = moved[known]
        assert known.any()
        assert (rows[f"sigma_total_{axis}_pm"] >= rows[f"sigma_stat_{axis}_pm"] - 1e-6).all()


def test_pictures_and_maps_say_how_many_windows_they_are_of(out):
    number = pd.read_csv(out / "spacings.csv").set_index("class")["n"]
    for name in MEASURED:
        for kind in (f"average_{name}", f"strain_{name}", f"strain_{name}.sigma"):
            assert read_file(out / f"{kind}.tif").metadata["n"] == number[name]
        assert read_file(out / f"window_{name}.tif").metadata["n"] == 1


def test_maps_open_calibrated_and_say_how_they_were_made(out):
    (average,) = read_images(out / "average_SV.tif")
    assert average.metadata["class"] == "SV"
    assert average.metadata["parameters"]["bootstrap"] == 200
    assert average.metadata["version"] == __version__
    assert average.pixel_size_pm == pytest.approx(average.metadata["step_pm"])
    assert average.data.shape[0] * average.pixel_size_pm >= 2000.0  # at least 2 nm across
    with tifffile.TiffFile(out / "strain_SV.tif") as tiff:
        maps = tiff.asarray()
        labels = tiff.imagej_metadata["Labels"]
    assert labels == ["exx", "eyy", "exy", "rotation", "dilation"]
    np.testing.assert_allclose(maps[4], maps[0] + maps[1], atol=1e-6)  # float32


def test_run_file_tells_versions_parameters_and_times(out):
    found = json.loads((out / "run.json").read_text())
    assert found["version"] == __version__
    assert found["parameters"]["material"] == "WSe2"
    assert set(found["seconds"]) >= {"detect", "average", "measure"}
    assert [image["name"] for image in found["images"]] == ["alloy", "alloy_2"]
    assert found["images"][0]["pixel_size_pm"] == pytest.approx(20.74)
    assert found["weights_sha256"] is None  # the columns were given


@pytest.fixture
def no_drawing(monkeypatch):
    """Figures take most of the time of a quick run."""
    leave_out_drawing(monkeypatch)


def leave_out_drawing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(figure_files, "save_figure", lambda figure, path: path.touch())


@pytest.fixture(scope="module")
def quick(work) -> tuple[Path, str]:
    """The results of a run of other settings, another seed; and what it printed."""
    out, printed = work / "quick", io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        leave_out_drawing(patch)
        wanted = ["--seed", "5", "--figures", "pdf,svg"]
        assert main([*run_arguments(work), *wanted, "--out", str(out)]) == 0
    return out, printed.getvalue()


@pytest.fixture(scope="module")
def again(work, quick) -> Path:
    """The quick run repeated by its run file, into a folder that held other files."""
    folder = work / "again"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "strain_old.tif").write_bytes(b"from another run")
    (folder / "run.json").write_text(json.dumps({"files": ["strain_old.tif"]}))
    arguments = run_arguments(work)[:5] + ["--config", str(quick[0] / "run.json")]
    with pytest.MonkeyPatch.context() as patch:
        leave_out_drawing(patch)
        assert main([*arguments, "--out", str(folder), "--force"]) == 0
    return folder


@pytest.mark.slow
def test_run_file_repeats_its_run(quick, again):
    for name in ("spacings.csv", "columns.csv", "displacement.csv", "alloy.sites.csv"):
        assert (again / name).read_bytes() == (quick[0] / name).read_bytes()


@pytest.mark.slow
def test_command_line_comes_before_the_settings_file(quick):
    found = json.loads((quick[0] / "run.json").read_text())["parameters"]
    assert found["seed"] == 5
    assert found["bootstrap"] == 200
    assert found["columns"]["model"] == "gaussian"


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ("{", "not JSON"),
        ("[1]", "got no JSON object"),
        ('{"colour": 1}', "unknown setting(s) colour"),
        ('{"bootstrap": "many"}', "bootstrap: got 'many', expected a whole number"),
        ('{"average": {"shells": "two"}}', "average.shells: got 'two'"),
    ],
)
def test_bad_settings(tmp_path, capsys, settings, match):
    path = tmp_path / "settings.json"
    path.write_text(settings)
    arguments = ["run", "a.tif", "--config", str(path), "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert match in capsys.readouterr().err


@pytest.mark.slow
def test_results_are_printed(quick):
    out, printed = quick
    assert "W-W spacing [pm]" in printed
    assert f"results in {out}" in printed
    drawn = {path.name for path in (out / "figures").iterdir()}
    assert {path.rpartition(".")[2] for path in drawn} == {"pdf", "svg", "csv"}
    assert {"averages.pdf", "averages.svg", "detections_alloy_2.svg"} <= drawn
    assert {f"figures/{name}" for name in drawn} <= set(
        json.loads((out / "run.json").read_text())["files"]
    )


def test_full_folder_is_refused_before_anything_is_read(out, capsys):
    before = sorted(path.stat().st_mtime_ns for path in out.iterdir())
    assert main(["run", "missing.tif", "--out", str(out)]) == 2
    assert "isn't empty" in capsys.readouterr().err
    assert sorted(path.stat().st_mtime_ns for path in out.iterdir()) == before


@pytest.mark.slow
def test_force_touches_its_own_files_only(again):
    assert (again / "notes.txt").read_text() == "mine"
    assert (again / "strain_old.tif").read_bytes() == b"from another run"
    warnings = json.loads((again / "run.json").read_text())["warnings"]
    assert any("left over" in text and "strain_old.tif" in text for text in warnings)


@pytest.mark.slow
def test_detect_takes_the_network(work, tmp_path, fake_detection, capsys, monkeypatch):
    monkeypatch.setattr(figure_files, "DPI", 50)
    image = str(work / "alloy" / "alloy.tif")
    assert main(["detect", image, "--out", str(tmp_path / "out")]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    regions = {"alloy.regions.tif", "alloy.regions.csv"}
    counted = {"populations.csv", "pair_correlation.csv", "clusters.csv", "nearest_defects.csv"}
    assert names == {"alloy.sites.csv", "figures", "run.json"} | counted | regions
    assert json.loads((tmp_path / "out" / "run.json").read_text())["weights_sha256"] == "abc"
    assert "vacancy fraction" in capsys.readouterr().out


@pytest.mark.slow
def test_detect_then_run_on_its_tables(work, tmp_path, fake_detection, no_drawing):
    image = str(work / "alloy" / "alloy.tif")
    assert main(["detect", image, "--out", str(tmp_path / "found")]) == 0
    arguments = ["run", image, "--sites", str(tmp_path / "found")]
    arguments += ["--config", str(work / "quick.json")]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    tables = [pd.read_csv(tmp_path / d / "alloy.sites.csv") for d in ("found", "out")]
    # positions in nm are rounded twice, to 1e-6 nm
    pd.testing.assert_frame_equal(*tables, rtol=0.0, atol=2e-6)


@pytest.mark.slow
def test_a_table_of_another_convention_is_made_good_and_keeps_its_remarks(work, tmp_path, capsys):
    table = pd.read_csv(work / "tables" / "alloy.sites.csv")
    given = table[["y_px", "x_px", "class"]].rename(columns={"y_px": "x_px", "x_px": "y_px"})
    given[["y_px", "x_px"]] += 1
    given["remark"] = [f"no. {i}" for i in range(len(given))]
    (tmp_path / "tables").mkdir()
    given.iloc[[*range(len(given)), 7]].to_csv(tmp_path / "tables" / "alloy.sites.csv", index=False)
    image = str(work / "alloy" / "alloy.tif")
    arguments = [
        "detect",
        image,
        "--sites",
        str(tmp_path / "tables"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(arguments) == 0
    found = pd.read_csv(tmp_path / "out" / "alloy.sites.csv")
    assert np.allclose(found[["y_px", "x_px"]], table[["y_px", "x_px"]], rtol=0, atol=1e-5)
    assert found["remark"].tolist() == given["remark"].tolist()
    said = json.loads((tmp_path / "out" / "run.json").read_text())["warnings"]
    assert "alloy: in its table x and y are exchanged, pixels count from 1" in " ".join(said)
    assert f"repeat a column and count once: line {len(given) + 2}" in " ".join(said)
    assert "x and y are exchanged" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "detect", "columns"])
@pytest.mark.parametrize("material", ["MoTe2", "WTe2", "NbSe2(S, 344.5)"])
def test_materials_without_weights_are_refused_before_any_work(
    tmp_path, capsys, monkeypatch, command, material
):
    known = ("MoS2", "MoSe2", "WS2", "WSe2")
    monkeypatch.setattr(bundled, "_materials_of", lambda path, modified_ns: known)
    out = tmp_path / "out"
    arguments = [command, "missing.tif", "--material", material, "--out", str(out)]
    assert main(arguments) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "no weights are bundled" in said and "MoS2, MoSe2, WS2, WSe2" in said
    assert not out.exists()


@pytest.mark.parametrize("command", ["run", "detect", "columns"])
def test_the_help_says_which_materials_have_weights(capsys, command):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "trained on MoS2, MoSe2, MoTe2, NbSe2(S, 344.5), WS2, WSe2, WTe2; for the oth" in said


@pytest.fixture
def fake_detection(monkeypatch):
    """The truth of the first image in place of the network."""
    from napari_defectstrain.detect.finding import predict

    def detect_columns(image, config, progress):
        progress(1.0, "done")
        sites = true_sites(simulated(seed=1, rotation_deg=8.0))
        return predict.Detection(sites, image.pixel_size_pm, "abc", config.material, ())

    monkeypatch.setattr(predict, "detect_columns", detect_columns)


# ------------------------------------------------------------------ simulate


@pytest.mark.slow
def test_simulated_images_come_with_their_truth(tmp_path):
    arguments = ["simulate", "--images", "2", "--size", "200", "--dose", "5e6", "--seed", "4"]
    arguments += ["--pixel-size-pm", "25"]
    assert main([*arguments, "--out", str(tmp_path / "a")]) == 0
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    pair = ["simulated_1.tif", "simulated_1.truth.csv", "simulated_2.tif", "simulated_2.truth.csv"]
    assert names == [*pair, "simulation.json"]
    (image,) = read_images(tmp_path / "a" / "simulated_2.tif")
    assert image.data.shape == (200, 200)
    assert image.pixel_size_pm == pytest.approx(25.0)
    truth = pd.read_csv(tmp_path / "a" / "simulated_2.truth.csv")
    expected = [name for name in SITES_COLUMNS if name != "p_other"]  # no look-alikes here
    assert list(truth)[: len(expected)] == expected
    assert {"ux_pm", "uy_pm"} <= set(truth)
    # the settings beside the images make the same images again
    settings = str(tmp_path / "a" / "simulation.json")
    again = ["simulate", "--config", settings, "--images", "2", "--out", str(tmp_path / "b")]
    assert main(again) == 0
    (repeated,) = read_images(tmp_path / "b" / "simulated_2.tif")
    np.testing.assert_array_equal(repeated.data, image.data)


@pytest.mark.slow
def test_a_series_of_known_rates_comes_with_every_change(tmp_path, capsys):
    small = ["--size", "160", "--pixel-size-pm", "30", "--dose", "2e6", "--seed", "6"]
    asked = ["--series", "5", "--change", "2Se:SV=0.02", "--change", "SV:2Se=0.05", "--drift", "40"]
    out = str(tmp_path / "a")
    assert main(["simulate", *small, *asked, "--hop", "0.03", "--out", out]) == 0
    frames = read_images(tmp_path / "a" / "simulated_1.tif")
    assert len(frames) == 5 and frames[0].data.shape == (160, 160)
    truth = pd.read_csv(tmp_path / "a" / "simulated_1.truth.csv")
    history = pd.read_csv(tmp_path / "a" / "simulated_1.history.csv")
    assert set(history["frame"]) <= {1, 2, 3, 4} and len(history) > 10
    assert {"2Se", "SV"} <= set(history["before"]) and {"2Se", "SV"} <= set(history["after"])
    last = history.groupby("column").last()  # the truth is that of the last frame
    assert (truth["class"][last.index] == last["after"]).all()
    np.testing.assert_allclose(truth.loc[last.index, ["y_px", "x_px"]], last[["y_px", "x_px"]])
    settings = json.loads((tmp_path / "a" / "simulation.json").read_text())
    assert settings["series"]["changes"] == ["2Se:SV=0.02", "SV:2Se=0.05"]
    assert (settings["series"]["hop_rate"], settings["scan"]["frames"]) == (0.03, 1)
    # the settings make the same series again; the command line changes what it names
    again = ["simulate", "--config", f"{out}/simulation.json", "--out"]
    assert main([*again, str(tmp_path / "b")]) == 0
    for name in ("simulated_1.tif", "simulated_1.history.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert main([*again, str(tmp_path / "c"), "--series", "2", "--hop", "0"]) == 0
    assert len(read_images(tmp_path / "c" / "simulated_1.tif")) == 2


@pytest.mark.slow
def test_bundled_sample_can_be_made_again(tmp_path):
    assert main(["simulate", "--sample", "one_region", "--out", str(tmp_path)]) == 0
    bundled = files("napari_defectstrain.sample_data")
    with as_file(bundled / "one_region.tif") as path:
        np.testing.assert_array_equal(
            tifffile.imread(tmp_path / "one_region.tif"), tifffile.imread(path)
        )
    for name in ("one_region.truth.csv", "one_region.json"):
        assert (tmp_path / name).read_text() == (bundled / name).read_text()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--sample", "nonsense"], "expected one of nine_regions"),
        (["--sample", "one_region", "--size", "64"], "--size: a sample is fixed"),
        (["--sample", "one_region", "--hop", "1"], "--hop: a sample is fixed"),
        (["--images", "0"], "--images: got 0"),
        (["--series", "1"], "frames: got 1, expected a whole number from 2"),
        (["--hop", "0.1"], "--hop: got it without --series"),
        (["--series", "3", "--change", "2Se:W=1"], "got a change '2Se:W=1', expected BEFORE:AFTER"),
        (["--series", "3", "--change", "2Se:SV=often"], "'2Se:SV=often', expected BEFORE:AFTER"),
        (["--series", "3", "--change", "SV:DV=1", "--change", "SV:DV=2"], "got SV:DV twice"),
        (["--seed", "-3"], "seed: got -3"),
        (["--size", "4"], "ScanConfig.shape[0]: got 4, expected a whole number from 32"),
        (["--config", "missing.json"], "missing.json: No such file"),
    ],
)
def test_simulate_says_what_is_wrong(tmp_path, capsys, arguments, match):
    assert main(["simulate", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert match in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_unknown_setting_is_an_error(tmp_path, capsys):
    settings = tmp_path / "settings.json"
    settings.write_text('{"probe": {"colour": 3}}')
    arguments = ["simulate", "--config", str(settings), "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "unknown setting(s) colour" in capsys.readouterr().err
    settings.write_text("{")
    assert main(arguments) == 2
    assert "not JSON" in capsys.readouterr().err


# ------------------------------------------------------------------ the program


def test_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"defectstrain {__version__}\n"


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_version_and_help_import_nothing_heavy(argument):
    code = (
        "import sys; from napari_defectstrain.cli.main import main\n"
        f"try: main(['{argument}'])\n"
        "except SystemExit: pass\n"
        "heavy = ('numpy', 'scipy', 'pandas', 'torch', 'matplotlib')\n"
        "sys.exit(any(m in sys.modules for m in heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("name", "reader", "given", "used"),
    [
        ("OPENBLAS_NUM_THREADS", "numpy", None, "1"),
        ("OPENBLAS_NUM_THREADS", "numpy", "3", "3"),
        ("OMP_WAIT_POLICY", "torch", None, "PASSIVE"),
        ("OMP_WAIT_POLICY", "torch", "ACTIVE", "ACTIVE"),
    ],
)
def test_threads_are_few_and_sleep_while_they_wait_unless_asked_otherwise(
    name, reader, given, used
):
    code = (
        "import os, sys; from napari_defectstrain.cli.main import main\n"
        "sys.argv = ['defectstrain', '--version']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print(os.environ[{name!r}], {reader!r} in sys.modules)"
    )
    environment = {k: v for k, v in os.environ.items() if k != name}
    if given is not None:
        environment[name] = given
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == f"{used} False"  # before it is read


@pytest.mark.slow
def test_module_runs_without_qt_and_torch_unless_needed():
    code = (
        "import sys; from napari_defectstrain.cli.main import build_parser; build_parser();"
        "sys.exit(any(m in sys.modules for m in ('napari', 'qtpy', 'magicgui', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    done = subprocess.run(
        [sys.executable, "-m", "napari_defectstrain", "run"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "run: got no images" in done.stderr
