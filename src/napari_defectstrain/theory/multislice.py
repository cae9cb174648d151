"""Images of relaxed structures by multislice, for those who have abTEM (``pip install abtem``).

Columns of an incoherent image add up; in multislice the beam scatters on one layer after the
other, and a pair of atoms is brighter than two. The structure is imaged by an aperture without
aberrations and without a source; the image is then brought to the experiment's probe in Fourier
space, by the ratio of the learnt column profile's transfer function to the aperture's, as for an
incoherent image. (abTEM: Madsen & Susi 2021, doi:10.12688/openreseurope.13015.2.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..columns.profiles import ColumnProfile, FourierWindow, aperture_transfer
from ..crystal.structure_files import read_structure
from ..crystal.structures import RelaxedColumns, nearest_image
from ..types import ClassAverage, DefectStrainError, FloatArray, Progress, StrArray, no_progress
from ..units import PM_PER_ANGSTROM, electron_wavelength_pm

RIM_PM = 150.0
"""Scanned beyond the window, for the blur at its border."""
MARGIN_PM = 500.0
"""Atoms this far outside the scan still light it, and keep its border from the vacuum."""
MAX_RATIO_FREQUENCY = 0.9
"""Share of the aperture's limit beyond which its transfer function is too small to divide by."""


@dataclass(frozen=True)
class Optics:
    """The microscope that the waves are computed for.

    Parameters
    ----------
    energy_kev, semi_angle_mrad : float
    inner_mrad, outer_mrad : float
        Of the annular detector.
    sampling_pm : float
        Of the waves; two thirds of their band reach the detector: ``lambda / 3 sampling`` is to
        exceed `outer_mrad`.
    slice_pm : float
        Thickness of the slices; the layers of a 2H monolayer lie half a thickness apart.
    """

    energy_kev: float = 80.0
    semi_angle_mrad: float = 25.0
    inner_mrad: float = 63.0
    outer_mrad: float = 200.0
    sampling_pm: float = 6.5
    slice_pm: float = 168.0


def multislice_average(
    structure: Path,
    columns: RelaxedColumns,
    average: ClassAverage,
    profile: ColumnProfile,
    optics: Optics | None = None,
    progress: Progress = no_progress,
) -> ClassAverage:
    """A noise-free class average of a relaxed structure, by multislice.

    Minutes a window: every probe position is a wave of its own, at the Nyquist step of the
    aperture.

    Parameters
    ----------
    structure : path
        Either file of the pair that `columns` was read from: the defect's or the pristine one.
    columns : RelaxedColumns
        Turns the file into the lattice frame.
    average : ClassAverage
        The measured one: size, step, lattice constant, number of windows.
    profile : ColumnProfile
        Of the experiment; decides the blur.
    optics : Optics, optional
    progress : Progress

    Raises
    ------
    DefectStrainError
        If abTEM isn't installed, or the waves don't reach the detector's outer angle.
    """
    abtem = _abtem()
    optics = optics or Optics()
    half_pm = average.mean.shape[0] // 2 * average.step_pm + RIM_PM
    symbols, place = framed_atoms(structure, columns, average.a_pm, half_pm + MARGIN_PM)
    image, step_pm = _scan(abtem, symbols, place, half_pm, optics, progress)
    blurred = _with_profile(image, step_pm, average, profile, optics)
    progress(1.0, "imaged by multislice")
    return replace(average, mean=blurred, sem=np.zeros_like(blurred), n_excluded=0)


def framed_atoms(
    structure: Path, columns: RelaxedColumns, a_pm: float, half_pm: float
) -> tuple[StrArray, FloatArray]:
    """Atoms of a supercell around its defect, in the lattice frame.

    Parameters
    ----------
    structure : path
    columns : RelaxedColumns
        Of the pair that the file belongs to.
    a_pm : float
        Lattice constant to scale to [pm].
    half_pm : float
        Half the side of the square that is filled; the supercell is repeated [pm].

    Returns
    -------
    symbols : array, `(A,)`
    place : array, `(A, 3)`
        (x, y) in the lattice frame, height above the metal plane [pm].
    """
    atoms = read_structure(structure)
    lengths = atoms.positions * PM_PER_ANGSTROM
    cell = np.asarray(atoms.cell[:2, :2]) * PM_PER_ANGSTROM
    scale = a_pm / columns.lattice_pm
    offset = nearest_image(lengths[:, :2] - columns.centre_pm, cell) @ columns.turn.T
    symbols = np.array([atom.symbol for atom in atoms])
    metal = symbols == columns.species[0]
    height = (lengths[:, 2] - lengths[metal, 2].mean()) * scale
    repeats = int(np.ceil(2.0 * half_pm / (scale * columns.reach_pm))) + 1
    shift = np.arange(-repeats, repeats + 1)
    lattice = np.stack(np.meshgrid(shift, shift), axis=-1).reshape(-1, 2) @ columns.cell_pm
    place = (offset + lattice[:, None]).reshape(-1, 2) * scale
    inside = (np.abs(place) <= half_pm).all(axis=1)
    every = len(lattice)
    placed = np.column_stack([place, np.tile(height, every)])[inside]
    return np.tile(symbols, every)[inside], placed


