"""What an image shows: honeycombs of every material, bilayers, graphene, alloys, dark columns."""

import re
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, rotate

from napari_defectstrain.crystal.regions import NOT_2H, label_regions
from napari_defectstrain.failures import Failures
from napari_defectstrain.judge.cell import brightness_of_sublattices, find_tiles
from napari_defectstrain.judge.evidence import CellEvidence, cell_evidence
from napari_defectstrain.judge.identity import (
    AGREES,
    DOUBTFUL,
    IDENTITY_PREFIX,
    REFUSED,
    judge_identity,
)
from napari_defectstrain.judge.readings import pooled_evidence
from napari_defectstrain.judge.transfer import Transfer, _rings, fitted_transfer
from napari_defectstrain.materials import get_material
from napari_defectstrain.pipeline.fitness import (
    identify_images,
    marked,
    without_other_phases,
    without_refused,
)
from napari_defectstrain.pipeline.loading import calibrate
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulationConfig, simulate_image
from napari_defectstrain.simulate.scattering import nominal_weights
from napari_defectstrain.simulate.structure import CrystalConfig
from napari_defectstrain.types import CalibratedImage, DefectStrainError, Sites

SIDE, A_PX = 240, 14.0
"""As many lattice constants as fit four tiles."""


def places_of(site: int) -> np.ndarray:
    """Of the columns of one of the three sites, (y, x) [px]."""
    n = int(SIDE / A_PX) + 12
    index = np.mgrid[-n : n + 1, -n : n + 1].reshape(2, -1).T
    basis = A_PX * np.array([[0.0, np.sqrt(0.75)], [1.0, 0.5]])
    turn = np.deg2rad(17.0)
    basis = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ basis
    place = (index + site * np.array([1 / 3, 1 / 3])) @ basis.T + SIDE / 2
    return np.asarray(place[np.all((place > 3) & (place < SIDE - 4), axis=1)])


@lru_cache
def crystal(
    weights: tuple[float, float, float],
    vacancies: tuple[float, float, float] = (0.0, 0.0, 0.0),
    heavy: float = 0.0,
    seed: int = 3,
    noise: float = 0.06,
    end: float = 1.0,
) -> np.ndarray:
    """Three sites of given weights; a share of each has half of it, of the first twice.

    Nothing is there beyond a share `end` of the width.
    """
    rng = np.random.default_rng(seed)
    flat = np.zeros((SIDE, SIDE))
    image = np.fft.rfft2(flat) * 0
    fy, fx = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)
    for site in range(3):
        place = places_of(site)
        place = place[place[:, 1] < end * SIDE]
        weight = np.full(len(place), weights[site])
        draw = rng.random(len(place))
        weight[draw < vacancies[site]] *= 0.5
        if site == 0:
            weight[draw > 1 - heavy] *= 2.04
        rows = np.exp(-2j * np.pi * fy * place[:, 0])  # (ky, n)
        image += (rows * weight) @ np.exp(-2j * np.pi * place[:, 1:] * fx)
    blur = np.exp(-2 * (np.pi * 0.16 * A_PX) ** 2 * (fy**2 + fx**2))
    made = np.fft.irfft2(image * blur, s=flat.shape) * 2 * np.pi * (0.16 * A_PX) ** 2
    return made + rng.normal(0, noise * max(weights), flat.shape)


def of(data: np.ndarray, a_pm: float | None = None, name: str = "x") -> CellEvidence:
    return cell_evidence(name, data, A_PX, a_pm)


def nominal(material: str) -> tuple[float, float, float]:
    return (1.0, nominal_weights(get_material(material))[1], 0.0)


def verdict(data: np.ndarray, material: str, a_pm: float | None = None) -> tuple[str, str]:
    found = judge_identity([of(data, a_pm)], get_material(material)).images[0]
    assert found.line.startswith(IDENTITY_PREFIX) or found.verdict == AGREES
    return found.verdict, found.line


def test_the_sites_of_a_cell_come_out_as_they_are():
    tiles, looked_at = find_tiles(crystal((1.0, 0.6, 0.0)), A_PX)
    assert len(tiles) == looked_at == 4
    for tile in tiles:
        weight = np.sort(tile.cell.weight)[::-1] / tile.cell.weight.max()
        assert weight == pytest.approx([1.0, 0.6, 0.0], abs=0.04)
        assert tile.cell.sign > 0.9


