"""What the train widget does off the GUI's thread: simulate examples, train, pause."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from qtpy.QtCore import QObject, Signal

from ...detect.network.config import TrainConfig
from ...detect.training.previews import (
    Example,
    Microscope,
    image_window,
    preview_windows,
    read_microscope,
)
from ...materials import Material
from ...simulate.background import write_background
from ...simulate.conditions import Conditions
from ...types import CalibratedImage, Cancelled, DefectStrainError, Progress
from ..base.pacing import Gate, Pace
from ..base.settings import settings_path

EXAMPLES = 4
_LAST = 0.999
"""Fraction from which on no more steps are to come: the time left isn't that of steps."""


class TrainingJob(QObject):
    """One run of a training: call it with a progress callback, in any thread.

    Parameters
    ----------
    config : TrainConfig
    out : Path
        Weights file.
    resume : bool
        Go on from its checkpoint.
    """

    epoch_passed = Signal(object)
    """Carries an entry of the log to the GUI's thread."""

    def __init__(self, config: TrainConfig, out: Path, resume: bool) -> None:
        super().__init__()
        self.config = config
        self.out = out
        self.resume = resume
        self.gate = Gate()
        self.stopped = False
        """True once it has ended before its time, with a checkpoint."""

    def __call__(self, progress: Progress) -> list[dict[str, float]]:
        """Train; the progress tells the time left, too."""
        progress(0.0, "Loading torch…")
        # It takes seconds to import: not before it is needed, and not in the GUI's thread.
        from ...detect.training.loop import train

        pace = Pace()

        def step(fraction: float, message: str) -> None:
            if self.gate.hold(lambda: progress(fraction, f"Paused: {message}")):
                pace.restart()
            pace.tick(fraction)
            progress(fraction, f"{message}; {pace.text()}" if fraction < _LAST else message)

        progress(0.0, "Simulating validation images…")
        try:
            return train(
                self.config,
                self.out,
                resume=self.resume,
                progress=step,
                on_epoch=lambda row: self.epoch_passed.emit(dict(row)),
            )
        except Cancelled:
            self.stopped = True
            raise


def make_examples(
    image: CalibratedImage | None,
    material: Material,
    centre_px: np.ndarray | None,
    conditions: Conditions,
    window_px: int,
    rng: np.random.Generator,
    progress: Progress,
) -> tuple[Example | None, str, list[Example]]:
    """The part of the user's image, what speaks against showing it, and simulated examples."""
    own, complaint = None, ""
    if image is not None:
        progress(0.0, "Looking for the lattice of your image")
        try:
            own = _own_window(image, material, centre_px, window_px)
        except DefectStrainError as mistake:
            complaint = f"Your image isn't shown: {mistake}"
    return own, complaint, preview_windows(conditions, EXAMPLES, window_px, rng, progress)


def _own_window(
    image: CalibratedImage, material: Material, centre_px: np.ndarray | None, window_px: int
) -> Example:
    return image_window(image, _pixel_size_pm(image, material), window_px, centre_px)


def _pixel_size_pm(image: CalibratedImage, material: Material) -> float:
    size = read_microscope(image, material).pixel_size_pm
    if size is None:
        raise DefectStrainError(
            f"{image.name}: got no pixel size, and no lattice of {material.name} is seen; "
            "calibrate it in Detect, or choose its material"
        )
    return size


def save_contamination(image: CalibratedImage, material: Material) -> Path:
    """Write the contamination of an image to a file of its own beside the settings.

    The name has a hash of the pixels in it: other images never replace what a training uses.
    """
    calibrated = replace(image, pixel_size_pm=_pixel_size_pm(image, material))
    digest = hashlib.sha256(np.ascontiguousarray(image.data).tobytes()).hexdigest()[:8]
    folder = settings_path().parent / "contamination"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{re.sub(r'[^A-Za-z0-9_-]+', '_', image.name)}-{digest}.tif"
    write_background(path, calibrated, material.lattice_pm)
    return path


def describe(microscope: Microscope) -> str:
    """What is known of an image, in words."""
    size = microscope.pixel_size_pm
    parts = [
        "no pixel size"
        if size is None
        else f"{size:.2f} pm per pixel ({'lattice' if microscope.by_lattice else 'as stated'})"
    ]
    unknown = []
    for value, name, text in (
        (microscope.energy_kev, "beam energy", "{:g} keV"),
        (microscope.semi_angle_mrad, "semi-angle", "{:g} mrad"),
        (microscope.dose_e_per_nm2, "dose", "{:.3g} e/nm²"),
    ):
        if value is None:
            unknown.append(name)
        else:
            parts.append(text.format(value))
    missing = f". Not in its metadata: {', '.join(unknown)}" if unknown else ""
    return ", ".join(parts) + missing
