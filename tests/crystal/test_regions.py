"""Regions of synthetic crystals whose domains, holes, distortions and dirt are known."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import tifffile
from synthetic_lattice import HEIGHTS, frame_matrix, make_crystal, render

from napari_defectstrain.cli.main import main
from napari_defectstrain.crystal.calibration import estimate_pixel_size
from napari_defectstrain.crystal.lattice import metal_sublattice
from napari_defectstrain.crystal.region_files import read_regions, regions_table, write_regions
from napari_defectstrain.crystal.region_search import divide_images, find_regions
from napari_defectstrain.crystal.regions import (
    BOUNDARY,
    CONTAMINATED,
    HOLE,
    KINDS,
    NOT_2H,
    RegionConfig,
    Regions,
    check_regions,
    label_regions,
    region_name,
    region_summary,
    usable_sites,
    without_foreign_defects,
)
from napari_defectstrain.io.files import sites_table, write_table, write_tiff
from napari_defectstrain.io.pixels import check_pixels
from napari_defectstrain.materials import WSE2
from napari_defectstrain.pipeline import chain as pipeline
from napari_defectstrain.pipeline.loading import load_images
from napari_defectstrain.pipeline.runs import RunConfig
from napari_defectstrain.types import OTHER, CalibratedImage, Cancelled, DefectStrainError, Sites

Array = npt.NDArray[np.float64]
Place = Callable[[Array], npt.NDArray[np.bool_]]

A_PM, PIXEL_PM = 330.0, 20.74
A_PX = A_PM / PIXEL_PM
SHAPE = (512, 512)
ALLOY = (0.05, 0.03, 0.05, 0.02)  # 15 % of the chalcogen columns are defects
DV = 5
BOTTOM, HEIGHT = 20.0, 100.0  # counts


def everywhere(position: Array) -> npt.NDArray[np.bool_]:
    return np.ones(len(position), dtype=bool)


def disc(y: float, x: float, radius: float) -> Place:
    return lambda position: np.hypot(*(position - [y, x]).T) < radius


def outside(place: Place) -> Place:
    return lambda position: ~place(position)


def sites_of(position: Array, role: npt.NDArray[np.int_]) -> Sites:
    return Sites(
        position_px=position,
        probabilities=np.eye(len(WSE2.class_names))[role],
        class_index=role,
        class_names=WSE2.class_names,
        source=np.full(len(role), "model"),
    )


Grain = tuple[float, Place] | tuple[float, Place, tuple[float, float]]


def made(
    *grains: Grain,
    seed: int = 0,
    distort: Place | None = None,
) -> tuple[Array, Sites]:
    """Image and located columns of grains (angle [degrees], where, a chalcogen site there [px]).

    Double vacancies are not located.
    """
    rng = np.random.default_rng(seed)
    position, role = [], []
    for k, (angle, place, *rest) in enumerate(grains):
        origin = rest[0] if rest else (256.0 + 3.0 * k, 256.0 + 5.0 * k)
        crystal = make_crystal(SHAPE, frame_matrix(PIXEL_PM, angle), A_PM, origin, rng, ALLOY)
        keep = place(crystal.position_px)
        position.append(crystal.position_px[keep])
        role.append(crystal.class_index[keep])
    where, what = np.concatenate(position), np.concatenate(role)
    if distort is not None:
        shaken = distort(where)
        where[shaken] += rng.normal(0, 0.25 * A_PX, (int(shaken.sum()), 2))
    clean = render(SHAPE, where, HEIGHTS[what], 0.19 * A_PX)
    image = rng.poisson(BOTTOM + HEIGHT * clean) + rng.normal(0, 0.05 * HEIGHT, SHAPE)
    seen = (what != DV) & ((where > 0) & (where < 511)).all(axis=1)
    # 6 pm of scatter, as columns of single images have
    found = where[seen] + rng.normal(0, 0.3, (int(seen.sum()), 2))
    return image, sites_of(found, what[seen])


def bond_px(angle: float) -> Array:
    """From a chalcogen site to its metal at 90 degrees in the lattice frame, (y, x) [px]."""
    return frame_matrix(PIXEL_PM, angle) @ np.array([0.0, A_PM / np.sqrt(3.0)])


def share(regions: Regions, label: int) -> float:
    return regions.area_px(label) / regions.labels.size


def turned_apart(a: float, b: float) -> float:
    return abs((a - b + 60) % 120 - 60)


# ---------------------------------------------------------------- domains


@pytest.mark.parametrize("angle", [0.0, 7.0, 33.0, -51.0])
def test_an_alloy_is_one_domain_to_the_rim(angle):
    image, sites = made((angle, everywhere))
    before = image.copy(), sites.position_px.copy(), sites.class_index.copy()
    regions = find_regions(image, sites, A_PX)
    # 15 % of defects, a fifth of them without a detected column, make no region of their own
    assert (regions.labels == 1).all()
    (domain,) = regions.domains
    assert turned_apart(domain.orientation_deg, angle) < 0.1
    assert (domain.sense, domain.area_px) == (1, image.size)
    assert region_summary("image", regions) == []
    for left, right in zip(before, (image, sites.position_px, sites.class_index), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("exponent", [-60, -40, 40])
def test_regions_do_not_depend_on_the_unit_of_the_grey_values(exponent):
    hole = disc(150, 150, 60)
    image, sites = made((7.0, outside(hole)))
    labels = find_regions(image, sites, A_PX).labels
    assert (labels == HOLE).any() and (labels == 1).any()
    np.testing.assert_array_equal(find_regions(image * 2.0**exponent, sites, A_PX).labels, labels)


def test_shear_of_the_scan_turns_a_domain_by_its_antisymmetric_part():
    shear = np.array([[0.02, 0.04], [-0.02, -0.01]])  # of (x, y): rotation (-0.02 - 0.04)/2 rad
    rng = np.random.default_rng(1)
    matrix = frame_matrix(PIXEL_PM, 10.0, shear)
    crystal = make_crystal(SHAPE, matrix, A_PM, (250.0, 250.0), rng, ALLOY)
    image = render(SHAPE, crystal.position_px, HEIGHTS[crystal.class_index], 0.19 * A_PX)
    inside = ((crystal.position_px > 0) & (crystal.position_px < 511)).all(axis=1)
    sites = sites_of(crystal.position_px[inside], crystal.class_index[inside])
    regions = find_regions(image, sites, A_PX)
    expected = 10.0 + np.rad2deg((shear[1, 0] - shear[0, 1]) / 2)
    # second order in the shear: 0.04^2 rad = 0.1 degrees
    assert turned_apart(regions.domains[0].orientation_deg, expected) < 0.1
    assert (regions.labels == 1).all()


def test_mirror_twins_are_two_domains_with_opposite_sense():
    def left(p: Array) -> npt.NDArray[np.bool_]:
        return p[:, 1] < 270

    image, sites = made((7.0, left), (67.0, outside(left)))
    regions = find_regions(image, sites, A_PX)
    first, second = regions.domains
    assert turned_apart(first.orientation_deg, 7.0) < 0.1
    assert turned_apart(second.orientation_deg, 67.0) < 0.1
    assert (first.sense, second.sense) == (1, -1)
    # half a lattice constant of each side of the seam is boundary, 8 px; the seam itself is ragged
    # by a column's distance, 9 px
    assert abs(first.area_px - 270 * 512) < (8 + 5) * 512
    assert abs(second.area_px - 242 * 512) < (8 + 5) * 512
    assert first.area_px + second.area_px + regions.area_px(BOUNDARY) == image.size
    seam = np.abs(np.arange(512) - 270) > 25
    assert (regions.labels[:, seam][:, :230] == 1).all()
    assert not (regions.labels[:, seam] == BOUNDARY).any()


@pytest.mark.parametrize("angle", [5.0, 10.0, 30.0, 50.0])
def test_a_turned_grain_is_a_domain(angle):
    grain = disc(250, 260, 150)
    image, sites = made((7.0, outside(grain)), (7.0 + angle, grain), seed=3)
    regions = find_regions(image, sites, A_PX)
    first, second = regions.domains
    assert turned_apart(first.orientation_deg, 7.0) < 0.1
    assert turned_apart(second.orientation_deg, 7.0 + angle) < 0.1
    # the boundary takes half a lattice constant of each side, 8 px, and up to 5 px for the grid
    # and the ragged rim
    assert np.pi * 137**2 < second.area_px < np.pi * 144**2
    assert regions.area_px(NOT_2H) == regions.area_px(HOLE) == 0


def test_grains_turned_by_less_than_the_least_angle_are_one():
    grain = disc(250, 260, 150)
    image, sites = made((7.0, outside(grain)), (8.5, grain), seed=3)
    assert len(find_regions(image, sites, A_PX).domains) == 1


def test_a_grain_too_small_to_be_a_domain_is_none():
    grain = disc(250, 260, 90)  # 115 unit cells
    image, sites = made((7.0, outside(grain)), (47.0, grain), seed=4)
    small = find_regions(image, sites, A_PX)
    large = find_regions(image, sites, A_PX, RegionConfig(min_cells=150))
    assert len(small.domains) == 2
    assert len(large.domains) == 1
    # a boundary of 8 px is taken from the domain only where it meets another, 1.7 % of it
    assert small.domains[0].area_px == pytest.approx(large.domains[0].area_px, rel=0.02)


# ---------------------------------------------------------------- holes, other phases, dirt


def test_holes_and_edges_have_their_area():
    hole = disc(200, 220, 80)

    def crystal(p: Array) -> npt.NDArray[np.bool_]:
        return ~hole(p) & (p[:, 0] + 0.3 * p[:, 1] < 500)

    image, sites = made((7.0, crystal), seed=5)
    regions = find_regions(image, sites, A_PX)
    # A crystal is as large as its unit cells: a^2 sqrt(3)/4 each column, drawn ones or lost ones.
    y, x = np.mgrid[:512, :512]
    empty = (np.hypot(y - 200, x - 220) < 80) | (y + 0.3 * x >= 500)
    assert share(regions, HOLE) == pytest.approx(empty.mean(), abs=0.01)
    assert share(regions, 1) == pytest.approx(1 - empty.mean(), abs=0.01)
    assert (regions.labels[100:300, 120:320] == HOLE).sum() == pytest.approx(
        np.pi * 80**2, rel=0.04
    )
    assert regions.area_px(CONTAMINATED) == regions.area_px(NOT_2H) == 0


def test_a_distorted_patch_is_not_2h_and_its_defects_are_other():
    patch = disc(260, 250, 110)
    image, sites = made((7.0, everywhere), seed=6, distort=patch)
    regions = find_regions(image, sites, A_PX)
    y, x = np.mgrid[:512, :512]
    true = np.hypot(y - 260, x - 250) < 110
    # with half a lattice constant of boundary around it, 8 px in 110
    assert regions.area_px(NOT_2H) == pytest.approx(true.sum(), rel=0.08)
    assert regions.domains[0].area_px == pytest.approx(
        (~true).sum() - 2 * np.pi * 110 * 8, rel=0.02
    )
    kept = without_foreign_defects(sites, regions)
    inner = disc(260, 250, 95)(sites.position_px)
    assert (kept.class_index[inner] == OTHER).all()
    assert (kept.probability[inner] == 1).all()
    far = ~disc(260, 250, 135)(sites.position_px)
    np.testing.assert_array_equal(kept.class_index[far], sites.class_index[far])
    np.testing.assert_array_equal(kept.source, sites.source)


def test_a_honeycomb_invented_over_1t_is_not_2h():
    """1T: metals as in 2H, one chalcogen over each of both hollows; a network finds one of them."""
    lower = disc(512, 256, 300)
    image, sites = made((7.0, outside(lower)), seed=7)
    matrix = frame_matrix(PIXEL_PM, 7.0)
    crystal = make_crystal(SHAPE, matrix, A_PM, (256.0, 256.0), np.random.default_rng(8))
    metal = crystal.position_px[crystal.is_metal]
    up, down = metal - bond_px(7.0), metal + bond_px(7.0)
    parts = [p[lower(p)] for p in (metal, up, down)]
    weight = np.repeat([1.0, 0.36, 0.36], [len(p) for p in parts])
    image = image + HEIGHT * render(SHAPE, np.concatenate(parts), weight, 0.19 * A_PX)
    found = np.concatenate([sites.position_px, parts[0], parts[1]])
    role = np.concatenate([sites.class_index, np.zeros(len(parts[0])), np.ones(len(parts[1]))])
    inside = ((found > 0) & (found < 511)).all(axis=1)
    regions = find_regions(image, sites_of(found[inside], role[inside].astype(int)), A_PX)
    y, x = np.mgrid[:512, :512]
    deep = np.hypot(y - 512, x - 256) < 270
    clear = np.hypot(y - 512, x - 256) > 330
    assert (regions.labels[deep] == NOT_2H).mean() > 0.99
    assert (regions.labels[clear] == 1).mean() > 0.99
    assert regions.area_px(CONTAMINATED) == 0


@pytest.mark.parametrize("columns_lost", [False, True])
def test_dirt_is_contaminated_with_or_without_columns(columns_lost):
    image, sites = made((7.0, everywhere), seed=9)
    spot = disc(200, 300, 100)
    y, x = np.mgrid[:512, :512]
    dirty = np.hypot(y - 200, x - 300) < 100
    if columns_lost:
        sites = sites_of(
            sites.position_px[~spot(sites.position_px)],
            sites.class_index[~spot(sites.position_px)],
        )
    # twice the threshold: where the rim is blurred, half of it lies at the rim
    regions = find_regions(image + 0.7 * HEIGHT * dirty, sites, A_PX)
    assert regions.area_px(CONTAMINATED) == pytest.approx(dirty.sum(), rel=0.04)
    assert regions.usable_px == pytest.approx((~dirty).sum(), rel=0.01)


def test_thin_contamination_and_slow_background_are_tolerated():
    image, sites = made((7.0, everywhere), seed=9)
    y, x = np.mgrid[:512, :512]
    uneven = image + HEIGHT * (0.2 * (np.hypot(y - 200, x - 300) < 100) + 0.1 * x / 512)
    assert (find_regions(uneven, sites, A_PX).labels == 1).all()
    strict = find_regions(uneven, sites, A_PX, RegionConfig(contamination=0.15))
    assert strict.area_px(CONTAMINATED) > 0.9 * np.pi * 100**2


def test_clusters_of_defects_are_no_region():
    image, sites = made((7.0, everywhere), seed=10)
    cluster = disc(256, 256, 0.7 * A_PX)(sites.position_px) & ~sites.is_metal
    without = sites_of(sites.position_px[~cluster], sites.class_index[~cluster])
    adatom = np.array([[256.0, 100.0], [100.0, 300.0]])
    more = sites_of(
        np.concatenate([without.position_px, adatom]),
        np.concatenate([without.class_index, [OTHER, OTHER]]),
    )
    assert (find_regions(image, more, A_PX).labels == 1).all()


def test_without_a_metal_column_nothing_is_2h():
    image, sites = made((7.0, everywhere))
    none = sites_of(sites.position_px, np.full(len(sites), OTHER))
    regions = find_regions(image, none, A_PX)
    assert (regions.labels == NOT_2H).all()
    assert regions.domains == ()
    (said,) = region_summary("image", regions)
    assert "no 2H domain" in said


# ---------------------------------------------------------------- metal sublattice


@pytest.mark.parametrize("shared", ["metal", "chalcogen"])
def test_every_domain_votes_as_a_whole(shared):
    """A small twin, and a corner where the classes err systematically, come out right."""
    twin = disc(150, 150, 60)
    origin = np.array([256.0, 256.0])
    # turned about a metal or a chalcogen site: that sublattice runs on through the boundary
    about = origin if shared == "chalcogen" else origin + bond_px(7.0) - bond_px(67.0)
    turned = (67.0, twin, (float(about[0]), float(about[1])))
    _, sites = made((7.0, outside(twin), (256.0, 256.0)), turned, seed=11)
    rng = np.random.default_rng(12)
    odds = np.where(sites.is_metal, 1.5, -1.5) + rng.normal(0, 2.0, len(sites))
    corner = (sites.position_px > 380).all(axis=1)
    odds[corner] *= -1  # 7 % of the image
    found = metal_sublattice(sites.position_px, odds)
    seam = np.abs(np.hypot(*(sites.position_px - 150).T) - 60) < A_PX
    assert np.array_equal(found[~seam], sites.is_metal[~seam])
    assert (found != sites.is_metal).mean() < 0.02


# ---------------------------------------------------------------- labels and files


def test_edited_labels_are_measured_again():
    image, sites = made((7.0, everywhere))
    labels = find_regions(image, sites, A_PX).labels.copy()
    labels[:, 300:] = 2
    labels[:100] = 0
    labels[:20, :20] = HOLE
    regions = label_regions(labels.astype(np.int64), sites)
    assert [d.index for d in regions.domains] == [1, 2]
    assert [d.area_px for d in regions.domains] == [412 * 300, 412 * 212]
    assert [d.sense for d in regions.domains] == [1, 1]
    assert regions.usable_px == 412 * 512
    kept = usable_sites(sites, regions)
    assert len(kept) == (np.rint(sites.position_px[:, 0]) >= 100).sum()
    (said,) = region_summary("x", regions)
    assert said.startswith("x: 80.5 % 2 2H domains, 0.2 % hole")


def test_a_domain_without_columns_has_no_orientation():
    image, sites = made((7.0, everywhere))
    regions = label_regions(np.full(SHAPE, 3, np.uint8), usable_sites(sites, None))
    assert regions.domains[0].sense == 1
    empty = replace(
        sites,
        position_px=np.zeros((0, 2)),
        probabilities=np.zeros((0, 7)),
        class_index=np.zeros(0, int),
        source=np.zeros(0, "<U6"),
    )
    (domain,) = label_regions(np.full(SHAPE, 3, np.uint8), empty).domains
    assert np.isnan(domain.orientation_deg)
    assert domain.sense == 0


def test_regions_come_back_from_their_files(tmp_path):
    hole = disc(200, 220, 80)
    image, sites = made((7.0, outside(hole)), seed=5)
    regions = find_regions(image, sites, A_PX)
    files = write_regions(regions, tmp_path.joinpath, "a", PIXEL_PM)
    assert [file.name for file in files] == ["a.regions.tif", "a.regions.csv"]
    back = read_regions(files[0], sites)
    np.testing.assert_array_equal(back.labels, regions.labels)
    assert back.domains == regions.domains
    table = regions_table(regions, PIXEL_PM).set_index("name")
    assert table.loc["hole", "area_nm2"] == pytest.approx(
        regions.area_px(HOLE) * 0.02074**2, rel=1e-12
    )
    assert table["fraction"].sum() == pytest.approx(1.0)
    assert table.loc["2H domain 1", "sense"] == 1
    assert list(table.index) == ["2H domain 1", *KINDS.values()]


def test_names_of_labels():
    assert [region_name(k) for k in (0, 1, 250, BOUNDARY)] == [
        "left out",
        "2H domain 1",
        "2H domain 250",
        "boundary",
    ]


def test_bad_labels_are_refused(tmp_path):
    _, sites = made((7.0, everywhere))
    with pytest.raises(DefectStrainError, match="expected a 2D image of whole numbers"):
        label_regions(np.ones(SHAPE), sites)
    with pytest.raises(DefectStrainError, match="got labels from 0 to 255, expected 0 to 254"):
        label_regions(np.array([[0, 255]]), sites)
    with pytest.raises(DefectStrainError, match="got labels from -1 to 3"):
        label_regions(np.array([[-1, 3]]), sites)
    broken = tmp_path / "a.regions.tif"
    broken.write_bytes(b"no picture")
    with pytest.raises(DefectStrainError, match=r"a\.regions\.tif: not a readable \.tif"):
        read_regions(broken, sites)
    regions = label_regions(np.ones((5, 5), int), sites)
    with pytest.raises(DefectStrainError, match="regions of image 1: got a label image of"):
        check_regions([regions], [SHAPE])
    with pytest.raises(DefectStrainError, match="got 1 label images for 2 images"):
        check_regions([None], [SHAPE, SHAPE])
    for setting in ({"contamination": 0.0}, {"min_angle_deg": 40.0}, {"min_cells": 1.0}):
        with pytest.raises(DefectStrainError, match=f"RegionConfig.{next(iter(setting))}: got"):
            RegionConfig(**setting)


@pytest.mark.slow
def test_the_command_line_takes_edited_regions(tmp_path, capsys):
    image, sites = made((7.0, everywhere))
    write_tiff(tmp_path / "a.tif", np.rint(image).clip(0).astype(np.uint16), PIXEL_PM)
    write_table(tmp_path / "a.sites.csv", sites_table(sites, PIXEL_PM))
    labels = np.ones(SHAPE, dtype=np.uint8)
    labels[:128] = CONTAMINATED
    write_regions(label_regions(labels, sites), tmp_path.joinpath, "a", PIXEL_PM)
    given = [str(tmp_path / "a.tif"), "--sites", str(tmp_path), "--regions", str(tmp_path)]
    assert main(["detect", *given, "--out", str(tmp_path / "out")]) == 0
    back = tifffile.imread(tmp_path / "out" / "a.regions.tif")
    np.testing.assert_array_equal(back, labels)
    table = pd.read_csv(tmp_path / "out" / "populations.csv").query("image == 'a'")
    usable = np.rint(sites.position_px[:, 0]) >= 128
    metals = table.set_index("class").loc["W"]
    assert metals["columns"] == (sites.is_metal & usable).sum()
    assert metals["area_nm2"] == pytest.approx(0.75 * SHAPE[0] * SHAPE[1] * 0.02074**2)
    (tmp_path / "none").mkdir()
    given[-1] = str(tmp_path / "none")
    assert main(["detect", *given, "--out", str(tmp_path / "out2")]) == 2
    assert "got no label image of regions, expected a.regions.tif" in capsys.readouterr().err


# ---------------------------------------------------------------- real images


def detected(path: Path) -> tuple[Sites, Regions]:
    """Columns and regions of a real image, by the bundled WSe2 weights and its own lattice."""
    images, _ = load_images([path])
    by_lattice = estimate_pixel_size(images[0].data, A_PM).pixel_size_pm
    found = pipeline.detect([replace(images[0], pixel_size_pm=by_lattice)], RunConfig())
    return found.sites[0], found.regions[0]


def test_no_point_defects_are_reported_in_the_1t_half(real_images):
    sites, regions = detected(real_images / "WS2Te2_motif.tif")
    # the interface runs from a third of the height on the left to two thirds on the right
    y, x = np.mgrid[: regions.labels.shape[0], : regions.labels.shape[1]]
    interface = 115 + (235 - 115) * x / 374
    assert (regions.labels[y > interface + 30] == NOT_2H).mean() > 0.99
    assert (regions.labels[y < interface - 30] == 1).mean() > 0.99
    row, column = sites.position_px.T
    lower = row > 115 + (235 - 115) * column / 374 + 30
    assert (sites.class_index[lower] == OTHER).all()
    assert ((sites.class_index[~lower] > 1) & (sites.class_index[~lower] < OTHER)).sum() > 5


def test_a_real_hole_is_found_and_the_rest_is_one_domain(real_images):
    _, regions = detected(real_images / "example_Se_implanted_MoS2.dm3")
    row, column = np.nonzero(regions.labels == HOLE)
    assert abs(row.mean() - 680) < 20
    assert abs(column.mean() - 545) < 20
    assert 1000 < len(row) < 4000  # px; the eye sees some 60 x 40
    assert len(regions.domains) == 1
    assert regions.usable_px > 0.97 * regions.labels.size


@pytest.mark.slow
def test_every_stage_of_a_large_image_asks_whether_to_go_on():
    image, sites = made((7.0, everywhere))
    picture = CalibratedImage(image, PIXEL_PM, "region", {})
    odds = np.where(sites.is_metal, 1.0, -1.0)
    tiled = np.tile(image, (3, 3))
    for work, stages in (
        (lambda progress: estimate_pixel_size(tiled, A_PM, None, progress), 4),
        (lambda progress: metal_sublattice(sites.position_px, odds, progress=progress), 6),
        (lambda progress: divide_images([picture], [sites], [A_PX], progress=progress), 9),
        (lambda progress: check_pixels(picture, progress), 1),
    ):
        told = []
        work(lambda fraction, _message, told=told: told.append(fraction))
        assert len(told) >= stages
        assert told == sorted(told) and 0.0 <= told[0] <= told[-1] < 1.0

        def stop(fraction, message, last=told[-1]):
            if fraction == last:
                raise Cancelled(message)

        with pytest.raises(Cancelled):
            work(stop)


def test_further_columns_of_a_table_go_with_the_usable_sites():
    _, sites = made((7.0, everywhere))
    note = np.array([f"row {i}" for i in range(len(sites))])
    labels = np.ones(SHAPE, dtype=np.uint8)
    labels[:, :100] = HOLE
    usable = usable_sites(replace(sites, extra={"note": note}), Regions(labels, ()))
    inside = sites.position_px[:, 1] > 99.5
    assert 0 < inside.sum() < len(sites)
    assert list(usable.extra["note"]) == list(note[inside])
