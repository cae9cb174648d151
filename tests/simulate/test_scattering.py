"""Cross sections and the brightness of columns that follows from them."""

import numpy as np
import pytest

from napari_defectstrain.detect.network.condition import condition_by_atoms, material_condition
from napari_defectstrain.materials import WSE2, get_material
from napari_defectstrain.simulate.conditions import Conditions
from napari_defectstrain.simulate.dataset import WSE2_WEIGHTS
from napari_defectstrain.simulate.lookalikes import (
    LOOKALIKES,
    STACKED,
    kind_names,
    layer_weights,
    lighter_chalcogen,
    stacked_row,
)
from napari_defectstrain.simulate.scattering import (
    _AT_A_TIME,
    ELEMENTS,
    _bessel,
    adf_cross_section,
    nominal_weights,
    projected_potential,
    relative_weight,
    scattering_factor,
    weights_by_atoms,
)
from napari_defectstrain.types import DefectStrainError


def test_ratios_are_those_of_published_incoherent_simulations() -> None:
    # Kirkland's incoherent program at 80 kV, 63-200 mrad: SV 0.374, SeTe 1.032, 2Te 1.315 of W;
    # given to three digits
    se, te = relative_weight("Se", "W"), relative_weight("Te", "W")
    assert se == pytest.approx(0.374, abs=1e-3)
    assert se + te == pytest.approx(1.032, abs=1e-3)
    assert 2 * te == pytest.approx(1.315, abs=1e-3)


def test_weak_phases_scatter_as_in_the_first_born_approximation() -> None:
    # At high energy carbon's phase is small; f is then the sum of Kirkland's table, which has
    # 0.2121 / (q^2 + 0.2086) ... ; the relativistic mass enters as gamma. 3 % is the second order.
    q = np.array([0.5, 1.0, 2.0])
    born = np.zeros(3)
    lorentzians = (
        (0.212080767, 0.208605417),
        (0.199811865, 0.208610186),
        (0.168254385, 5.57870773),
    )
    gaussians = ((0.14204836, 1.33311887), (0.363830672, 3.80800263), (0.000835012, 0.040398262))
    for a, b in lorentzians:
        born += a / (q**2 + b)
    for c, d in gaussians:
        born += c * np.exp(-d * q**2)
    gamma = 1 + 300 / 510.99895
    assert scattering_factor("C", 300.0, q) == pytest.approx(gamma * born, rel=0.03)


def test_cross_sections_add_over_rings_and_fall_with_angle() -> None:
    whole = adf_cross_section("Mo", 60.0, 60.0, 200.0)
    inner, outer = adf_cross_section("Mo", 60.0, 60.0, 90.0), adf_cross_section("Mo", 60.0, 90, 200)
    assert inner + outer == pytest.approx(whole, rel=1e-9)
    assert adf_cross_section("Mo", 60.0, 60.0, 61.0) > adf_cross_section("Mo", 60.0, 90.0, 91.0)


def test_heavier_atoms_scatter_more() -> None:
    order = [relative_weight(e, "W") for e in ("C", "N", "O", "Si", "S", "Se", "Nb", "Mo", "Te")]
    assert order == sorted(order)
    assert set(ELEMENTS) >= {"O", "S", "Se", "Te", "Mo", "W"}


def test_the_potential_falls_with_distance() -> None:
    r = np.array([0.01, 0.1, 0.5, 1.0, 2.0])
    v = projected_potential("W", r)
    assert (np.diff(v) < 0).all()
    assert (v > 0).all()


def test_bad_elements_and_detectors_are_refused() -> None:
    with pytest.raises(DefectStrainError, match="element: got 'Xx'"):
        adf_cross_section("Xx")
    with pytest.raises(DefectStrainError, match="expected rising"):
        adf_cross_section("W", 80.0, 200.0, 63.0)


