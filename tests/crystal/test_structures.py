"""Relaxed supercells: matched, turned into the lattice frame, and used by simulated crystals."""

from functools import partial
from importlib.resources import files
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from napari_defectstrain.crystal.structure_files import read_structure
from napari_defectstrain.crystal.structures import nearest_image, read_relaxed
from napari_defectstrain.materials import ROLES
from napari_defectstrain.simulate.relaxing import relaxed_columns, relaxed_displacement
from napari_defectstrain.simulate.structure import CrystalConfig, lattice_sites, relax_crystal
from napari_defectstrain.types import DefectStrainError

PRISTINE = "pristine_9x9.extxyz"
CORNER = np.array([[0.0, 330.0 / np.sqrt(3.0)]])


@pytest.mark.parametrize(
    ("name", "role", "change"),
    [("SV", "V1", -0.073), ("DV", "V2", -0.155), ("SeTe", "XY", 0.020), ("2Te", "Y2", 0.039)],
)
def test_bundled_structures_have_the_spacings_their_readme_states(
    name: str, role: str, change: float
) -> None:
    columns = relaxed_columns(f"{name}_9x9.extxyz", PRISTINE)
    assert columns.role == role
    # stated to a tenth of a per cent
    assert columns.spacing_change == pytest.approx(change, abs=6e-4)
    assert columns.lattice_pm == pytest.approx(332.41, abs=0.01)
    assert columns.species == ("W", "Se")
    assert columns.notes == ()


def small_cell(turn: bool = False) -> Atoms:
    """A 5 x 5 cell of 2H-WSe2 with a = 3.3 angstrom; `turn` builds the lattice's other sense."""
    a, n = 3.3, 5
    cell = np.array([[a, 0, 0], [a / 2, a * np.sqrt(3) / 2, 0], [0, 0, 20.0]])
    sign = -1.0 if turn else 1.0
    atoms = Atoms(
        "WSe2",
        positions=[[0, sign * a / np.sqrt(3), 10], [0, 0, 8.32], [0, 0, 11.68]],
        cell=cell,
        pbc=True,
    )
    return atoms.repeat((n, n, 1))


def contracted(pristine: Atoms, share: float = 0.05) -> Atoms:
    """The same with the upper Se of one column gone, and its three metals pulled inwards."""
    defect = pristine.copy()
    gone = next(i for i, atom in enumerate(pristine) if atom.symbol == "Se" and atom.z > 10)
    cell = np.asarray(pristine.cell[:2, :2])
    offset = nearest_image(pristine.positions[:, :2] - pristine.positions[gone, :2], cell)
    metal = np.array([a.symbol == "W" for a in pristine])
    near = metal & (np.hypot(*offset.T) < 2.0)
    defect.positions[near, :2] -= share * offset[near]
    del defect[gone]
    return defect


def written(folder: Path, defect: Atoms, pristine: Atoms) -> tuple[Path, Path]:
    paths = folder / "defect.extxyz", folder / "pristine.extxyz"
    ase.io.write(paths[0], defect)
    ase.io.write(paths[1], pristine)
    return paths


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("angle", [0.0, 17.0, 90.0])
def test_a_known_displacement_comes_back_in_the_lattice_frame(
    turn: bool, angle: float, tmp_path: Path
) -> None:
    pristine = small_cell(turn)
    defect = contracted(pristine)
    for atoms in (pristine, defect):
        atoms.rotate(angle, "z", rotate_cell=True)
    field = read_relaxed(*written(tmp_path, defect, pristine))
    assert field.role == "V1"
    assert field.lattice_pm == pytest.approx(330.0, abs=0.01)
    assert field.spacing_change == pytest.approx(-0.05, abs=1e-5)
    # files hold eight decimals of an angstrom
    assert field.at(CORNER, 330.0) == pytest.approx(-0.05 * CORNER, abs=1e-3)
    # scaled with the lattice
    assert field.at(CORNER * 1.1, 363.0) == pytest.approx(-0.055 * CORNER, abs=1e-3)
    assert np.isnan(field.at(np.array([[0.0, 330.0]]), 330.0)).all()  # no site
    beyond = np.array([[330.0 * 3, 0.0]])  # a chalcogen site nearer to the next supercell's defect
    assert np.isnan(field.at(beyond, 330.0)).all()