@pytest.mark.parametrize("sigma_px", [0.0, 2.0])
def test_blur_and_a_slow_background_change_nothing(sigma_px):
    data = crystal((1.0, 0.42, 0.0))
    ramp = np.linspace(0, 3, SIDE)
    seen = of(gaussian_filter(data, sigma_px) + ramp)
    assert seen.ratio == pytest.approx(0.42, abs=0.03)
    assert abs(seen.centre) < 0.06


@pytest.mark.parametrize("material", ["WSe2", "MoS2", "WS2", "MoSe2", "MoTe2", "WTe2"])
def test_every_material_is_what_it_is(material):
    vacancies = (0.0, 0.04, 0.0)
    data = crystal(nominal(material), vacancies)
    for its in (data, gaussian_filter(data, 1.5)):
        for a_pm in (get_material(material).lattice_pm * 1.05, None):
            assert verdict(its, material, a_pm)[0] == AGREES
    curved = np.clip(data - data.min(), 0, None)
    for gamma in (0.5, 0.7, 1.4, 1.8):
        its = (curved / curved.max()) ** gamma
        assert verdict(its, material, get_material(material).lattice_pm)[0] != REFUSED


def test_vacancies_tell_which_sublattice_is_the_chalcogens():
    data = crystal((1.0, 0.66, 0.0), (0.05, 0.0, 0.0))  # as MoSe2: Se2 is the brighter
    seen = of(data)
    assert seen.bright.half == pytest.approx(0.05, abs=0.025)
    assert seen.dim.half < 0.01
    assert verdict(data, "MoSe2")[0] == AGREES
    found, line = verdict(data, "WSe2")
    assert found == DOUBTFUL and "half the brightness lie on the bright sublattice" in line


@pytest.mark.parametrize(("asked", "share"), [("MoSe2", 0.04), ("WSe2", 0.04), ("MoTe2", 0.0)])
def test_mos2_is_not_taken_for_another_material_without_a_scale(asked, share):
    data = crystal(nominal("MoS2"), (0.0, share, 0.0))
    found, line = verdict(data, asked)
    assert found != AGREES and "MoS2" in line


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ((1.74, 1.74, 0.0), "equally bright"),  # AA'
        ((1.0, 1.74, 0.74), "bilayer"),  # AB of WSe2
        ((1.0, 0.28, 0.28), "1T"),
    ],
)
def test_bilayers_and_other_phases_are_refused(weights, said):
    found, line = verdict(crystal(weights), "WSe2", 330.0)
    assert found == REFUSED and said in line and "WSe2" in line


def test_faint_spots_do_not_make_the_transfer_fall_more_slowly():
    # k^2 = 4 at the noise and 7 below it: their size is never less than the noise, their amplitude
    # along the phase of {100} is; of nine tiles together it is known to a seventh
    rng = np.random.default_rng(7)
    slope, found = -0.8, []
    for _ in range(40):
        spectra = []
        for _ in range(9):
            phase = np.exp(2j * np.pi * rng.random())
            error = {1: 0.03, 3: 0.03, 4: 0.03, 7: 0.03}
            noise = rng.normal(0, 0.03, (4, 2)) @ [1, 1j] / np.sqrt(2)
            first = {
                k: complex((np.exp(slope * (k - 1)) + n) * phase)
                for k, n in zip((1, 4, 7), noise, strict=False)
            }
            spectra.append(first)
        found.append(fitted_transfer(spectra, [0.4] * 9, [error] * 9).log3)
    mean, sigma = np.mean(found), np.std(found) / np.sqrt(len(found))
    assert sigma < 0.03
    assert mean == pytest.approx(2 * slope, abs=3 * sigma + 0.02)


def test_another_lattice_is_named():
    wave = np.exp(2 * np.cos(2 * np.pi * np.arange(SIDE) / A_PX))
    found, line = verdict(np.outer(wave, wave), "WSe2", 330.0)
    assert found == REFUSED
    assert re.search(r"a square lattice, spacing 1[34].\d px; expected a hexagonal one", line)


def test_dark_columns_are_refused():
    found, line = verdict(-crystal(nominal("WSe2")), "WSe2", 330.0)
    assert found == REFUSED and "dark" in line