def test_default_and_drawn_weights_lie_in_the_range_of_multislice_and_cross_sections() -> None:
    # multislice, static and with phonons, and cross sections: 2Se, SeTe, 2Te, SV relative to W
    ranges = {1: (0.654, 0.749), 2: (1.032, 1.105), 3: (1.315, 1.430), 4: (0.338, 0.374)}
    for role, (low, high) in ranges.items():
        assert low <= WSE2_WEIGHTS[role] <= high
    rng = np.random.default_rng(0)
    # the paper's beam and detector alone; other ones widen the spread further
    conditions = Conditions(energy_kev=(80.0,), inner_mrad=(63.0, 63.0), outer_mrad=(200.0, 200.0))
    drawn = np.array([conditions.draw(3000.0, rng).weights for _ in range(300)])
    for role, (low, high) in ranges.items():
        assert drawn[:, role].min() < low
        assert drawn[:, role].max() > high


def test_layers_of_a_class_sum_to_its_weight() -> None:
    table = layer_weights("WSe2", WSE2_WEIGHTS)
    assert table.shape == (6 + len(LOOKALIKES) + len(STACKED), 3)
    assert table[:6].sum(axis=1) == pytest.approx(WSE2_WEIGHTS)
    names = kind_names(WSE2)
    kinds = table[6 : 6 + len(LOOKALIKES)].sum(axis=1)
    of_kind = dict(zip(names[1:-1], kinds, strict=True))
    # one Te alone is about as bright as 2Se, Se + O about as SV, as seen in experiments
    assert of_kind["1Te"] == pytest.approx(WSE2_WEIGHTS[1], rel=0.05)
    assert WSE2_WEIGHTS[4] < of_kind["Se+O"] < 1.15 * WSE2_WEIGHTS[4]
    assert of_kind["metal vacancy"] == 0
    assert of_kind["Mo on W site"] == pytest.approx(relative_weight("Mo", "W"))
    # sulphur: between vacancies and 2Se, as in WSe2 that was made of WS2
    sulphur = relative_weight("S", "W") / relative_weight("Se", "W") * WSE2_WEIGHTS[4]
    assert of_kind["2S"] == pytest.approx(2 * sulphur)
    assert WSE2_WEIGHTS[4] < of_kind["Se+S"] == pytest.approx(WSE2_WEIGHTS[4] + sulphur)
    assert of_kind["Se+S"] < WSE2_WEIGHTS[1]
    assert of_kind["V on W site"] < of_kind["Mo on W site"]
    assert of_kind["W+Se on 2Se site"] == pytest.approx(1 + WSE2_WEIGHTS[4])
    assert table[stacked_row("M+2X")].sum() == pytest.approx(1 + 2 * WSE2_WEIGHTS[4])


@pytest.mark.parametrize(
    ("material", "expected"),
    [("WSe2", "S"), ("MoS2", "O"), ("MoTe2", "S"), ("NbSe2(S, 344.5)", "O")],
)
def test_the_lighter_chalcogen_is_neither_host_nor_substituent(
    material: str, expected: str
) -> None:
    assert lighter_chalcogen(get_material(material)) == expected


def test_a_material_by_its_atoms_is_as_bright_as_by_its_elements() -> None:
    atoms = [relative_weight(element, "W") for element in ("Se", "Te")]
    assert weights_by_atoms(*atoms) == pytest.approx(nominal_weights(WSE2))
    np.testing.assert_allclose(condition_by_atoms(*atoms), material_condition("WSe2"))


def test_nominal_weights_serve_any_material() -> None:
    for name in ("MoS2", "WS2", "MoSe2", "NbSe2(S, 344.5)"):
        weights = nominal_weights(get_material(name))
        assert weights[0] == 1
        assert weights[5] == 0
        assert 0 < weights[4] < weights[1]
    assert nominal_weights(get_material("MoSe2"))[1] > 1 > nominal_weights(get_material("MoS2"))[1]


def test_many_frequencies_are_worked_out_some_at_a_time() -> None:
    """One table of all of them would be kept, however large."""
    q = np.linspace(0.0, 4.0, _AT_A_TIME + 40)
    together = scattering_factor("Se", 80.0, q)
    parts = [scattering_factor("Se", 80.0, part) for part in np.split(q, [60, 400])]
    np.testing.assert_allclose(together, np.concatenate(parts), rtol=1e-12)
    scattering_factor("Se", 80.0, q)
    assert _bessel.cache_info().currsize == 1
    assert len(_bessel(q[_AT_A_TIME:].tobytes())) == 40
    assert scattering_factor("Se", 80.0, q[:0]).shape == (0,)