def test_another_origin_and_wrapped_atoms_change_nothing(tmp_path: Path) -> None:
    pristine = small_cell()
    defect = contracted(pristine)
    defect.positions += [1.3, -2.7, 0.4]
    defect.wrap()
    field = read_relaxed(*written(tmp_path, defect, pristine))
    assert field.at(CORNER, 330.0) == pytest.approx(-0.05 * CORNER, abs=1e-3)
    assert np.nanmax(field.out_of_plane_pm) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("origin", [(0.37, 0.81), (0.05, 0.11), (0.5, 0.5), (1 / 15, 1 / 15)])
def test_any_origin_changes_nothing(tmp_path: Path, origin: tuple[float, float]) -> None:
    # shifted by a bond, metals lie where chalcogens were
    pristine = small_cell()
    defect = contracted(pristine)
    expected = read_relaxed(*written(tmp_path, defect, pristine))
    defect.positions = defect.positions + origin @ np.asarray(defect.cell[:2])
    defect.wrap()
    found = read_relaxed(*written(tmp_path, defect, pristine))
    assert found.spacing_change == pytest.approx(expected.spacing_change, abs=1e-6)
    assert found.at(CORNER, 330.0) == pytest.approx(-0.05 * CORNER, abs=1e-3)


def test_the_far_columns_stay_in_place(tmp_path: Path) -> None:
    pristine = small_cell()
    defect = contracted(pristine)
    cell = np.asarray(pristine.cell[:2, :2])
    gone = next(i for i, atom in enumerate(pristine) if atom.symbol == "Se" and atom.z > 10)
    centre = pristine.positions[gone, :2]
    # 0.7 of the supercell's reach, between two shells of columns
    far = np.hypot(*nearest_image(defect.positions[:, :2] - centre, cell).T) > 0.7 * 3.3 * 2.5 - 0.1
    defect.positions[far, :2] += [0.02, 0.01]
    field = read_relaxed(*written(tmp_path, defect, pristine))
    outermost = field.offset_pm[np.hypot(*field.offset_pm.T).argmax()]
    assert field.at(outermost[None], 330.0) == pytest.approx(np.zeros((1, 2)), abs=1e-3)
    assert field.at(CORNER, 330.0) == pytest.approx(-0.05 * CORNER - [2.0, 1.0], abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file_name", "kind"), [("CONTCAR", "vasp"), ("d.cif", "cif"), ("d.xsf", "xsf")]
)
def test_formats_of_other_programs(file_name: str, kind: str, tmp_path: Path) -> None:
    folder = Path(str(files("napari_defectstrain.sample_data")))
    pairs = {"defect": "SV_9x9.extxyz", "pristine": PRISTINE}
    paths = []
    for part, name in pairs.items():
        (tmp_path / part).mkdir()
        paths.append(tmp_path / part / file_name)
        ase.io.write(paths[-1], ase.io.read(folder / name), format=kind)
    field, bundled = read_relaxed(*paths), relaxed_columns("SV_9x9.extxyz", PRISTINE)
    site = bundled.offset_pm
    assert field.at(site, bundled.lattice_pm) == pytest.approx(
        bundled.displacement_pm, abs=2e-3, nan_ok=True
    )


def test_small_supercells_are_called_small(tmp_path: Path) -> None:
    pristine = small_cell()
    field = read_relaxed(*written(tmp_path, contracted(pristine), pristine))
    assert "1.65 nm apart" in field.notes[0]


def test_missing_columns_have_no_displacement() -> None:
    columns = relaxed_columns("DV_9x9.extxyz", PRISTINE)
    centre = np.hypot(*columns.offset_pm.T) < 1.0
    assert np.isnan(columns.displacement_pm[centre]).all()
    assert np.isfinite(columns.displacement_pm[~centre]).all()


