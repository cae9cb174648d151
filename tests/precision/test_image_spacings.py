"""Spacings of single images by class, and the command that measures them."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from napari_defectstrain.cli.main import main
from napari_defectstrain.columns.images.types import ImageColumnConfig, ImageColumns, NoiseModel
from napari_defectstrain.io.files import read_sites, sites_table, write_table, write_tiff
from napari_defectstrain.materials import ROLES, WSE2
from napari_defectstrain.precision.image_spacings import single_image_spacings, spacings_table
from napari_defectstrain.simulate.dataset import SimulationConfig, simulate_image
from napari_defectstrain.simulate.structure import lattice_sites
from napari_defectstrain.types import CalibratedImage, DefectStrainError, Sites

PIXEL_PM = 20.0
SIDE = 400
A_PM = 330.0
SHEAR = np.array([[1.01, 0.02], [-0.005, 0.99]])


def crystal(contraction: float = 0.05) -> tuple[CalibratedImage, Sites, ImageColumns]:
    """A sheared crystal with one SV, whose three metals have moved inwards, measured exactly."""
    site, is_metal = lattice_sites(A_PM, 5000.0)
    middle = int(np.argmin(np.hypot(*site.T) + 1e6 * is_metal))
    offset = site - site[middle]
    nearest = is_metal & (np.hypot(*offset.T) < 0.7 * A_PM)
    moved = site - contraction * np.where(nearest[:, None], offset, 0.0)
    place = (moved @ SHEAR.T)[:, ::-1] * [-1, 1] / PIXEL_PM + SIDE / 2
    inside = np.all((place > 5) & (place < SIDE - 6), axis=1)
    role = np.where(is_metal, 0, 1)
    role[middle] = ROLES.index("V1")
    place, role = place[inside], role[inside]
    sites = Sites(
        place, np.eye(7)[role], role, WSE2.class_names, np.full(len(role), "truth", dtype="<U6")
    )
    n = len(role)
    fit = ImageColumns(
        position_px=place.copy(),
        covariance_px2=np.tile(np.diag([4e-4, 1e-4]), (n, 1, 1)),
        weight=np.ones(n),
        background=np.zeros(n),
        flag=np.zeros(n, dtype=int),
        profile=None,
        noise=NoiseModel(1.0, 0.0),
        pixel_size_pm=PIXEL_PM,
        config=ImageColumnConfig(),
    )
    return CalibratedImage(np.zeros((SIDE, SIDE)), PIXEL_PM, "crystal"), sites, fit


def test_spacings_are_those_of_the_lattice_and_of_the_defect():
    image, sites, fit = crystal()
    found = single_image_spacings([image], [sites], [fit], A_PM)
    assert list(found) == ["2Se", "SV"]
    assert found["SV"].n == 1
    # the triangle has contracted by 5 %; the lattice is fitted without it as an outlier
    assert np.allclose(found["SV"].spacing_pm, 0.95 * A_PM, rtol=1e-6)
    far = np.all(np.abs(found["2Se"].spacing_pm - A_PM) < 1e-3, axis=1)
    assert far.mean() > 0.95  # all but those that share a metal column with the vacancy
    # 0.02 px along y, 0.01 px along x for each of two columns; the shear changes it little
    assert found["2Se"].sigma_pm.min() > 0.95 * np.sqrt(2) * 0.2
    assert found["2Se"].sigma_pm.max() < 1.05 * np.sqrt(2) * 0.4


def test_the_scale_may_be_the_pixel_size():
    image, sites, fit = crystal(0.0)
    found = single_image_spacings([image], [sites], [fit], A_PM, scale="pixel_size")
    side = np.deg2rad([60.0, 0.0, 120.0])  # between the metals at 90, 210 and 330 degrees
    vectors = A_PM * np.stack([np.cos(side), np.sin(side)], axis=1) @ SHEAR.T
    expected = np.sort(np.linalg.norm(vectors, axis=1))
    assert np.allclose(np.sort(found["2Se"].spacing_pm, axis=1), expected, rtol=1e-9)
    by_lattice = single_image_spacings([image], [sites], [fit], A_PM)
    assert np.allclose(by_lattice["2Se"].spacing_pm, A_PM, rtol=1e-9)


def test_columns_without_a_position_and_crowded_ones_are_left_out():
    image, sites, fit = crystal(0.0)
    whole = single_image_spacings([image], [sites], [fit], A_PM)["2Se"]
    position = fit.position_px.copy()
    metal = np.flatnonzero(sites.is_metal)[20]
    position[metal] = np.nan
    less = single_image_spacings([image], [sites], [replace(fit, position_px=position)], A_PM)
    assert whole.n - 3 <= less["2Se"].n < whole.n
    assert np.isfinite(less["2Se"].spacing_pm).all()
    alone = single_image_spacings([image], [sites], [fit], A_PM, shells=2)
    assert alone["SV"].n == 1
    assert alone["2Se"].n < whole.n - 12  # those around the vacancy, and the rim


def test_tables_and_bad_input():
    image, sites, fit = crystal()
    table = spacings_table(single_image_spacings([image], [sites], [fit], A_PM))
    assert list(table["class"]) == ["2Se", "SV"]
    assert table["mean_pm"][1] == pytest.approx(0.95 * A_PM, rel=1e-6)
    assert len(spacings_table({})) == 0
    with pytest.raises(DefectStrainError, match="expected the fit of these columns"):
        shorter = replace(fit, position_px=fit.position_px[1:])
        single_image_spacings([image], [sites], [shorter], A_PM)
    with pytest.raises(DefectStrainError, match="got the scale 'px'"):
        single_image_spacings([image], [sites], [fit], A_PM, scale="px")
    with pytest.raises(DefectStrainError, match="1 images, 1 lists of columns and 0 fits"):
        single_image_spacings([image], [sites], [], A_PM)
    uncalibrated = replace(image, pixel_size_pm=None)
    with pytest.raises(DefectStrainError, match="got no pixel size"):
        single_image_spacings([uncalibrated], [sites], [fit], A_PM, scale="pixel_size")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An image of 8 nm with its true columns."""
    folder = tmp_path_factory.mktemp("columns")
    scan = {"shape": [400, 400], "pixel_size_pm": 20.0, "rotation_deg": 11.0, "contamination": 0.0}
    config = SimulationConfig.from_dict({"scan": scan, "crystal": {"lattice_pm": 331.0}})
    made = simulate_image(config, np.random.default_rng(3), "region")
    write_tiff(folder / "region.tif", made.counts.astype(np.float32), pixel_size_pm=20.0)
    n = len(made.position_px)
    sites = Sites(
        made.position_px,
        np.eye(7)[made.class_index],
        made.class_index,
        WSE2.class_names,
        np.full(n, "truth", dtype="<U6"),
    )
    (folder / "sites").mkdir()
    write_table(folder / "sites" / "region.sites.csv", sites_table(sites, 20.0))
    return folder