def test_other_spacings_are_not_taken_for_a_calibration():
    data = crystal((1.0, 0.56, 0.0))  # boron nitride
    assert verdict(data, "WSe2", 250.0)[0] == REFUSED
    found, line = verdict(data, "WSe2", None)
    assert found == DOUBTFUL and "would settle it" in line


def test_an_alloy_of_two_metals_is_named_and_counted():
    seen = of(crystal((1.0, 0.42, 0.0), heavy=0.4))
    identity = judge_identity([seen], get_material("MoS2"))
    assert identity.images[0].verdict == DOUBTFUL
    assert "alloy of two metals" in identity.lines[0]
    assert identity.alloy == pytest.approx(0.4, abs=0.04)
    few = judge_identity([of(crystal((1.0, 0.42, 0.0), heavy=0.1))], get_material("MoS2"))
    assert few.images[0].verdict == AGREES


@pytest.mark.parametrize("end", [0.5, 0.65, 0.8])
def test_nothing_beyond_an_edge_is_no_other_metal(end):
    """What slow background leaves at the lattice's sites there passed for an alloy's metal."""
    seen = of(crystal(nominal("WSe2"), (0.0, 0.04, 0.0), end=end), 330.0)
    assert judge_identity([seen], get_material("WSe2")).images[0].verdict == AGREES
    # and hid one that is there
    seen = of(crystal(nominal("WSe2"), heavy=0.4, end=end), 330.0)
    identity = judge_identity([seen], get_material("WSe2"))
    assert identity.images[0].verdict == DOUBTFUL
    assert identity.alloy == pytest.approx(0.4, abs=0.07)


def test_an_image_unlike_the_others_is_doubted_alone():
    good = [of(crystal(nominal("MoS2"), (0.0, 0.04, 0.0), seed=s), 316.0) for s in (3, 4, 5)]
    odd = of(crystal((1.0, 0.24, 0.0), (0.0, 0.04, 0.0)), 316.0, "odd")
    identity = judge_identity([*good, odd], get_material("MoS2"))
    assert [v.verdict for v in identity.images] == [AGREES, AGREES, AGREES, DOUBTFUL]
    assert identity.lines[0].startswith(f"{IDENTITY_PREFIX}odd: ")


def test_elements_without_cross_sections_are_judged_by_geometry_alone():
    material = get_material("TaS2(Se, 331.5)")
    assert judge_identity([of(crystal((1.0, 0.1, 0.0)))], material).verdict == AGREES
    assert judge_identity([of(crystal((1.0, 1.74, 0.74)))], material).verdict == REFUSED


def test_an_image_without_a_clear_cell_is_doubted():
    noise = np.random.default_rng(0).normal(size=(SIDE, SIDE))
    found, line = verdict(noise, "WSe2")
    assert found == DOUBTFUL and "no unit cell" in line


def test_refused_images_are_left_out_unless_forced():
    material = get_material("WSe2")
    pixel = material.lattice_pm / A_PX
    images = {
        k: calibrate(CalibratedImage(data, pixel, name), material)[0]
        for k, (name, data) in enumerate(
            {
                "good": crystal(nominal("WSe2"), (0.0, 0.04, 0.0)),
                "two_layers": crystal((1.74, 1.74, 0.0)),
            }.items()
        )
    }
    failures = Failures()
    kept, identity = without_refused(images, material, False, failures)
    assert [image.name for image in kept.values()] == ["good"]
    assert failures.found[0].name == "two_layers"
    assert failures.found[0].reason.startswith(IDENTITY_PREFIX)
    assert identity.verdict == AGREES and len(identity.to_dict()["images"]) == 1
    kept, identity = without_refused(images, material, True, Failures())
    assert len(kept) == 2 and identity.verdict == DOUBTFUL
    with pytest.raises(DefectStrainError, match=IDENTITY_PREFIX):
        without_refused(images, material, False, Failures(strict=True))


def test_populations_say_which_images_are_doubtful():
    import pandas as pd

    material = get_material("WSe2")
    image = calibrate(CalibratedImage(crystal((1.74, 1.74, 0.0)), 23.57, "two"), material)[0]
    identity = identify_images([image], material, forced=True)
    table = pd.DataFrame({"image": ["two", "all"], "columns": [3, 3]})
    assert marked(table, identity)["identity"].tolist() == [DOUBTFUL, DOUBTFUL]
    sure = replace(identity, images=(replace(identity.images[0], verdict=AGREES),))
    assert "identity" not in marked(table, sure)


