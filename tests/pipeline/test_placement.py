"""Tables whose columns lie elsewhere than they say are found out by the picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from napari_defectstrain.materials import WSE2
from napari_defectstrain.pipeline.placement import place_positions, place_sites
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulatedImage, SimulationConfig, simulate_image
from napari_defectstrain.simulate.scattering import nominal_weights
from napari_defectstrain.simulate.structure import CrystalConfig
from napari_defectstrain.types import DefectStrainError, FloatArray, Sites

PIXEL_PM = 25.0
A_PX = 330.0 / PIXEL_PM
BRIGHT = nominal_weights(WSE2)


@cache
def alloy(
    seed: int = 0,
    rotation_deg: float = 7.0,
    shape: tuple[int, int] = (256, 320),
    dose: float = 1e7,
    fractions: tuple[float, ...] = (0.056, 0.032, 0.056, 0.002),
) -> SimulatedImage:
    config = SimulationConfig(
        crystal=CrystalConfig(fractions=fractions),
        scan=ScanConfig(
            shape=shape, pixel_size_pm=PIXEL_PM, rotation_deg=rotation_deg, dose_e_per_nm2=dose
        ),
    )
    return simulate_image(config, np.random.default_rng(seed), "alloy")


def truth(simulated: SimulatedImage) -> Sites:
    shape = np.array(simulated.image.data.shape)
    inside = ((simulated.position_px >= 0) & (simulated.position_px <= shape - 1)).all(axis=1)
    names = WSE2.class_names
    index = simulated.class_index[inside]
    return Sites(
        position_px=simulated.position_px[inside],
        probabilities=np.eye(len(names))[index],
        class_index=index,
        class_names=names,
        source=np.full(len(index), "file"),
        extra={"row": np.arange(len(index)).astype(str)},
    )


def placed(simulated: SimulatedImage, sites: Sites) -> tuple[Sites, tuple[str, ...]]:
    return place_sites(simulated.image, sites, A_PX, BRIGHT)


def moved(sites: Sites, change: Callable[[FloatArray], FloatArray]) -> Sites:
    return replace(sites, position_px=change(sites.position_px))


H, W = 256, 320
WAYS: dict[str, tuple[Callable[[FloatArray], FloatArray], str]] = {
    "matlab": (lambda p: p + 1, "pixels count from 1"),
    "corner": (lambda p: p + 0.5, r"lie \+0.5 px off in y, \+0.5 px in x"),
    "oblique": (lambda p: p + (0.8, -0.6), r"lie \+0.[78]\d? px off in y, -0.[56]\d? px in x"),
    "exchanged": (lambda p: p[:, ::-1], "x and y are exchanged"),
    "y up": (lambda p: p * (-1, 1) + (H - 1, 0), "y counts from the bottom"),
    "y up from 1": (
        lambda p: p * (-1, 1) + (H, 1),
        "y counts from the bottom, pixels count from 1",
    ),
    "mirrored": (lambda p: p * (1, -1) + (0, W - 1), "x counts from the right"),
    "half turn": (lambda p: (H - 1, W - 1) - p, "from the bottom, x counts from the right"),
    "quarter turn": (
        lambda p: np.c_[p[:, 1], H - 1 - p[:, 0]],
        "x and y are exchanged, y counts from the bottom",
    ),
    "exchanged from 1": (lambda p: p[:, ::-1] + 1, "exchanged, pixels count from 1"),
    "pm": (lambda p: p * PIXEL_PM, "positions are in pm"),
    "nm": (lambda p: p * PIXEL_PM / 1000, "positions are in nm"),
    "nm exchanged": (lambda p: p[:, ::-1] * PIXEL_PM / 1000, "in nm rather than px, x and y are"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rotation_deg", [7.0, 0.0, 30.0])
def test_tables_of_other_conventions_are_made_good(way: str, rotation_deg: float) -> None:
    # at 0 and 30 degrees the lattice is its own mirror image: only the classes tell
    simulated = alloy(rotation_deg=rotation_deg)
    sites = truth(simulated)
    change, text = WAYS[way]
    found, notes = placed(simulated, moved(sites, change))
    tolerance = 0.15 if way == "oblique" else 1e-9
    np.testing.assert_allclose(found.position_px, sites.position_px, rtol=0, atol=tolerance)
    (note,) = notes
    assert note.startswith("alloy: in its table ")
    with pytest.raises(ValueError, match=text):
        raise ValueError(note)


@pytest.mark.slow
@pytest.mark.parametrize("rotation_deg", [7.0, 0.0, 30.0])
@pytest.mark.parametrize("dose", [3e5, 1e7])
def test_tables_that_fit_stay_as_they_are(rotation_deg: float, dose: float) -> None:
    simulated = alloy(rotation_deg=rotation_deg, dose=dose)
    rng = np.random.default_rng(1)
    sites = truth(simulated)
    some = sites.subset(rng.random(len(sites)) > 0.1)
    scattered = moved(some, lambda p: np.clip(p + rng.normal(0, 0.3, p.shape), 0, (H - 1, W - 1)))
    by_hand = some.position_px.copy()
    by_hand[:12] += rng.uniform(-1.5, 1.5, (12, 2))
    wrong = some.class_index.copy()
    wrong[::7] = 1  # taken for X2 by an honest mistake
    for table in (
        some,
        scattered,
        moved(some, lambda _: np.clip(by_hand, 0, (H - 1, W - 1))),
        replace(some, class_index=wrong),
    ):
        found, notes = placed(simulated, table)
        assert all("places within its crystal have no column" in note for note in notes)
        assert len(notes) == 1  # a tenth of the rows is missing
        assert found is table


@pytest.mark.parametrize("rotation_deg", [0.0, 30.0])
def test_brightness_that_no_material_has_is_no_reason_to_turn_a_table(rotation_deg: float) -> None:
    # an alloy whose "perfect" columns are bright, measured as if it were pure
    simulated = alloy(rotation_deg=rotation_deg)
    sites = truth(simulated)
    odd = (1.0, 0.2, 0.45, 0.75, 0.1, 0.0)
    assert place_sites(simulated.image, sites, A_PX, odd) == (sites, ())


def test_noise_is_no_reason_to_turn_a_table() -> None:
    simulated = alloy(dose=3e4)  # the defects are hardly seen
    sites = truth(simulated)
    assert placed(simulated, sites) == (sites, ())


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("rotation_deg", [7.0, 19.0])
def test_the_table_of_another_image_is_refused(seed: int, rotation_deg: float) -> None:
    other = truth(alloy(seed, rotation_deg))
    with pytest.raises(DefectStrainError, match="another image"):
        placed(alloy(), other)


def test_columns_of_the_same_lattice_with_other_defects_are_refused() -> None:
    # the same place of the lattice, so that every column is met, but none of the defects
    sites = truth(alloy())
    chalcogen = np.flatnonzero(sites.is_chalcogen)
    index = sites.class_index.copy()
    index[chalcogen] = np.random.default_rng(0).permutation(index[chalcogen])
    with pytest.raises(DefectStrainError, match="shows none of the defects .* another image"):
        placed(alloy(), replace(sites, class_index=index))


def test_what_fits_in_two_ways_is_not_guessed() -> None:
    perfect = alloy(rotation_deg=0.0, shape=(256, 256), fractions=(0.0, 0.0, 0.0, 0.0))
    sites = truth(perfect)
    assert placed(perfect, sites) == (sites, ())


def test_rows_outside_are_named() -> None:
    sites = truth(alloy())
    far = sites.position_px.copy()
    far[[3, 10]] = (5e9, -3.0)
    with pytest.raises(DefectStrainError, match=r"2 of \d+ columns .*\(lines 5, 12\) lie outside"):
        placed(alloy(), replace(sites, position_px=far))
    with pytest.raises(DefectStrainError, match="lie outside .* 256 x 320 px.*another image"):
        placed(alloy(), moved(sites, lambda p: p + 1e6))
    with pytest.raises(DefectStrainError, match="unlike those of a crystal of 13.2 px"):
        placed(alloy(), moved(sites, lambda p: p / 200))


@pytest.mark.parametrize("off_pm", [0.0, 30.0])
def test_rows_that_repeat_a_column_count_once(off_pm: float) -> None:
    sites = truth(alloy())
    again = np.r_[np.arange(len(sites)), 20:60]
    shift = np.zeros((len(again), 2))
    shift[len(sites) :] = np.array([-0.6, -0.8]) * off_pm / PIXEL_PM
    table = Sites(
        sites.position_px[again] + shift,
        sites.probabilities[again],
        sites.class_index[again],
        sites.class_names,
        sites.source[again],
        {"row": sites.extra["row"][again]},
    )
    found, notes = placed(alloy(), table)
    assert found.extra["row"].tolist() == sites.extra["row"].tolist()
    first = len(sites) + 2
    assert notes == (
        f"alloy: 40 rows of its table repeat a column and count once: lines {first}, {first + 1}, "
        f"{first + 2}, {first + 3}, {first + 4} and 35 more",
    )
    torn = table.class_index.copy()
    torn[-1] = 4 if torn[-1] != 4 else 1
    with pytest.raises(DefectStrainError, match=rf"lines 61, {first + 39} .* two classes"):
        placed(alloy(), replace(table, class_index=torn))


def test_a_few_columns_are_taken_as_they_are() -> None:
    sites = truth(alloy())
    few = sites.subset((sites.position_px < 40).all(axis=1))
    assert 3 < len(few) < 30
    swapped = moved(few, lambda p: p[:, ::-1])
    assert placed(alloy(), swapped) == (swapped, ())


@pytest.mark.parametrize("seed", [2, 4])
def test_some_points_without_classes_are_never_turned_onto_brighter_columns(seed):
    # a crystal that is its own mirror image
    made = alloy(seed=seed, rotation_deg=0.0, fractions=(0.02, 0.02, 0.1, 0.01))
    dark = made.position_px[np.isin(made.class_index, (4, 5))]
    inside = (dark > 2).all(axis=1) & (dark < np.array(made.image.data.shape) - 4).all(axis=1)
    points = dark[inside] + 1.0  # counted from 1
    placed, notes = place_positions(made.image, points, A_PX, strict=False)
    np.testing.assert_array_equal(placed, points)
    assert notes == ()


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("way", ["y up", "y up from 1", "mirrored", "matlab"])
@pytest.mark.parametrize("rotation_deg", [30.0, 0.0, 7.0])
def test_positions_without_classes_are_turned_rather_than_moved_as_nobody_counts(
    seed: int, way: str, rotation_deg: float
) -> None:
    # a lattice that is its own mirror image fits as it is, too: 1.5 px off, or some other offset
    made = alloy(seed=seed, rotation_deg=rotation_deg)
    truth_px = truth(made).position_px
    change, text = WAYS[way]
    found, (note,) = place_positions(made.image, change(truth_px), A_PX, strict=True)
    np.testing.assert_allclose(found, truth_px, rtol=0, atol=1e-9)
    assert text in note


def test_a_row_that_was_added_beside_a_column_is_told() -> None:
    sites = truth(alloy())
    middle = np.hypot(*(sites.position_px - (H / 2, W / 2)).T).argmin()
    rows = np.append(np.arange(len(sites)), middle)
    beside = sites.position_px[rows]
    beside[-1] += (0.0, 0.25 * A_PX)
    added = replace(sites.subset(np.arange(len(sites)) >= 0), extra={})
    table = Sites(
        beside,
        added.probabilities[rows],
        added.class_index[rows],
        added.class_names,
        added.source[rows],
    )
    found, (note,) = placed(alloy(), table)
    assert len(found) == len(sites) + 1  # it is the user's word, but not a silent one
    assert f"(line {len(sites) + 2}; the first beside line" in note


def test_a_column_that_was_moved_off_its_place_is_told() -> None:
    sites = truth(alloy())
    middle = int(np.hypot(*(sites.position_px - (H / 2, W / 2)).T).argmin())
    position = sites.position_px.copy()
    position[middle] += (0.3 * A_PX, 0.0)
    _, notes = placed(alloy(), replace(sites, position_px=position))
    assert any(f"line {middle + 2}" in note for note in notes)


def test_a_row_that_was_deleted_is_told() -> None:
    sites = truth(alloy())
    for metal in (True, False):
        own = np.flatnonzero(sites.is_metal == metal)
        away = np.hypot(*(sites.position_px[own] - (H / 2, W / 2)).T)
        gone = own[away.argmin()]
        y, x = sites.position_px[gone]
        _, (note,) = placed(alloy(), sites.subset(np.arange(len(sites)) != gone))
        assert "1 place within its crystal has no column in the table (near" in note
        assert f"near y {y:.0f}" in note
