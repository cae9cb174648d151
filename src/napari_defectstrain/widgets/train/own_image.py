"""The user's own image, that a network shall suit: which it is, and what it says of itself."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from napari.layers import Image, Layer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from ...detect.training.previews import Microscope, conditions_like, read_microscope
from ...materials import Material, get_material
from ...types import CalibratedImage, DefectStrainError
from ..base import forms, tr
from ..layers.sites import image_planes, kind, layer_by_id, note
from .conditions import ConditionsControls
from .job import describe, save_contamination

T = TypeVar("T")


class OwnImage:
    """The group of controls for an image, which is optional.

    Parameters
    ----------
    panel : Panel
        Whose body the group is added to.
    """

    def __init__(self, panel: forms.Panel) -> None:
        self._panel = panel
        form = self._form = panel.group(tr("Your image (optional)"))
        self.image = forms.LayerCombo(panel.viewer, _is_source, "none of the {} images")
        self.image.setToolTip(
            tr(
                "Image that the network shall suit: examples are shown beside the part of "
                "it that is in the middle of the view"
            )
        )
        form.addRow(tr("Image"), self.image)
        self.take_button = QPushButton(tr("Take values"))
        self.take_button.setToolTip(
            tr(
                "Set pixel size (by the lattice, ±15 %), beam energy, semi-angle (±10 %) "
                "and dose (a factor of 2) to what the image and its metadata say; what "
                "they don't say stays"
            )
        )
        self.contamination_button = QPushButton(tr("Take contamination"))
        self.contamination_button.setToolTip(
            tr(
                "Train with the contamination of this image, too: what varies more slowly "
                "than the lattice is laid over half of the simulated images, each time "
                "turned and cut anew"
            )
        )
        row = QHBoxLayout()
        row.addWidget(self.take_button)
        row.addWidget(self.contamination_button)
        form.addRow(row)
        self.facts = QLabel()
        self.facts.setWordWrap(True)
        self.facts.hide()
        form.addRow(self.facts)
        panel.watch_layers(self.image.refresh)
        self.image.layer_changed.connect(self.facts.hide)
        self.image.refresh()

    def add_row(self, widget: QWidget) -> None:
        """Add a control that works on the image, above what is known of it."""
        self._form.insertRow(self._form.rowCount() - 1, widget)

    def get(self) -> CalibratedImage | None:
        """The chosen image, or the plane of a stack that is in sight, with what its file says.

        Raises
        ------
        DefectStrainError
            If the layer holds no grey image.
        """
        layer = self.image.layer
        if layer is None:
            return None
        planes = image_planes(layer)
        viewer = self._panel.viewer
        step = viewer.dims.current_step[0] if len(planes) > 1 else 0
        if len(planes) == 0:
            raise DefectStrainError(f"{layer.name}: got a stack without images")
        plane = planes[min(step, len(planes) - 1)]
        series = layer_by_id(viewer, note(layer).get("frames_of"))
        about = {**(note(series) if series is not None else {}), **note(layer)}
        return replace(plane, metadata={**about, **plane.metadata}, name=layer.name)

    def middle_of_view(self) -> np.ndarray | None:
        """(y, x) in the image of the middle of the view; None where that is outside."""
        layer, viewer = self.image.layer, self._panel.viewer
        if layer is None:
            return None
        world = np.array(viewer.dims.point, dtype=float)
        world[-2:] = viewer.scene.camera.center[-2:]
        position = np.asarray(layer.world_to_data(world[-layer.ndim :]))[-2:]
        sides = (layer.data[0] if layer.multiscale else layer.data).shape[-2:]
        inside = all(0 < p < n - 1 for p, n in zip(position, sides, strict=True))
        return position if inside else None

    def set_conditions(self, conditions: ConditionsControls) -> None:
        """Read the chosen image, and set the controls to what it says."""

        def take(image: CalibratedImage, microscope: Microscope) -> None:
            conditions.set(conditions_like(microscope, conditions.get()))
            self.facts.setText(f"{image.name}: {describe(microscope)}")
            self.facts.show()

        self._read(read_microscope, take, conditions)

    def set_contamination(self, conditions: ConditionsControls) -> None:
        """Extract the contamination of the chosen image, and let the training use it."""

        def take(image: CalibratedImage, path: Path) -> None:
            conditions.background.setText(str(path))
            self._panel.run_bar.status.setText(f"{image.name}: its contamination is taken")

        self._read(save_contamination, take, conditions)

    def _read(
        self,
        compute: Callable[[CalibratedImage, Material], T],
        take: Callable[[CalibratedImage, T], None],
        conditions: ConditionsControls,
    ) -> None:
        run_bar = self._panel.run_bar
        try:
            image = self.get()
            if image is None:
                raise DefectStrainError("got no image: open one, or choose one in the list")
            material = get_material(conditions.get().materials[0])
        except DefectStrainError as mistake:
            run_bar.fail(str(mistake))
            return
        run_bar.start(
            lambda _: compute(image, material), lambda found: take(image, found), tr("Reading…")
        )


def _is_source(layer: Layer) -> bool:
    return isinstance(layer, Image) and kind(layer) in ("", "sum")