def test_of_an_alloy_only_classes_that_were_named_are_measured():
    from napari_defectstrain.pipeline.fitness import asked_of_an_alloy
    from napari_defectstrain.pipeline.runs import RunConfig, RunResult

    identity = judge_identity([of(crystal((1.0, 0.42, 0.0), heavy=0.4))], get_material("MoS2"))
    stacks = dict.fromkeys(("2S", "SSe", "SV", "W@metal"))
    config = RunConfig(material="MoS2 + W=2.04@metal")
    found = RunResult(config, (), (), None, None, identity=identity)
    left, said = asked_of_an_alloy(stacks, found)
    assert list(left) == ["2S", "W@metal"]
    assert said[0].startswith("SSe, SV: not measured")
    forced = replace(found, identity=replace(identity, forced=True))
    assert asked_of_an_alloy(stacks, forced) == (stacks, ())


def test_a_bent_contrast_is_no_reason_to_see_filled_hexagons():
    """Smoothing and gamma make other sums of the spots, of which filled centres could be read."""
    material = get_material("WTe2")
    rng = np.random.default_rng(9)
    config = SimulationConfig(
        crystal=CrystalConfig(material="WTe2", fractions=(0.02, 0.01, 0.04, 0.004)),
        scan=ScanConfig(
            shape=(224, 224), pixel_size_pm=25.0, dose_e_per_nm2=1.2e7, jitter_px=0.8,
            read_noise=0.1, contamination=0.1,
        ),
    )  # fmt: skip
    image = gaussian_filter(simulate_image(config, rng).image.data.astype(float), 2.0)
    image = (image - image.min()) / np.ptp(image)
    for gamma in (0.5, 0.7, 1.4, 1.8):
        seen, _ = calibrate(CalibratedImage(image**gamma, 25.0, "bent"), material)
        verdict = identify_images([seen], material).images[0]
        assert verdict.verdict != "refused", verdict.line


@pytest.mark.parametrize("material", ["MoSe2", "WSe2", "WTe2"])
@pytest.mark.parametrize(("sigma_px", "gamma", "cut"), [(2.0, 1.4, 0.02), (2.4, 1.3, 0.0)])
def test_a_smoothed_picture_with_a_gamma_has_empty_hexagons(material, sigma_px, gamma, cut):
    """Twice {100} lies at {200}, of which smoothing left nothing: once refused, or doubted."""
    data = gaussian_filter(crystal(nominal(material), (0.0, 0.03, 0.0)), sigma_px)
    low, high = np.quantile(data, [1.5 * cut, 1 - cut])
    bent = ((np.clip(data, low, high) - low) / (high - low)) ** gamma
    assert verdict(bent, material, get_material(material).lattice_pm) == (AGREES, "")
    bilayer = gaussian_filter(crystal((1.0, 0.6, 0.4)), sigma_px)
    low, high = np.quantile(bilayer, [1.5 * cut, 1 - cut])
    bent = ((np.clip(bilayer, low, high) - low) / (high - low)) ** gamma
    assert verdict(bent, "WSe2", get_material("WSe2").lattice_pm)[0] != AGREES


@pytest.mark.parametrize(("material", "sigma_px"), [("WS2", 3.0), ("MoS2", 3.5), ("WSe2", 2.5)])
def test_what_a_gamma_turns_over_is_no_dark_column(material, sigma_px):
    """The square of {100} turned {110} over: refused as ABF once, or ratios were wrong."""
    data = gaussian_filter(crystal(nominal(material), (0.0, 0.04, 0.0), noise=0.03), sigma_px)
    bent = ((data - data.min()) / np.ptp(data)) ** 0.62
    seen = of(bent)
    assert seen.sign > 0.9
    assert seen.ratio == pytest.approx(nominal(material)[1], abs=0.03)
    assert abs(seen.centre) < 0.06
    a_pm = get_material(material).lattice_pm
    assert verdict(bent, material, a_pm) == (AGREES, "")
    found, line = verdict(1.0 - bent, material, a_pm)
    assert found == REFUSED and "dark" in line


