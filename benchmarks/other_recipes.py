"""What the second simulator draws its sets of images from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from other_crystals import LOOKALIKES

PAPER_DOSE = 1.24e7  # e/nm2


@dataclass(frozen=True)
class Recipe:
    """Ranges that one set of images is drawn from; the two numbers are a uniform range."""

    images: int
    material: str = "WSe2"
    optics: str = "WSe2"
    size_px: tuple[int, int] = (1024, 1024)
    pixel_pm: tuple[float, float] = (20.74, 20.74)
    dose: float = PAPER_DOSE
    jitter_px: tuple[float, float] = (0.5, 1.3)
    read_noise: tuple[float, float] = (0.09, 0.18)  # of a W peak
    contamination: tuple[float, float] = (0.05, 0.25)  # of a W peak
    patchy: tuple[float, float] = (0.0, 0.5)  # share of the area that is free of it
    grain: tuple[float, float] = (0.1, 0.3)  # of the contamination
    speckle: tuple[float, float] = (0.0, 0.0)  # rms of coloured noise, of a W peak
    speckle_pm: tuple[float, float] = (30.0, 300.0)  # how far it is correlated
    whole_jitter: float = 0.0  # share of the images whose lines jump by whole pixels
    aliens: dict[str, float] = field(default_factory=dict)  # share of the places of a kind
    shear: tuple[float, float] = (0.005, 0.01)
    twin: bool = False  # the lattice's mirror image beyond a line through the image
    rotations_rad: tuple[float, ...] = ()  # taken in turn; none: any
    same: dict[str, Any] = field(default_factory=dict)  # settings that all images share


# One session at one microscope on one crystal: what images share, they share. Few enough defects
# that hundreds of each class lie alone, more double vacancies than the paper's crystal held. With
# this little disorder single Gaussians of 80 pm scatter by 6-7 pm in single windows (the paper: 6).
SESSION: dict[str, Any] = {
    "fractions": {"SeTe": 0.025, "2Te": 0.02, "SV": 0.03, "DV": 0.015},
    "weights": "frozen phonons",
    "relaxation": "paper",
    "decay_pm": 600.0,
    "ripple_per_pm": 1 / 400,
    "disorder_pm": 1.0,
    "tails": 0.05,
    "tails_width_pm": 120.0,
}
STRAIN = Recipe(30, rotations_rad=(0.14, 0.89), same=SESSION)

RECIPES = {
    "paper": Recipe(12),
    "hard": Recipe(
        12,
        optics="WSe2 defocused",
        size_px=(768, 1024),
        pixel_pm=(15.0, 30.0),
        dose=PAPER_DOSE / 2,
        contamination=(0.3, 0.7),
        patchy=(0.2, 0.6),
        grain=(0.15, 0.35),
    ),
    "lookalikes": Recipe(4, aliens=dict.fromkeys(LOOKALIKES, 0.01)),
    "clean": Recipe(
        2, dose=5 * PAPER_DOSE, jitter_px=(0, 0), read_noise=(0, 0), contamination=(0, 0)
    ),
    "MoS2": Recipe(4, material="MoS2", optics="MoS2"),
    "strain": STRAIN,
    "strain structures": replace(STRAIN, same={**SESSION, "relaxation": "structures"}),
    "strain defocused": replace(STRAIN, images=10, optics="WSe2 defocused"),
    "strain 15 pm": replace(STRAIN, images=10, size_px=(1415, 1415), pixel_pm=(15.0, 15.0)),
    "strain 30 pm": replace(STRAIN, images=10, size_px=(708, 708), pixel_pm=(30.0, 30.0)),
    "strain sheared": replace(STRAIN, images=10, shear=(0.05, 0.05)),
    "strain half dose": replace(STRAIN, images=10, dose=PAPER_DOSE / 2),
    "strain dirty": replace(STRAIN, images=10, contamination=(0.3, 0.7), grain=(0.15, 0.35)),
    "strain hard": replace(
        STRAIN,
        images=9,
        optics="WSe2 defocused",
        dose=PAPER_DOSE / 2,
        pixel_pm=(26.0, 26.0),
        contamination=(0.3, 0.7),
        patchy=(0.2, 0.6),
        grain=(0.15, 0.35),
    ),
    "strain twins": replace(STRAIN, images=10, twin=True),
    "rough": Recipe(
        12,
        optics="WSe2 defocused",
        size_px=(768, 1024),
        pixel_pm=(15.0, 30.0),
        dose=PAPER_DOSE / 2,
        contamination=(0.7, 1.4),
        patchy=(0.2, 0.6),
        grain=(0.15, 0.35),
        speckle=(0.02, 0.07),
        whole_jitter=0.5,
    ),
    "open": Recipe(
        9,
        size_px=(512, 512),
        aliens={"Se+S": 0.05, "Mo for W": 0.01, "W vacancy": 0.01},
        same={"weights": "frozen phonons", "relaxation": "paper"},
    ),
    "populations": Recipe(100, size_px=(448, 448)),
}
# Sets are drawn by their place here: new ones come last.
RECIPES["hard populations"] = replace(RECIPES["hard"], images=100, size_px=(448, 448))