@pytest.mark.slow
def test_the_command_writes_columns_and_spacings(folder, tmp_path, capsys):
    image, sites = folder / "region.tif", folder / "sites"
    arguments = ["columns", str(image), "--sites", str(sites), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--model", "gaussians", "--scale", "pixel_size"]) == 0
    said = capsys.readouterr().out
    assert "region: " in said and "median standard error" in said and "2Se" in said
    table = pd.read_csv(tmp_path / "out" / "region.columns.csv")
    truth = read_sites(sites / "region.sites.csv", WSE2.class_names)
    assert len(table) == len(truth)
    assert list(table["class"]) == list(truth.class_name)
    good = table["flag"] == 0
    assert good.mean() > 0.95
    assert np.allclose(table["x_nm"][good], table["x_px"][good] * 0.02, atol=1e-6)
    error = (table[["y_px", "x_px"]].to_numpy() - truth.position_px)[good] * 20.0
    # jitter and counts leave a few pm
    assert np.sqrt(np.mean(error**2)) < 8.0
    assert (table["sigma_y_pm"][good] > 0).all()
    spacings = pd.read_csv(tmp_path / "out" / "single_image_spacings.csv").set_index("class")
    assert spacings["scale"].eq("pixel_size").all()
    assert spacings["mean_pm"]["2Se"] == pytest.approx(331.0, rel=0.02)
    assert spacings["n"]["2Se"] > 100
    assert main(arguments) == 2  # the folder isn't empty
    assert "isn't empty" in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 0
    assert "converged" not in capsys.readouterr().err
    (tmp_path / "short.json").write_text('{"max_iterations": 3, "tolerance_px": 1e-6}')
    short = ["--model", "gaussians", "--config", str(tmp_path / "short.json")]
    assert main([*arguments, *short, "--force"]) == 0
    assert "region: the fit of all columns had not converged" in capsys.readouterr().err


@pytest.mark.slow
def test_copies_of_an_image_count_once(folder, tmp_path, capsys):
    """One picture, saved twice, is no twice as many spacings."""
    sites = tmp_path / "sites"
    sites.mkdir()
    for name in ("region", "again"):
        shutil.copy(folder / "region.tif", tmp_path / f"{name}.tif")
        shutil.copy(folder / "sites" / "region.sites.csv", sites / f"{name}.sites.csv")
    tables = []
    for names in (("region",), ("region", "again")):
        out = tmp_path / "_".join(names)
        files = [str(tmp_path / f"{name}.tif") for name in names]
        arguments = ["columns", *files, "--sites", str(sites), "--out", str(out)]
        assert main([*arguments, "--model", "gaussians"]) == 0
        tables.append(pd.read_csv(out / "single_image_spacings.csv"))
    pd.testing.assert_frame_equal(*tables)
    assert "counted once" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--sites", "nowhere"], "got no folder"),
        (["--shells", "7"], "expected 0 to 3"),
        (["--config", "bad.json"], "unknown setting"),
    ],
)
def test_the_command_says_what_is_wrong(extra, words, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text('{"sigma": 3}')
    arguments = ["columns", str(folder / "region.tif"), "--out", "out"]
    if "--sites" not in extra:
        arguments += ["--sites", str(folder / "sites")]
    assert main([*arguments, *extra]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert words in said[0]
    assert not (tmp_path / "out").exists()


def test_every_image_needs_its_table(folder, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    arguments = ["columns", str(folder / "region.tif"), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--sites", str(tmp_path / "empty")]) == 2
    assert "lacks region.sites.csv" in capsys.readouterr().err


def test_classes_of_images_are_joined_by_name():
    """Images of unlike materials, or with other named classes, number them otherwise."""
    image, sites, fit = crystal()
    names = list(WSE2.class_names)
    v1, v2 = ROLES.index("V1"), ROLES.index("V2")
    names[v1], names[v2] = "V-S", "V-S2"
    other = replace(sites, class_names=tuple(names))
    found = single_image_spacings([image, image], [sites, other], [fit, fit], A_PM)
    assert {name: spacings.n for name, spacings in found.items() if name != "2Se"} == {
        "SV": 1,
        "V-S": 1,
    }
    assert found["V-S"].image_index.tolist() == [1]
    assert found["2Se"].n == 2 * single_image_spacings([image], [sites], [fit], A_PM)["2Se"].n