def test_a_sum_of_another_sign_is_straightened():
    made = Transfer(-1.78, 0.0, (-0.09, 0.01), 2.5)
    rings = _rings(0.99 + 0.27j, 1.27, made)
    assert rings[3].real < 0
    one, total = made.straightened(rings[1], rings[3].real)
    assert (one.real, one.imag) == pytest.approx((0.99, 0.27), abs=0.01)
    assert total == pytest.approx(1.27, rel=0.05)


def side_by_side(left: tuple[float, float, float], right: tuple[float, float, float]) -> np.ndarray:
    share = 1 / (1 + np.exp(-(np.arange(SIDE) - SIDE / 2) / 3))
    return crystal(left, (0.0, 0.04, 0.0)) * (1 - share) + crystal(right) * share


@pytest.mark.parametrize("material", ["MoS2", "WSe2"])
def test_a_part_of_another_phase_is_left_out(material):
    """The rest is counted, and the part named: once passed in silence, or refused as a bilayer."""
    metal, pair, _ = nominal(material)
    seen = of(side_by_side((metal, pair, 0.0), (metal, pair / 2, pair / 2)))
    found = judge_identity([seen], get_material(material)).images[0]
    assert found.verdict == DOUBTFUL
    assert "as in 1T, and that part is left out" in found.line
    assert found.left_out and all(left > SIDE / 4 for _, left, _, _ in found.left_out)
    assert seen.ratio == pytest.approx(min(pair, 1 / pair), abs=0.06)


@pytest.mark.parametrize("material", ["MoS2", "MoSe2", "WS2"])
@pytest.mark.parametrize("under", [True, False])
def test_a_part_of_a_bilayer_is_no_other_phase(material, under):
    metal, pair, _ = nominal(material)
    both = metal + pair
    other = (metal, pair, 0.0) if under else (both, both, 0.0)
    found, line = verdict(side_by_side(other, (both, max(metal, pair), min(metal, pair))), material)
    assert found == REFUSED and "bilayer" in line


def test_columns_in_another_phase_are_left_out():
    position = np.array([[5.0, 5.0], [5.0, 25.0], [15.0, 25.0], [25.0, 5.0]])
    labels = np.ones((30, 30), dtype=np.uint8)
    labels[:, 15:] = NOT_2H
    labels[20:] = NOT_2H
    sites = Sites(
        position,
        np.eye(7)[[0, 1, 1, 0]],
        np.array([0, 1, 1, 0]),
        tuple("abcdefg"),
        np.full(4, "model"),
    )
    kept = without_other_phases(
        sites, label_regions(labels, None), ((0, 10, 10, 30), (0, 0, 10, 10))
    )
    assert np.array_equal(kept.position_px, position[[0, 2, 3]])


@pytest.mark.parametrize("bend", [(0.0, 0.0), (0.1, 0.0), (-0.08, 0.02)])
def test_bend_and_transfer_are_told_apart(bend):
    made = Transfer(-1.1, 0.0, bend, 2.5)
    rings = _rings(0.8 + 0.6j, 3.2, made)
    first = {k: rings[k] for k in (1, 4, 7)}
    error = dict.fromkeys(rings, 0.001)
    found = fitted_transfer([first] * 4, [rings[3].real] * 4, [error] * 4)
    assert found.slope == pytest.approx(-1.1, abs=0.06)
    assert found.bend == pytest.approx(bend, abs=0.03)
    one, total = found.straightened(rings[1], rings[3].real)
    assert (one.real, one.imag) == pytest.approx((0.8, 0.6), abs=0.05)
    assert total == pytest.approx(3.2, rel=0.1)


def test_few_odd_columns_count_where_the_ratio_is_another_metals():
    """MoSe2 with 95 % of W: once passed in silence where few chalcogens were missing."""
    seen = of(crystal((1.0, 0.78, 0.0), (0.07, 0.04, 0.0), noise=0.03, seed=5), 329.0)
    few = replace(seen, metal_brighter=0.004, dim=replace(seen.dim, half=3.2 / seen.dim.n))
    found = judge_identity([few], get_material("MoSe2")).images[0]
    assert found.verdict == DOUBTFUL and "W that holds Mo" in found.line
    for usual in ({"ratio": 0.66}, {"metal_brighter": -0.04}, {"dim": replace(few.dim, half=0.0)}):
        assert judge_identity([replace(few, **usual)], get_material("MoSe2")).verdict == AGREES


