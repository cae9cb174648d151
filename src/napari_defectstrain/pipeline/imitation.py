"""*Simulate my image*: images like those of a run, with truth, and how far they are from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import pandas as pd

from ..config import SEED, Between, Config
from ..progress import subprogress
from ..simulate import SimulatedImage
from ..trials import (
    Look,
    Seen,
    compare_looks,
    pooled_look,
    see_image,
    see_simulated,
    simulate_look,
)
from ..types import DefectStrainError, Progress, no_progress
from .runs import RunResult

LEAST_PX = 200


@dataclass(frozen=True)
class ImitationConfig(Config):
    """Settings of an imitation.

    Parameters
    ----------
    images : int
        How many are simulated; two or more tell what differs by chance.
    side_px : int
        Largest side of them; 0 for that of the real ones.
    seed : int
    """

    images: Annotated[int, Between(1, 10_000)] = 3
    side_px: Annotated[int, Between(0, 2**14)] = 0
    seed: Annotated[int, SEED] = 0


@dataclass(frozen=True)
class Imitation:
    """What was learnt of images, what was made of it, and how far that is from them.

    Parameters
    ----------
    look : Look
    real, simulated : tuple of Seen
        What was seen of each; of at most `COMPARED` simulated ones.
    images : tuple of SimulatedImage
        Those that were made.
    table : DataFrame
        See `trials.compare_looks`.
    """

    look: Look
    real: tuple[Seen, ...]
    simulated: tuple[Seen, ...]
    images: tuple[SimulatedImage, ...]
    table: pd.DataFrame


COMPARED = 5
"""Simulated images that are compared with the real ones: more tell chance no better."""


def imitate(
    found: RunResult, config: ImitationConfig | None = None, progress: Progress = no_progress
) -> Imitation:
    """Learn the look of images whose columns were found, simulate it, and compare.

    Parameters
    ----------
    found : RunResult
        What `chain.detect` returned, or a run.
    config : ImitationConfig, optional
    progress : Progress

    Raises
    ------
    DefectStrainError
        If none of the images can be learnt from.
    """
    config = config or ImitationConfig()
    material = found.material.host
    real, notes = see_found(found, subprogress(progress, 0.0, 0.4))
    if not real:
        raise DefectStrainError(
            f"imitate: got no image that can be learnt from, expected one that shows a lattice of "
            f"{material.name}: {'; '.join(notes)}"
        )
    look = pooled_look(real, notes)
    made, simulated = [], []
    for number in range(config.images):
        start, end = (0.4 + 0.6 * (number + k) / config.images for k in (0, 1))
        part = subprogress(progress, start, end, f"image {number + 1} of {config.images}: ")
        part(0.0, "simulating")
        model = real[number % len(real)]
        shape = _shape(model, config.side_px)
        name = f"{real[0].name}_like_{number + 1}"
        # turned alike: the eye compares lines of atoms, the scan's faults lie along its lines
        turn = model.number["rotation_deg"]
        one = simulate_look(look, shape, config.seed + number, name, turn)
        made.append(one)
        if number < COMPARED:
            simulated.append(see_simulated(one, subprogress(part, 0.1, 1.0)))
    table = compare_looks(real, simulated)
    progress(1.0, "compared")
    return Imitation(look, tuple(real), tuple(simulated), tuple(made), table)


def see_found(found: RunResult, progress: Progress = no_progress) -> tuple[list[Seen], list[str]]:
    """What is seen of each image of a run, and why others can't be learnt from."""
    real, notes = [], []
    label = found.material.host.label
    for i, (image, sites) in enumerate(zip(found.images, found.sites, strict=True)):
        n = len(found.images)
        part = subprogress(progress, i / n, (i + 1) / n, f"{image.name}: ")
        part(0.0, "learning its look")
        try:
            real.append(see_image(image, sites, label, part))
        except DefectStrainError as error:
            notes.append(f"{image.name}: nothing learnt from it: {error}")
    return real, notes


def _shape(seen: Seen, side_px: int) -> Sequence[int]:
    """Of an image like one that was seen."""
    largest = side_px or max(seen.picture.shape)
    return [max(min(n, largest), min(LEAST_PX, n)) for n in seen.picture.shape]