def _abtem() -> Any:
    try:
        import abtem
    except ImportError as error:
        raise DefectStrainError(
            "multislice: abTEM isn't installed; 'pip install abtem' adds it, or compare with "
            "incoherent images, which need nothing"
        ) from error
    return abtem


def _scan(
    abtem: Any,
    symbols: StrArray,
    place_pm: FloatArray,
    half_pm: float,
    optics: Optics,
    progress: Progress,
) -> tuple[FloatArray, float]:
    """ADF image, row 0 at the largest y, its step [pm]; the origin at the central pixel."""
    from ase import Atoms

    probe = abtem.Probe(
        energy=optics.energy_kev * 1e3, semiangle_cutoff=optics.semi_angle_mrad, device="cpu"
    )
    wavelength_pm = electron_wavelength_pm(optics.energy_kev)
    reach_mrad = 1e3 * wavelength_pm / (3.0 * optics.sampling_pm)
    if reach_mrad < optics.outer_mrad:
        raise DefectStrainError(
            f"multislice: waves sampled at {optics.sampling_pm:g} pm reach {reach_mrad:.0f} mrad, "
            f"expected the detector's {optics.outer_mrad:g} mrad; sample more finely"
        )
    side = 2.0 * (half_pm + MARGIN_PM) / PM_PER_ANGSTROM
    slices = 4.0 * optics.slice_pm / PM_PER_ANGSTROM
    middle = np.array([0.5 * side, 0.5 * side, 0.375 * slices])  # metals amid the second slice
    atoms = Atoms(
        list(symbols),
        positions=place_pm / PM_PER_ANGSTROM + middle,
        cell=[side, side, slices],
        pbc=True,
    )
    potential = abtem.Potential(
        atoms,
        sampling=optics.sampling_pm / PM_PER_ANGSTROM,
        slice_thickness=optics.slice_pm / PM_PER_ANGSTROM,
        parametrization="kirkland",
    )
    nyquist_pm = wavelength_pm / (4e-3 * optics.semi_angle_mrad)
    n = int(np.ceil(half_pm / nyquist_pm))
    step_pm = half_pm / n
    detector = abtem.AnnularDetector(optics.inner_mrad, optics.outer_mrad)
    rows = []
    left, right = (0.5 * side + sign * half_pm / PM_PER_ANGSTROM for sign in (-1.0, 1.0))
    for row in range(2 * n + 1):  # row by row, so that it can be stopped
        progress(row / (2 * n + 1), f"multislice, row {row + 1} of {2 * n + 1}")
        y = 0.5 * side + (n - row) * step_pm / PM_PER_ANGSTROM
        line = abtem.LineScan((left, y), (right, y), gpts=2 * n + 1, endpoint=True)
        rows.append(np.asarray(probe.scan(potential, line, detector, lazy=False).array))
    return np.array(rows), step_pm


def _with_profile(
    image: FloatArray,
    step_pm: float,
    average: ClassAverage,
    profile: ColumnProfile,
    optics: Optics,
) -> FloatArray:
    """The image with the experiment's blur, at the pixels of its average, heights of about 1."""
    size = average.mean.shape[0]
    target = FourierWindow(size, average.step_pm, profile.cutoff_per_pm)
    # mirrored, so that the border meets itself: the period is that of no frequency's window
    half = image.shape[0] // 2
    padded = np.pad(image, half, mode="reflect")
    n = len(padded)
    spectrum = np.fft.fft2(padded)
    k = np.fft.fftfreq(n, step_pm)
    kx, ky = k[None, :], -k[:, None]  # rows run downwards
    radius = np.hypot(kx, ky)
    limit = 2e-3 * optics.semi_angle_mrad / electron_wavelength_pm(optics.energy_kev)
    aperture = aperture_transfer(np.minimum(radius / limit, MAX_RATIO_FREQUENCY))
    ratio = np.where(radius < MAX_RATIO_FREQUENCY * limit, profile.transfer(kx, ky) / aperture, 0.0)
    spectrum *= ratio
    # values at the average's pixels: a Fourier series evaluated where they lie
    where = target.x_pm / step_pm + half + image.shape[0] // 2
    phase = np.exp(2j * np.pi * np.fft.fftfreq(n)[None, :] * where[:, None])
    sampled = (phase @ spectrum @ phase.T).real / n**2
    floor = float(sampled.min())
    return np.asarray((sampled - floor) / float(np.ptp(sampled)))