def test_few_columns_as_bright_as_another_metals_are_doubted():
    """MoSe2 with 95 % of W, a field of 4 nm: no chalcogen happens to be missing."""
    seen = of(crystal((1.0, 0.75, 0.0), (0.05, 0.0, 0.0), noise=0.03, seed=5), 329.0)
    few = replace(seen, dim=replace(seen.dim, n=60), metal_brighter=-0.035, ratio=0.75)
    few = replace(few, bright=replace(few.bright, n=60))
    found = judge_identity([few], get_material("MoSe2")).images[0]
    assert found.verdict == DOUBTFUL and "few vacancies" in found.line
    enough = replace(seen.bright, n=300), replace(seen.dim, n=300)
    for usual in ({"ratio": 0.66}, {"dim": enough[1]}):
        assert judge_identity([replace(few, **usual)], get_material("MoSe2")).verdict == AGREES
    # 90 % of W, a larger field: columns of many kinds on the dim sublattice weigh against vacancies
    for against, expected in ((0.02, DOUBTFUL), (0.0, AGREES)):
        many = replace(few, bright=enough[0], dim=enough[1], metal_brighter=against)
        assert judge_identity([many], get_material("MoSe2")).verdict == expected


@pytest.mark.parametrize(("asked", "ratio"), [("MoSe2", 0.73), ("WSe2", 0.66)])
def test_another_metal_without_vacancies_is_doubted(asked, ratio):
    """Perfect WSe2 asked for as MoSe2, and the reverse, passed: their spacings are the same."""
    seen = of(crystal((1.0, ratio, 0.0), noise=0.03, seed=5), 329.0)
    found = judge_identity([replace(seen, metal_brighter=0.0)], get_material(asked)).images[0]
    assert found.verdict == DOUBTFUL and "vacancies" in found.line


def test_vacancies_tell_the_metal_whatever_the_ratio():
    """A real MoSe2 is as bright as .80: six of 115 Se columns lack one atom, no Mo does."""
    seen = of(crystal((1.0, 0.75, 0.0), noise=0.03, seed=5), 329.0)
    bright, dim = replace(seen.bright, n=115, half=6 / 115), replace(seen.dim, n=115, half=0.0)
    real = replace(seen, ratio=0.8, metal_brighter=-0.006, bright=bright, dim=dim)
    assert judge_identity([real], get_material("MoSe2")).verdict == AGREES
    found = judge_identity([replace(real, ratio=0.71)], get_material("WSe2")).images[0]
    assert found.verdict == DOUBTFUL and "MoSe2 fits better" in found.line


def test_vacancies_are_told_where_both_sublattices_are_resolved():
    """Boron nitride given as MoSe2 passed: where half can't be seen, none is seen."""
    seen = of(crystal((1.0, 0.54, 0.0), (0.0155, 0.0, 0.0), noise=0.03, seed=5), None)
    noisy = replace(seen, metal_brighter=-0.001, dim=replace(seen.dim, scatter=0.245, half=0.0))
    assert pooled_evidence([seen]).vacancies_dim is False
    assert pooled_evidence([noisy]).vacancies_dim is None
    assert judge_identity([noisy], get_material("MoSe2")).verdict == DOUBTFUL


def test_mo_beside_w_is_not_taken_for_vacancies_of_mose2():
    """A tenth of Mo, a few vacancies: what lies on the dim sublattice is none of Mo's."""
    seen = of(crystal((1.0, 0.72, 0.0), (0.1, 0.03, 0.0), noise=0.03, seed=5), 329.0)
    found = pooled_evidence([seen])
    assert found.vacancies_dim is not False and found.for_dim_chalcogens > 0
    assert judge_identity([seen], get_material("WSe2")).verdict == AGREES


def test_bent_grey_values_refuse_no_assignment():
    """Good WSe2 with a gamma, under dirt, was refused as an alloy whose chalcogens outshine W."""
    seen = replace(of(crystal((1.0, 0.7, 0.0)), 329.0), metal_brighter=-0.17)
    assert judge_identity([seen], get_material("WSe2")).verdict == REFUSED
    bent = judge_identity([replace(seen, centre_sigma=0.04)], get_material("WSe2")).images[0]
    assert bent.verdict == DOUBTFUL and "several kinds" in bent.line


