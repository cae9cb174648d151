"""Bad input on the command line: one clear line, exit code 2, no half-written file."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from small_alloy import QUICK, relabelled, simulated, true_sites

from napari_defectstrain.cli.main import main
from napari_defectstrain.cli.references import reference_paths
from napari_defectstrain.io.files import sites_table, write_json, write_table, write_tiff
from napari_defectstrain.output.figures import files as figure_files
from napari_defectstrain.pipeline import chain as pipeline
from napari_defectstrain.theory.reference import bundled_path

PERFECT = (0.0, 0.0, 0.0, 0.0)


@pytest.fixture(autouse=True)
def no_detection(monkeypatch):
    """The network is never reached: bad input is found before."""

    def never(*_: object) -> None:
        raise AssertionError("detection began")

    monkeypatch.setattr(pipeline, "detect_images", never)


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    """Figures take most of the time of a quick run."""
    monkeypatch.setattr(figure_files, "save_figure", lambda figure, path: path.touch())


@pytest.fixture
def call(tmp_path, capsys):
    """Run the command line into a new folder; returns its exit code and what it said."""

    def run(command: str, *arguments: object, out: str = "out") -> tuple[int, str]:
        code = main([command, *map(str, arguments), "--out", str(tmp_path / out)])
        said = capsys.readouterr().err.strip()
        assert "Traceback" not in said
        assert not list(tmp_path.rglob("*.part*"))
        return code, said

    return run


def noise(shape: tuple[int, int] = (128, 128)) -> np.ndarray:
    return np.random.default_rng(0).normal(100.0, 10.0, shape)


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def with_nan() -> np.ndarray:
    data = noise()
    data[3, 4] = np.nan
    return data


def with_inf() -> np.ndarray:
    data = noise()
    data[3, 4] = np.inf
    return data


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((0, 10)), "empty|shape"),
        (np.full((128, 128), 7.0), "every pixel"),
        (with_nan(), "NaN|nan"),
        (with_inf(), "inf"),
        (noise()[..., None] * np.ones(3), "colour|128 px"),
        (noise() + 1j, "complex"),
        (np.ones((1, 1)), "1"),
        (np.array([["a", "b"], ["c", "d"]]), "numbers|type"),
        (np.zeros(10), "shape|dimension"),
    ],
    ids=["empty", "constant", "nan", "inf", "rgb", "complex", "1px", "text", "1d"],
)
def test_arrays_that_are_no_image(call, tmp_path, array, match):
    path = save(tmp_path / "bad.npy", array)
    code, said = call("run", path)
    assert code == 2
    assert len(said.splitlines()) == 1
    assert "bad" in said
    assert any(word in said for word in match.split("|")), said
    assert not (tmp_path / "out").exists()


def test_one_bad_image_among_good_ones_stops_before_any_work(call, tmp_path):
    good = save(tmp_path / "good.npy", noise())
    bad = save(tmp_path / "bad.npy", with_nan())
    code, said = call("run", good, bad)
    assert code == 2
    assert "bad" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", [".tif", ".dm3", ".dm4", ".mrc", ".png", ".npy", ".emd", ".ser"])
@pytest.mark.parametrize("content", [b"", b"this is no image at all, whatever its name says"])
def test_files_that_are_no_image(call, tmp_path, suffix, content):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    code, said = call("detect", path)
    assert code == 2
    assert len(said.splitlines()) == 1
    assert "bad" in said


@pytest.mark.parametrize("command", ["run", "detect", "series"])
@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "missing.safetensors, which is no file"),
        (b"no weights", "is no safetensors file"),
    ],
)
def test_weights_that_are_none_are_refused_once_before_any_image_is_read(
    call, tmp_path, monkeypatch, command, content, match
):
    images = [tmp_path / f"image_{k}.npy" for k in range(3)]
    for path in images:
        path.touch()  # not even read: it would be refused
    weights = tmp_path / "missing.safetensors"
    if content is not None:
        weights.write_bytes(content)
    code, said = call(command, *images, "--weights", weights)
    assert code == 2
    assert said.count("weights:") == 1
    assert match in said
    assert "image_" not in said
    assert not (tmp_path / "out").exists()


def test_unknown_kind_missing_file_and_folder(call, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    for name, match in (
        ("notes.txt", ".dm3"),
        ("missing.tif", "no such file"),
        (".", "folder"),
    ):
        code, said = call("run", tmp_path / name)
        assert code == 2
        assert match in said


def test_colour_picture(call, tmp_path):
    data = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "bad.tif", data, photometric="rgb")
    code, said = call("run", tmp_path / "bad.tif")
    assert code == 2
    assert "colour" in said or "RGB" in said


def test_too_large_an_image_is_refused_by_its_header(call, tmp_path):
    # 17k x 17k float64 would be 2.3 GB: the file is sparse, only its header is real
    path = tmp_path / "large.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(17000, 17000)).flush()
    code, said = call("run", path)
    assert code == 2
    assert "17000" in said


def test_truncated_dm3(call, tmp_path):
    folder = os.environ.get("DEFECTSTRAIN_REAL_IMAGES")
    if not folder:
        pytest.skip("needs a real dm3 in DEFECTSTRAIN_REAL_IMAGES")
    whole = min(Path(folder).glob("*.dm3")).read_bytes()
    for share in (0.001, 0.5):
        path = tmp_path / "cut.dm3"
        path.write_bytes(whole[: int(share * len(whole))])
        code, said = call("run", path)
        assert code == 2
        assert "cut.dm3" in said


# ------------------------------------------------------------------ calibration and lattice


def test_no_lattice_in_the_image(call, tmp_path):
    write_tiff(tmp_path / "noise.tif", noise((256, 256)).astype(np.float32), 20.74, {})
    code, said = call("run", tmp_path / "noise.tif")
    assert code == 2
    assert "no lattice" in said
    assert not (tmp_path / "out").exists()


def test_no_calibration_and_no_lattice(call, tmp_path):
    code, said = call("run", save(tmp_path / "noise.npy", noise((256, 256))))
    assert code == 2
    assert "no lattice" in said


@pytest.mark.parametrize("pixel_size_pm", [20.0, None])
def test_a_square_lattice_is_named(call, tmp_path, pixel_size_pm):
    u = 2 * np.pi * np.arange(256) / 16.5
    wave = np.exp(2 * np.cos(u))
    square = np.outer(wave, wave) + noise((256, 256)) / 5
    write_tiff(tmp_path / "square.tif", square.astype(np.float32), pixel_size_pm, {})
    code, said = call("run", tmp_path / "square.tif")
    assert code == 2
    of = "spacing 330 pm (16.5 px)" if pixel_size_pm else "spacing 16.5 px"
    assert f"a square lattice, {of}; expected a hexagonal one" in said


def test_inverted_contrast_is_refused_in_words(call, tmp_path):
    image = simulated(size=256)
    inverted = (image.image.data.max() - image.image.data).astype(np.float32)
    write_tiff(tmp_path / "abf.tif", inverted, image.image.pixel_size_pm, {})
    code, said = call("run", tmp_path / "abf.tif")
    assert code == 2
    assert "Identity: abf: columns are dark on a bright ground" in said
    assert "--force-material" in said


def test_frames_of_different_places_are_refused_in_words(call, tmp_path):
    frames = np.stack([simulated(seed, size=256).image.data for seed in (31, 32, 33)])
    code, said = call("run", save(tmp_path / "places.npy", frames), "--frames")
    assert code == 2
    assert "different places" in said and "separate images" in said


@pytest.mark.slow
def test_no_calibration_is_replaced_by_the_lattice(call, tmp_path):
    arguments, out = with_tables(tmp_path, pixel_size_pm=None)
    code, said = call("run", *arguments)
    assert code == 0
    assert "not calibrated" in said
    assert "20.7" in said
    assert (out / "spacings.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize("absurd", [0.02, 41.0, 2e7])
def test_absurd_calibration_is_not_believed(call, tmp_path, absurd):
    arguments, _ = with_tables(tmp_path, pixel_size_pm=absurd)
    code, said = call("run", *arguments)
    if absurd == 41.0:  # possible, but the lattice says 20.7
        assert code == 2
        assert "check the pixel size" in said
    elif absurd == 2e7:  # 20 µm: none that this package writes
        assert code == 2
        assert "its own description says pixel_size_pm" in said
    else:
        assert code == 0
        assert "taken as not calibrated" in said


@pytest.mark.parametrize("given", ["0", "-3", "nan", "inf"])
def test_absurd_calibration_on_the_command_line(call, tmp_path, given):
    arguments, _ = with_tables(tmp_path)
    code, said = call("run", *arguments, "--pixel-size-pm", given)
    assert code == 2
    assert "pixel_size_pm: got" in said


@pytest.mark.slow
def test_calibration_that_is_off_is_kept_and_said(call, tmp_path):
    arguments, _ = with_tables(tmp_path, pixel_size_pm=20.74 * 1.05)
    code, said = call("run", *arguments)
    assert code == 0
    assert "another material, or a calibration that is off" in said


# ------------------------------------------------------------------ defects


@pytest.mark.slow
def test_no_defects(call, tmp_path):
    arguments, out = with_tables(tmp_path, fractions=PERFECT)
    code, said = call("run", *arguments)
    assert code == 0
    assert "no defect could be measured" in said
    assert (out / "average_2Se.tif").exists()
    assert not (out / "average_SV.tif").exists()


@pytest.mark.slow
def test_one_defect_of_a_class(call, tmp_path):
    arguments, out = with_tables(tmp_path, fractions=PERFECT, defects="centre")
    code, said = call("run", *arguments)
    assert code == 0
    assert "SV: only one window: averaged and shown, not measured" in said
    assert (out / "average_SV.tif").exists()
    assert not (out / "strain_SV.tif").exists()


@pytest.mark.slow
def test_defects_at_the_edge(call, tmp_path):
    arguments, _ = with_tables(tmp_path, fractions=PERFECT, defects="edge")
    code, said = call("run", *arguments)
    assert code == 0
    assert "SV: no isolated column" in said


@pytest.mark.slow
def test_nothing_but_defects_keeps_the_columns(call, tmp_path):
    arguments, out = with_tables(tmp_path, fractions=PERFECT, defects="all")
    code, said = call("run", *arguments)
    assert code == 2
    assert "no defect-free column" in said
    assert f"the detected columns are in {out}" in said
    assert (out / "alloy.sites.csv").exists()
    assert (out / "run.json").exists()


# ------------------------------------------------------------------ tables and folders


@pytest.mark.slow
def test_sites_without_a_table(call, tmp_path):
    arguments, _ = with_tables(tmp_path)
    (tmp_path / "tables" / "alloy.sites.csv").unlink()
    code, said = call("run", *arguments)
    assert code == 2
    assert "lacks alloy.sites.csv" in said
    code, said = call("run", *arguments[:2], tmp_path / "nowhere")
    assert code == 2
    assert "got no folder" in said


@pytest.mark.slow
def test_sites_of_another_material_or_image(call, tmp_path):
    arguments, _ = with_tables(tmp_path)
    table = tmp_path / "tables" / "alloy.sites.csv"
    good = table.read_text()
    table.write_text(good.replace("2Se", "2S"))
    code, said = call("run", *arguments)
    assert code == 2
    assert "alloy.sites.csv" in said
    header, *rows = good.splitlines()
    far = [",".join(["99999", *row.split(",")[1:]]) for row in rows[:1]]
    table.write_text("\n".join([header, *far, *rows[1:]]))
    code, said = call("run", *arguments)
    assert code == 2
    assert "outside the image" in said


def test_out_that_is_a_file(call, tmp_path):
    (tmp_path / "out").write_text("a file")
    code, said = call("run", save(tmp_path / "a.npy", noise()))
    assert code == 2
    assert "expected a folder" in said
    assert (tmp_path / "out").read_text() == "a file"


def test_folder_that_cant_be_written(call, tmp_path, monkeypatch):
    # Permissions don't stop the superuser, so the answer of the system is what is replaced.
    monkeypatch.setattr(os, "access", lambda *_: False)
    code, said = call("run", save(tmp_path / "a.npy", noise()))
    assert code == 2
    assert "can't be" in said
    (tmp_path / "out").mkdir()
    code, said = call("run", tmp_path / "a.npy")
    assert code == 2
    assert "can't be written" in said


@pytest.mark.slow
@pytest.mark.parametrize("fails_at", ["alloy.sites.csv", "spacings.csv", "strain_SV.tif"])
def test_full_disk(call, tmp_path, monkeypatch, fails_at):
    arguments, out = with_tables(tmp_path)
    move = Path.replace

    def full(self: Path, target: Path) -> Path:
        if Path(target).name == fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", full)
    code, said = call("run", *arguments)
    assert code == 2
    assert "No space left on device" in said
    assert fails_at in said
    assert not (out / fails_at).exists()
    assert not (out / "run.json").exists()  # the sign of a finished run


@pytest.mark.slow
def test_ctrl_c_leaves_whole_files(call, tmp_path, monkeypatch):
    arguments, out = with_tables(tmp_path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    measure_classes = pipeline.measure_classes
    monkeypatch.setattr(pipeline, "measure_classes", interrupted)
    code, said = call("run", *arguments)
    assert code == 130
    assert "stopped" in said
    assert len(said.splitlines()) == 1
    # what was found before can be taken up again
    monkeypatch.setattr(pipeline, "measure_classes", measure_classes)
    again = ["run", arguments[0], "--config", tmp_path / "quick.json", "--sites", out]
    assert call(*again, out="again")[0] == 0


def test_a_table_of_defects_alone_is_refused(call, tmp_path):
    arguments, _ = with_tables(tmp_path)
    path = tmp_path / "tables" / "alloy.sites.csv"
    header, *rows = path.read_text().splitlines()
    alone = [row for row in rows if row.split(",")[4] not in ("W", "2Se")]
    path.write_text("\n".join([header, *alone]) + "\n")
    code, said = call("detect", *arguments)
    assert code == 2
    assert f"its table holds {len(alone)} columns and none of class W" in said


def with_tables(
    tmp_path: Path,
    pixel_size_pm: float | None = 20.74,
    fractions: tuple[float, ...] = (0.03, 0.02, 0.03, 0.012),
    defects: str = "",
) -> tuple[list[object], Path]:
    """Arguments of a run on one image with its true columns, and the folder of its results."""
    made = simulated(fractions=fractions, size=384)
    write_tiff(tmp_path / "alloy.tif", made.counts, pixel_size_pm, {})
    sites = true_sites(made)
    away = np.min(np.minimum(sites.position_px, 383 - sites.position_px), axis=1)
    candidates = ~sites.is_metal & {
        "": np.zeros(len(sites), bool),
        "centre": away > 150,
        "edge": away < 20,
        "all": np.ones(len(sites), bool),
    }.get(defects)
    if defects == "centre":
        candidates &= np.cumsum(candidates) == 1
    if defects == "edge":  # few enough to be hand-made: the picture shows none of them
        candidates &= np.cumsum(candidates) <= 6
    (tmp_path / "tables").mkdir()
    table = sites_table(relabelled(sites, candidates, "SV"), pixel_size_pm)
    write_table(tmp_path / "tables" / "alloy.sites.csv", table)
    write_json(tmp_path / "quick.json", QUICK)
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    arguments = [tmp_path / "alloy.tif", "--sites", tmp_path / "tables"]
    arguments += ["--config", tmp_path / "quick.json"]
    return arguments, tmp_path / "out"


@pytest.mark.parametrize("command", ["run", "detect"])
@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--reference", "SV"], "expected CLASS=DEFECT,PRISTINE"),
        (["--reference", "SV=only_one.vasp"], "expected CLASS=DEFECT,PRISTINE"),
        (["--reference", "SV=,b"], "expected CLASS=DEFECT,PRISTINE"),
        (["--reference", "SV=a,b,c"], "expected CLASS=DEFECT,PRISTINE"),
        (["--reference", "SV=nowhere.vasp,nowhere_else.vasp"], "nowhere"),
        (["--reference", "XV={SV},{pristine}"], "got the class 'XV'"),
        (["--reference", "DV={SV},{pristine}"], "expected one of DV"),
        (["--reference", "SV={SV},{pristine}", "--material", "MoS2"], "expected MoS2"),
        (["--reference", "SV={SV},{pristine}"] * 2, "got SV twice"),
        (["--elastic", "119"], "expected two numbers"),
        (["--elastic", "119,x"], "expected two numbers"),
        (["--elastic", "20,119"], "stable sheet"),
        (["--elastic", "nan,1"], "c11_n_per_m"),
    ],
)
def test_theories_that_cannot_be_compared_with(call, tmp_path, command, options, match):
    bundled = {name: bundled_path(f"{name}_9x9.extxyz") for name in ("SV", "pristine")}
    given = [option.format(**bundled) for option in options]
    code, said = call(command, save(tmp_path / "a.npy", noise()), *given)
    assert code == 2
    assert match in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_structures_are_not_written_over(call, tmp_path):
    """A structure file in the folder of the results, of the name of one of them."""
    folder = tmp_path / "out"
    folder.mkdir()
    for name, kept in (("SV", "theory.csv"), ("pristine", "pristine.extxyz")):
        shutil.copy(bundled_path(f"{name}_9x9.extxyz"), folder / kept)
    (folder / "sv.extxyz").symlink_to(folder / "theory.csv")
    given = f"SV={folder / 'sv.extxyz'},{folder / 'pristine.extxyz'}"
    image = save(tmp_path / "a.npy", noise())
    code, said = call("run", image, "--reference", given, "--force")
    assert code == 2
    assert "would be replaced by the result theory.csv" in said


def test_commas_in_the_names_of_structures(tmp_path):
    names = [tmp_path / "SV,1.vasp", tmp_path / "pristine,1.vasp"]
    for path in names:
        path.touch()
    assert reference_paths(f"SV={names[0]},{names[1]}") == ("SV", *names)
