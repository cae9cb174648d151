"""Relaxed structures as the displacement fields of simulated defects."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from napari_defectstrain.materials import ROLES
from napari_defectstrain.simulate.relaxed import (
    nearest_image,
    read_relaxed,
    relaxed_field,
)
from napari_defectstrain.simulate.structure import CrystalConfig, lattice_sites, relax_crystal
from napari_defectstrain.types import DefectStrainError

PRISTINE = "pristine_9x9.extxyz"


@pytest.mark.parametrize(
    ("name", "change"), [("SV", -0.073), ("DV", -0.155), ("SeTe", 0.020), ("2Te", 0.039)]
)
def test_bundled_structures_have_the_spacings_their_readme_states(name: str, change: float) -> None:
    # stated to a tenth of a per cent
    assert relaxed_field(f"{name}_9x9.extxyz", PRISTINE).spacing_change == pytest.approx(
        change, abs=6e-4
    )


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


@pytest.mark.parametrize("turn", [False, True])
def test_a_known_displacement_comes_back_in_the_lattice_frame(turn: bool, tmp_path: Path) -> None:
    pristine = small_cell(turn)
    defect = pristine.copy()
    gone = next(i for i, atom in enumerate(pristine) if atom.symbol == "Se" and atom.z > 10)
    centre = pristine.positions[gone, :2].copy()
    cell = np.asarray(pristine.cell[:2, :2])
    offset = nearest_image(pristine.positions[:, :2] - centre, cell)
    metal = np.array([a.symbol == "W" for a in pristine])
    near = metal & (np.hypot(*offset.T) < 2.0)
    defect.positions[near, :2] -= 0.05 * offset[near]  # five per cent inwards
    del defect[gone]
    ase.io.write(tmp_path / "p.extxyz", pristine)
    ase.io.write(tmp_path / "d.extxyz", defect)
    field = read_relaxed(tmp_path / "d.extxyz", tmp_path / "p.extxyz")
    assert field.lattice_pm == pytest.approx(330.0, abs=0.01)
    assert field.spacing_change == pytest.approx(-0.05, abs=1e-5)
    top = field.at(np.array([[0.0, 330.0 / np.sqrt(3)]]), 330.0)
    assert top == pytest.approx(np.array([[0.0, -0.05 * 330.0 / np.sqrt(3)]]), abs=1e-3)


def test_a_crystal_takes_its_displacements_from_the_structure() -> None:
    config = CrystalConfig(
        relaxed=("SeTe_9x9.extxyz", "", "SV_9x9.extxyz", ""), spacing_change=(0, 0, 0, -0.1)
    )
    site, is_metal = lattice_sites(config.lattice_pm, 3000.0)
    class_index = np.where(is_metal, 0, 1)
    centre = np.flatnonzero(np.hypot(*site.T) < 1)
    class_index[centre] = ROLES.index("V1")
    crystal = relax_crystal(config, site, is_metal, class_index, np.random.default_rng(0))
    field = relaxed_field("SV_9x9.extxyz", PRISTINE)
    assert crystal.displacement_pm == pytest.approx(field.at(site, config.lattice_pm), abs=1e-9)
    assert crystal.own_displacement_pm == pytest.approx(crystal.displacement_pm, abs=1e-9)
    corner = crystal.position_pm[is_metal & (np.hypot(*site.T) < 200)]
    assert np.hypot(*(corner[0] - corner[1])) / config.lattice_pm - 1 == pytest.approx(
        field.spacing_change, abs=2e-3
    )


def test_unusable_structures_are_refused(tmp_path: Path) -> None:
    pristine = small_cell()
    ase.io.write(tmp_path / "p.extxyz", pristine)
    with pytest.raises(DefectStrainError, match="0 columns differ"):
        read_relaxed(tmp_path / "p.extxyz", tmp_path / "p.extxyz")
    other = pristine.copy()
    other.set_cell(other.cell[:] * 1.1)
    ase.io.write(tmp_path / "o.extxyz", other)
    with pytest.raises(DefectStrainError, match="got different cells"):
        read_relaxed(tmp_path / "o.extxyz", tmp_path / "p.extxyz")
    (tmp_path / "text.extxyz").write_text("no structure")
    with pytest.raises(DefectStrainError, match="ASE can't read it"):
        read_relaxed(tmp_path / "text.extxyz", tmp_path / "p.extxyz")
    with pytest.raises(DefectStrainError, match="which is no file"):
        read_relaxed(tmp_path / "none.cif", tmp_path / "p.extxyz")
    with pytest.raises(DefectStrainError, match="none or four"):
        CrystalConfig(relaxed=("SV_9x9.extxyz",))