def test_a_crystal_takes_its_displacements_from_the_structure() -> None:
    config = CrystalConfig(
        relaxed=("SeTe_9x9.extxyz", "", "SV_9x9.extxyz", ""), spacing_change=(0, 0, 0, -0.1)
    )
    site, is_metal = lattice_sites(config.lattice_pm, 3000.0)
    class_index = np.where(is_metal, 0, 1)
    centre = np.flatnonzero(np.hypot(*site.T) < 1)
    class_index[centre] = ROLES.index("V1")
    crystal = relax_crystal(config, site, is_metal, class_index, np.random.default_rng(0))
    field = partial(relaxed_displacement, defect="SV_9x9.extxyz", pristine=PRISTINE)
    expected = field(site, lattice_pm=config.lattice_pm)
    assert crystal.displacement_pm == pytest.approx(expected, abs=1e-9)
    assert crystal.own_displacement_pm == pytest.approx(crystal.displacement_pm, abs=1e-9)
    corner = crystal.position_pm[is_metal & (np.hypot(*site.T) < 200)]
    change = relaxed_columns("SV_9x9.extxyz", PRISTINE).spacing_change
    assert np.hypot(*(corner[0] - corner[1])) / config.lattice_pm - 1 == pytest.approx(
        change, abs=2e-3
    )


def test_unusable_pairs_are_refused(tmp_path: Path) -> None:
    pristine = small_cell()
    defect, perfect = written(tmp_path, pristine, pristine)
    with pytest.raises(DefectStrainError, match="0 columns differ"):
        read_relaxed(defect, perfect)
    other = pristine.copy()
    other.set_cell(other.cell[:] * 1.1)
    ase.io.write(defect, other)
    with pytest.raises(DefectStrainError, match="got different cells"):
        read_relaxed(defect, perfect)
    lost_metal = pristine.copy()
    del lost_metal[0]
    ase.io.write(defect, lost_metal)
    with pytest.raises(DefectStrainError, match="expected one chalcogen column"):
        read_relaxed(defect, perfect)
    with pytest.raises(
        DefectStrainError, match=r"relaxed: got .* expected a list of 0 or 4 entries"
    ):
        CrystalConfig(relaxed=("SV_9x9.extxyz",))


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.extxyz").write_text("no structure")
    with pytest.raises(DefectStrainError, match="ASE can't read it|got a file"):
        read_structure(tmp_path / "text.extxyz")
    with pytest.raises(DefectStrainError, match="which is no file"):
        read_structure(tmp_path / "none.cif")
    (tmp_path / "a.traj").write_bytes(b"- of Ulm" + bytes(64))
    with pytest.raises(DefectStrainError, match=r"a\.traj: got a file .*, expected one of"):
        read_structure(tmp_path / "a.traj")
    molecule = tmp_path / "molecule.xyz"
    molecule.write_text("2\nno cell\nW 0 0 0\nSe 0 0 2.5\n")
    with pytest.raises(DefectStrainError, match="without a cell"):
        read_structure(molecule)


def test_what_is_no_2h_monolayer_is_refused(tmp_path: Path) -> None:
    good = small_cell()
    lying = good.copy()
    lying.rotate(90, "x", rotate_cell=True)
    octahedral = good.copy()  # 1T: the upper chalcogen over the hexagon's centre
    upper = octahedral.positions[:, 2] > 10.5
    octahedral.positions[upper, 1] -= 3.3 / np.sqrt(3.0)
    oxide = good.copy()
    oxide.symbols[1] = "O"
    fewer = good.copy()
    del fewer[1]
    cases = {
        "one plane of constant z": lying,
        "a supercell of a 2H monolayer": octahedral,
        "one metal and one chalcogen": oxide,
        "two chalcogens a metal": fewer,
    }
    for message, pristine in cases.items():
        with pytest.raises(DefectStrainError, match=message):
            read_relaxed(*written(tmp_path, pristine, pristine))


