"""Simulated examples beside the user's own image: the group of controls of the train widget."""

from collections.abc import Sequence

import numpy as np
from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QDialog, QHBoxLayout, QPushButton, QScrollArea, QVBoxLayout

from ...detect.training.previews import Example
from ...materials import get_material
from ...types import DefectStrainError
from ..base import forms, tr
from ..base.canvases import ExamplesCanvas
from .conditions import ConditionsControls
from .job import EXAMPLES, make_examples
from .own_image import OwnImage


class Examples(QObject):
    """The group of controls.

    Parameters
    ----------
    panel : Panel
        Whose body the group is added to, and whose run bar simulates.
    own : OwnImage
    conditions : ConditionsControls
    window_px : int
        Side of the examples [px at the network's sampling].
    """

    def __init__(
        self, panel: forms.Panel, own: OwnImage, conditions: ConditionsControls, window_px: int
    ) -> None:
        super().__init__(panel)
        self._panel = panel
        self._own = own
        self._conditions = conditions
        self._window_px = window_px
        self._drawn = 0
        form = panel.group(tr("Examples of training images"))
        self.button = QPushButton(tr("Simulate examples"))
        self.button.setToolTip(
            f"Show {EXAMPLES} images that the network would be trained on, beside your own, all at "
            "the network's sampling (40 pm per pixel) and contrast; each click draws others"
        )
        self.button.clicked.connect(self.simulate)
        self.marks = panel.remember(
            "marks",
            forms.checkbox(tr("Mark defects"), False),
            tr("Mark the defects that are in the simulated examples"),
        )
        self.enlarge_button = QPushButton(tr("Enlarge"))
        self.enlarge_button.setToolTip(tr("Show the examples in a window of their own"))
        self.enlarge_button.setEnabled(False)
        self.enlarge_button.clicked.connect(self.enlarge)
        form.addRow(self.button)
        row = QHBoxLayout()
        row.addWidget(self.marks, 1)
        row.addWidget(self.enlarge_button, 1)
        form.addRow(row)
        self.canvas = ExamplesCanvas(panel.viewer.theme)
        self.canvas.hide()
        form.addRow(self.canvas)
        self.marks.toggled.connect(self.canvas.set_marks)

    def simulate(self) -> None:
        """Simulate examples, and show them beside the chosen image."""
        run_bar = self._panel.run_bar
        try:
            image, conditions = self._own.get(), self._conditions.get()
        except DefectStrainError as mistake:
            run_bar.fail(str(mistake))
            return
        if not run_bar.running:
            self._drawn += 1
        centre, material = self._own.middle_of_view(), get_material(conditions.materials[0])
        rng = np.random.default_rng(self._drawn)
        name = image.name if image is not None else ""

        def show(made: tuple[Example | None, str, list[Example]]) -> None:
            own, complaint, examples = made
            self._show(own, name, examples, material.class_names)
            run_bar.status.setText(complaint)

        run_bar.start(
            lambda progress: make_examples(
                image, material, centre, conditions, self._window_px, rng, progress
            ),
            show,
            tr("Simulating…"),
        )

    def _show(
        self,
        own: Example | None,
        name: str,
        examples: list[Example],
        class_names: Sequence[str],
    ) -> None:
        self.canvas.show()
        self.canvas.show_examples(own, name, examples, class_names, self.marks.isChecked())
        self.enlarge_button.setEnabled(True)
        # The canvas has its place only when Qt has laid out the panel anew.
        QTimer.singleShot(0, self._reveal)

    def _reveal(self) -> None:
        self._panel.findChild(QScrollArea).ensureWidgetVisible(self.canvas)

    def enlarge(self) -> None:
        """The examples in a window of their own."""
        window = QDialog(self._panel)
        window.setWindowTitle(tr("Examples of training images"))
        window.resize(1000, 700)
        canvas = ExamplesCanvas(self._panel.viewer.theme, 400, columns=3)
        QVBoxLayout(window).addWidget(canvas)
        self.canvas.copy_to(canvas)
        window.show()