@pytest.mark.parametrize("angle", [0.0, 23.0, 45.0])
def test_margins_without_data_are_no_columns(angle):
    """Turned and padded good pictures were alloys of two metals, or refused."""
    weights = (0.66, 1.0, 0.0)
    data = crystal(weights, noise=0.03, seed=5)
    fill = float(data.mean())
    if angle:
        data = rotate(data, angle, order=1, cval=fill)
    data = np.pad(data, 40, constant_values=fill)
    seen = of(data, 329.0)
    assert seen.tiles > 0 and not np.isfinite([seen.bright.second, seen.dim.second]).any()
    assert seen.ratio == pytest.approx(0.66, abs=0.03)
    assert judge_identity([seen], get_material("MoSe2")).verdict == AGREES


def test_centres_too_faint_for_a_second_layer_are_doubted():
    """A good monolayer's twins, smoothed and given a gamma: .17 of Se2 where two layers have .4."""
    seen = of(crystal((0.66, 1.0, 0.17)), 329.0)
    assert seen.filled == 1.0
    found = judge_identity([seen], get_material("MoSe2")).images[0]
    assert found.verdict == DOUBTFUL and "fainter" in found.line
    layers = of(crystal((0.40, 1.0, 0.60)), 329.0)
    assert judge_identity([layers], get_material("MoSe2")).images[0].verdict == REFUSED


def test_an_alloy_is_doubted_where_counting_leaves_a_fifth_open():
    seen = of(crystal((1.0, 0.42, 0.0), heavy=0.4))
    mine = replace(seen.bright, share=0.18)
    for n, expected in ((100, DOUBTFUL), (4000, AGREES)):
        its = replace(seen, bright=replace(mine, n=n), metal=None)
        assert judge_identity([its], get_material("MoS2")).verdict == expected


def test_no_column_counts_twice_where_tiles_overlap():
    cells = SIDE**2 / (A_PX**2 * np.sqrt(0.75))
    seen = of(crystal((1.0, 0.6, 0.0)))
    assert seen.tiles == 4
    assert 0.6 * cells < seen.bright.n < cells


@pytest.mark.parametrize("ratio", [0.45, 0.74, 1.5])
def test_brightness_of_chalcogens_is_told_by_the_lattice(ratio):
    """Whatever the blur and the background, and with metals missing or of another kind."""
    # of a third of a heavier kind the light of neighbours hides some
    for heavy, missing, off in ((0.0, 0.0, 0.04), (0.3, 0.0, 0.1), (0.0, 0.06, 0.04)):
        data = gaussian_filter(crystal((1.0, ratio, 0.0), (missing, 0.0, 0.0), heavy), 1.5)
        data = data + np.linspace(0, 3, SIDE)
        metals = places_of(0)
        seen = brightness_of_sublattices(data, A_PX, metals)
        assert seen is not None
        assert seen[0] == pytest.approx(ratio, rel=off)


@pytest.mark.parametrize("material", ["MoSe2", "WSe2"])
def test_where_mirror_twins_meet_hexagons_are_empty(material):
    """Tiles that hold both show the chalcogens of both: once refused as a bilayer."""
    metal, pair, _ = nominal(material)
    data = side_by_side((metal, pair, 0.0), (metal, 0.0, pair))
    found, line = verdict(data, material, get_material(material).lattice_pm)
    assert found == AGREES, line


def test_tiles_of_another_grain_are_no_other_lattice():
    material = get_material("WSe2")
    one = crystal(nominal("WSe2"), (0.0, 0.04, 0.0))
    turned = rotate(one, 25.0, reshape=False, mode="reflect", order=1)
    seen = of(np.concatenate([one, one, turned], axis=1))
    assert seen.foreign < 1 and seen.tiles < seen.looked_at
    assert judge_identity([seen], material).verdict != REFUSED


def test_what_bent_grey_values_leave_open_is_said():
    seen = replace(of(crystal(nominal("MoS2"), (0.0, 0.04, 0.0))), centre=0.06)
    asked = get_material("MoS2")
    assert judge_identity([replace(seen, centre_sigma=0.05)], asked).verdict == AGREES
    found = judge_identity([replace(seen, centre_sigma=0.15)], asked).images[0]
    assert found.verdict == DOUBTFUL and "the picture as it was taken" in found.line