@pytest.mark.parametrize("height", [0.0, 0.5, 9.9, -3.0])
@pytest.mark.parametrize("both", [True, False])
def test_layers_across_the_border_along_c(tmp_path: Path, height: float, both: bool) -> None:
    pristine = small_cell()
    defect = contracted(pristine)
    expected = read_relaxed(*written(tmp_path, defect, pristine))
    for atoms in (defect, pristine) if both else (defect,):
        atoms.positions[:, 2] += height - 10.0  # the layer's middle was in that of the cell
        atoms.wrap()
    found = read_relaxed(*written(tmp_path, defect, pristine))
    assert found.role == expected.role
    assert found.at(CORNER, 330.0) == pytest.approx(-0.05 * CORNER, abs=1e-3)
    assert np.nanmax(found.out_of_plane_pm) == pytest.approx(0.0, abs=1e-3)


def test_a_tilted_c_axis_carries_the_layer_along(tmp_path: Path) -> None:
    pristine = small_cell()
    cell = np.asarray(pristine.cell[:])
    cell[2, :2] = [1.1, -0.7]
    pristine.set_cell(cell)
    defect = contracted(pristine)
    for atoms in (defect, pristine):
        atoms.positions[:, 2] -= 10.0
        atoms.wrap()
    found = read_relaxed(*written(tmp_path, defect, pristine))
    assert found.at(CORNER, 330.0) == pytest.approx(-0.05 * CORNER, abs=1e-3)


@pytest.mark.parametrize(("order", "axis"), [((2, 0, 1), "a"), ((0, 2, 1), "b")])
def test_vacuum_along_another_axis_is_refused(
    tmp_path: Path, order: tuple[int, ...], axis: str
) -> None:
    upright = small_cell()
    cell = np.asarray(upright.cell[:])[list(order)][:, list(order)]
    lying = Atoms(upright.symbols, upright.positions[:, list(order)], cell=cell, pbc=True)
    ase.io.write(tmp_path / "a.extxyz", lying)
    with pytest.raises(DefectStrainError, match=f"the vacuum lies along {axis}, expected"):
        read_structure(tmp_path / "a.extxyz")


PROMISES = {
    "a.extxyz": '100000000000\nLattice="20 0 0 0 20 0 0 0 20"\nW 0 0 0\n',
    "b.xyz": f'{"9" * 300}\nLattice="20 0 0 0 20 0 0 0 20"\nW 0 0 0\n',
    "POSCAR": "W\n1.0\n9 0 0\n0 9 0\n0 0 9\nW\n100000000000\nDirect\n0 0 0\n",
    "a.gen": "100000000000 S\nW\n1 1 0 0 0\n",
    "a.xsf": "CRYSTAL\nPRIMVEC\n9 0 0\n0 9 0\n0 0 9\nPRIMCOORD\n100000000000 1\n74 0 0 0\n",
    "a.pwi": "&system\n nat = 100000000000, ntyp = 1, ibrav = 0\n/\nATOMIC_POSITIONS\nW 0 0 0\n",
}


@pytest.mark.parametrize("name", PROMISES)
def test_files_that_promise_more_atoms_than_they_hold(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(PROMISES[name])
    with pytest.raises(DefectStrainError, match="promises .* atoms in .* bytes|got a file"):
        read_structure(tmp_path / name)


def test_more_atoms_than_can_be_matched(tmp_path: Path) -> None:
    rows = "W 0 0 0\n" * 10_001
    text = f'10001\nLattice="9 0 0 0 9 0 0 0 9"\n{rows}'
    (tmp_path / "a.extxyz").write_text(text)
    with pytest.raises(DefectStrainError, match="got 10001 atoms, expected 1 to 10000"):
        read_structure(tmp_path / "a.extxyz")


@pytest.mark.parametrize("name", ["a@b.extxyz", "a@2.extxyz", "CONTCAR@300K"])
def test_at_signs_in_names(tmp_path: Path, name: str) -> None:
    kind = "extxyz" if name.endswith("extxyz") else "vasp"
    ase.io.write(tmp_path / "plain", small_cell(), format=kind)
    (tmp_path / "plain").rename(tmp_path / name)
    assert len(read_structure(tmp_path / name)) == 75
