"""Pixel size by the lattice: looked for off the GUI thread, offered, and set if accepted."""

from collections.abc import Callable

from napari.layers import Image

from ...crystal.calibration import CALIBRATED_BY_LATTICE, PixelSizeEstimate, estimate_pixel_size
from ...io.files import validate_image
from ...materials import get_material
from ...pipeline.loading import CALIBRATION_TOLERANCE
from ...progress import subprogress
from ...styles import with_error
from ...types import CalibratedImage, DefectStrainError, Progress
from ..base import forms, tr
from ..base.worker import Part
from ..layers.sites import BY_LATTICE_PM, CALIBRATION, calibrate, pixel_size_pm

USE_LATTICE = "Use the lattice"
KEEP_PRESENT = "Keep the present calibration"
KEPT = "kept"
"""Value of an image's metadata where the user saw the lattice's pixel size and declined it."""


class Calibrator:
    """Asks for, and sets, the pixel size of image layers.

    Parameters
    ----------
    panel : Panel
        Whose run bar and viewer are used.
    changed : callable
        Called after the user has answered.
    """

    def __init__(self, panel: forms.Panel, changed: Callable[[], None]) -> None:
        self.panel = panel
        self.changed = changed

    def ensure(
        self,
        layer: Image,
        planes: list[CalibratedImage],
        material: str,
        then: Callable[[], None],
        part: Part | None = None,
    ) -> None:
        """Go on with `then` once the image has a pixel size that the user knows the truth about.

        Asks where the image has none, or where it differs from the lattice's by more than 2 %: also
        where it was told by the lattice of another material.
        """
        told_by = layer.metadata.get(BY_LATTICE_PM)
        if layer.metadata.get(CALIBRATION) == KEPT or (
            layer.metadata.get(CALIBRATION) == CALIBRATED_BY_LATTICE
            and told_by in (None, get_material(material).lattice_pm)
        ):
            then()
            return
        self._start(layer, planes, material, then, part)

    def look(self, layer: Image, planes: list[CalibratedImage], material: str) -> None:
        """Say what the lattice says, and offer it."""
        self._start(layer, planes, material, None)

    def _start(
        self,
        layer: Image,
        planes: list[CalibratedImage],
        material: str,
        then: Callable[[], None] | None,
        part: Part | None = None,
    ) -> None:
        a_pm = get_material(material).lattice_pm
        self.panel.run_bar.start(
            lambda progress: _estimate(planes, a_pm, progress),
            lambda found: self._settle(layer, found, material, then),
            tr("Looking for the lattice…"),
            part,
        )

    def _settle(
        self,
        layer: Image,
        found: PixelSizeEstimate | DefectStrainError,
        material: str,
        then: Callable[[], None] | None,
    ) -> None:
        size = pixel_size_pm(layer)
        if isinstance(found, DefectStrainError):
            # A calibrated image without a visible lattice is for the detector to judge.
            if size is None or then is None:
                raise found
        elif not self._offer(layer, size, found, material, always=then is None):
            self.panel.run_bar.status.setText(
                tr("Nothing was done: no answer about the calibration")
            )
            return
        self.changed()
        if then is not None:
            then()

    def _offer(
        self,
        layer: Image,
        size: float | None,
        found: PixelSizeEstimate,
        material: str,
        always: bool,
    ) -> bool:
        """Ask; False where the user gives no answer."""
        text = (
            f"By its lattice ({material}, a = {get_material(material).lattice_pm:g} pm) a pixel of "
            f"{layer.name} is {with_error(found.pixel_size_pm, found.sigma_pm)} pm wide. "
        )
        answers = [USE_LATTICE]
        if size is None:
            text += "The image has no calibration of its own. Use this one?"
        else:
            difference = size / found.pixel_size_pm - 1
            if abs(difference) <= CALIBRATION_TOLERANCE and not always:
                return True
            text += f"The layer says {size:.2f} pm ({100 * difference:+.1f} %). Which is right?"
            answers.append(KEEP_PRESENT)
        answer = forms.ask(self.panel, tr("Calibration"), text, answers)
        if answer == USE_LATTICE:
            a_pm = get_material(material).lattice_pm
            size_pm = found.pixel_size_pm
            calibrate(self.panel.viewer, layer, size_pm, CALIBRATED_BY_LATTICE, a_pm)
            self.panel.viewer.reset_view()
        elif answer == KEEP_PRESENT:
            layer.metadata[CALIBRATION] = KEPT
        return answer is not None


def _estimate(
    planes: list[CalibratedImage], a_pm: float, progress: Progress
) -> PixelSizeEstimate | DefectStrainError:
    """Pixel size by the lattice of the first image; the error where it shows none."""
    for plane in planes:
        validate_image(plane)
    progress(0.1, "Looking for the lattice")
    try:
        return estimate_pixel_size(planes[0].data, a_pm, None, subprogress(progress, 0.1, 1.0))
    except DefectStrainError as error:
        return error
