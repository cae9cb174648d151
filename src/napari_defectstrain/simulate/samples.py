"""The samples: made by this simulator from fixed seeds, with their truth.

``defectstrain simulate --sample NAME --out DIR`` writes the files of ``sample_data/``. A wheel
leaves out the two series, which are half of the bytes: `sample_image` makes them when wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path

from .. import __version__
from ..io.files import write_table, write_tiff
from ..materials import DEFECT_ROLES, ROLES, get_material
from ..types import DefectStrainError, Progress, no_progress
from .acquisition import ScanConfig
from .changing import knock_on, simulate_changes
from .dataset import (
    SimulatedImage,
    SimulationConfig,
    simulate_image,
    simulate_series,
)
from .probe import ProbeConfig
from .structure import CrystalConfig

_DWELL_S = 2e-6


@dataclass(frozen=True)
class Sample:
    """A bundled sample: its seed, a line on what it shows, and the function that makes it."""

    seed: int
    summary: str
    make: Callable[[np.random.Generator], Iterator[SimulatedImage]]


def table_s1_probe(rng: np.random.Generator) -> ProbeConfig:
    """A probe drawn from Table S1 of Lee et al. (doi 10.1021/acs.nanolett.0c00269)."""
    return ProbeConfig(
        c3_nm=float(rng.normal(0, 500)),
        c5_mm=float(rng.normal(0, 0.5)),
        source_fwhm_pm=float(rng.normal(105, 10)),
        focal_spread_pm=float(np.clip(rng.normal(2000, 1000), 0, None)),
    )


def paper_like(rng: np.random.Generator, rotation_deg: float) -> SimulationConfig:
    """Settings of one region as in the paper: its dose, pixels, frames, alloy and probe.

    Jitter and read noise are such that W-W spacings in single images scatter by the paper's 6-8 pm.
    """
    return SimulationConfig(
        probe=table_s1_probe(rng),
        scan=ScanConfig(
            rotation_deg=rotation_deg,
            shear_x=float(rng.normal(0, 0.01)),
            shear_y=float(rng.normal(0, 0.01)),
            jitter_px=0.9,
            read_noise=0.10,
            contamination=float(rng.uniform(0.05, 0.25)),
            contamination_nm=float(rng.uniform(1.5, 4)),
            texture=0.15,
        ),
    )


def nine_regions(rng: np.random.Generator) -> Iterator[SimulatedImage]:
    """Nine images of one alloy at two scan rotations."""
    for number in range(1, 10):
        config = paper_like(rng, 8.0 if number <= 5 else 51.0)
        yield simulate_image(config, rng, f"nine_regions_{number}")


def one_region(rng: np.random.Generator) -> Iterator[SimulatedImage]:
    """A single image for a first look."""
    yield simulate_image(paper_like(rng, 20.0), rng, "one_region")


def drift_series(rng: np.random.Generator) -> Iterator[SimulatedImage]:
    """Ten frames of one region at a tenth of the dose each, drifting by 5 pm/s."""
    yield simulate_series(paper_like(rng, 14.0), rng, "drift_series", 5.0, _DWELL_S)


def dose_series(rng: np.random.Generator) -> Iterator[SimulatedImage]:
    """Thirty frames of a field of 15 nm in which the beam knocks out Se atoms one by one.

    Every Se atom has the same chance in every frame; a column that loses one becomes SV, one that
    loses both DV. The truth is that of the last frame, with the frame of each loss beside it.
    """
    frames_n, loss = 30, 0.0035
    base = paper_like(rng, 3.0)
    scan = replace(
        base.scan,
        shape=(512, 512),
        pixel_size_pm=30.0,
        dose_e_per_nm2=3.9e6,
        frames=1,
        jitter_px=0.5,
    )
    crystal_config = CrystalConfig(fractions=(0.056, 0.032, 0.004, 0.0))
    config = replace(base, scan=scan, crystal=crystal_config)
    made = simulate_changes(config, rng, "dose_series", frames_n, knock_on(loss))
    history = made.class_index  # (T, N)
    born = {
        f"{name}_frame": np.where((history == role).any(0), (history == role).argmax(0), -1)
        for name, role in (("SV", ROLES.index("V1")), ("DV", ROLES.index("V2")))
    }
    yield replace(made.image, extra=born)


SAMPLES: dict[str, Sample] = {
    "nine_regions": Sample(20200269, "nine regions of WSe2-2xTe2x, as in the paper", nine_regions),
    "one_region": Sample(20200270, "one region, for a first look", one_region),
    "drift_series": Sample(20200271, "ten frames of one drifting region", drift_series),
    "dose_series": Sample(20200272, "thirty frames in which vacancies appear", dose_series),
}


def write_sample(
    name: str,
    place: Callable[[str], Path],
    seed: int | None = None,
    progress: Progress = no_progress,
) -> dict[str, object]:
    """Make one of the bundled samples: images and truth tables.

    Parameters
    ----------
    name : str
        One of `SAMPLES`.
    place : callable
        Where to write a file, by its name.
    seed : int, optional
        Another seed makes another sample of the same kind.
    progress : Progress

    Returns
    -------
    dict
        The settings of the sample: what ``<name>.json`` holds.
    """
    sample = SAMPLES[name]
    seed = sample.seed if seed is None else seed
    settings: dict[str, object] = {}
    crystal = CrystalConfig()
    for number, simulated in enumerate(sample.make(np.random.default_rng(seed))):
        progress(min(0.99, number / 9), simulated.name)
        write_simulated(simulated, place)
        settings[simulated.name] = simulated.config.to_dict()
        crystal = simulated.config.crystal
    names = get_material(crystal.material).class_names
    change = {
        names[ROLES.index(role)]: value
        for role, value in zip(DEFECT_ROLES, crystal.spacing_change, strict=True)
    }
    progress(1.0, "done")
    return {"seed": seed, "spacing_change": change, "images": settings}


def sample_image(name: str, kept: Path | None = None, progress: Progress = no_progress) -> Path:
    """Path of the image of a sample of one image, with its truth beside it.

    The bundled file where there is one. Else, since a wheel leaves the series out, the sample is
    made from its seed, which takes seconds, and kept: the same counts, but for a few in a million
    where another libm rounds the other way.

    Parameters
    ----------
    name : str
        A sample of one image, e.g. ``"dose_series"``.
    kept : Path, optional
        Folder in which what was made is kept; default one of this version in the user's cache.
    progress : Progress

    Raises
    ------
    DefectStrainError
        If the sample has to be made and can't be kept.
    """
    image, truth = simulated_files(name)
    bundled = Path(str(files("napari_defectstrain.sample_data"))) / image
    if bundled.is_file():
        return bundled
    kept = kept or user_cache_path("napari-defectstrain") / f"samples-{__version__}"
    # the truth is written last: an image without it was broken off
    if not (kept / truth).is_file() or not (kept / image).is_file():
        try:
            kept.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DefectStrainError(
                f"{kept}: can't be made: {error.strerror or error}; make the sample elsewhere, by "
                f"defectstrain simulate --sample {name} --out FOLDER, and open it there"
            ) from error
        write_sample(name, lambda file: kept / file, progress=progress)
    return kept / image


def simulated_files(name: str) -> list[str]:
    """Names of the files of a simulated image."""
    return [f"{name}.tif", f"{name}.truth.csv"]


def write_simulated(simulated: SimulatedImage, place: Callable[[str], Path]) -> list[Path]:
    """Write ``<name>.tif`` and ``<name>.truth.csv`` where `place` says; returns their paths."""
    files = simulated_files(simulated.name)
    written = [place(files[0])]
    pixel_pm = simulated.config.scan.pixel_size_pm
    write_tiff(written[0], simulated.counts, pixel_pm, simulated.metadata)
    written.append(place(files[1]))
    write_table(written[1], simulated.truth_table())
    return written
