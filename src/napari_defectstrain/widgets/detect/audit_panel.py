"""The audit below the viewer: columns one after another, blind, one key each."""

from collections.abc import Callable
from pathlib import Path

from napari.components import ViewerModel
from napari.layers import Points
from qtpy.QtCore import Qt
from qtpy.QtGui import QFontDatabase, QHideEvent
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from ...crystal.overlaps import find_overlaps
from ...evaluation.audit import (
    UNSURE,
    Audit,
    AuditConfig,
    AuditedImage,
    draw_audit,
    has_audit,
    read_audit,
    same_columns,
    write_audit,
)
from ...evaluation.audit_folders import each_place_once
from ...evaluation.audit_scores import score_audit, scores_text
from ...types import DefectStrainError
from ..base import forms, tr
from ..base.class_keys import KEYS, ClassKeys
from ..base.keys import declare
from ..base.saving import ask_folder
from ..layers.audit_marker import Blind
from ..layers.detected import Detected, detected_images

DOCK = "Detect: audit"
HEIGHT = 240
INTRODUCTION = (
    "How good is the detection on these images? Label columns that are drawn at random, without "
    "seeing what they were taken for: a key each, about five minutes for a hundred."
)

_AUDIT = "Audit, while it walks"
for _i in range(KEYS):
    declare(_AUDIT, str(_i + 1), f"It is class {_i + 1} of the buttons")
declare(_AUDIT, "Space", "It can't be told")
declare(_AUDIT, "Z", "Take back the last label")


class AuditPanel(QWidget):
    """Draws columns, shows them one after another, keeps their labels, says what they tell.

    Parameters
    ----------
    viewer : ViewerModel
    shown_layer : callable
        Gives the defects layer whose classes are asked for, or None.
    """

    def __init__(self, viewer: ViewerModel, shown_layer: Callable[[], Points | None]) -> None:
        super().__init__()
        self.viewer = viewer
        self._shown_layer = shown_layer
        self.audit: Audit | None = None
        self.folder: Path | None = None
        self.number: int | None = None
        self._images: dict[str, Detected] = {}
        self._blind = Blind(viewer)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 4, 6, 4)
        column.addLayout(self._head())
        self.state = QLabel(INTRODUCTION)
        self.state.setWordWrap(True)
        column.addWidget(self.state)
        column.addWidget(self._answers())
        self.scores = QLabel("")
        font = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
        font.setPointSizeF(0.9 * font.pointSizeF())
        self.scores.setFont(font)
        self.scores.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.scores.setToolTip(
            tr(
                "Precision and recall of each class with limits of 95 %: by your labels "
                "alone, and with the help of the probabilities, which the labels correct"
            )
        )
        column.addWidget(self.scores)
        column.addStretch(1)
        self._enable()

    def _head(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.columns = forms.count(100, 20, 5000, " columns")
        self.columns.setToolTip(tr("How many columns are drawn for a new audit"))
        self.start_button = QPushButton(tr("Start or continue…"))
        self.start_button.setToolTip(
            tr(
                "Choose the folder that audit.csv and audit.json are kept in: that of a "
                "run, or the results of a study. An audit that is there is taken up where "
                "it was left"
            )
        )
        self.start_button.clicked.connect(self.choose_folder)
        self.pause_button = QPushButton(tr("Pause"))
        self.pause_button.setToolTip(tr("Show all layers again, and what the labels tell so far"))
        self.pause_button.clicked.connect(self.pause)
        for widget in (self.columns, self.start_button, self.pause_button):
            row.addWidget(widget)
        row.addStretch(1)
        return row

    def _answers(self) -> ClassKeys:
        self.keys = ClassKeys(
            "can't tell",
            "Leave this column open: others of its kind stand for it",
            "back",
            "Take back the last label, and show its column again",
            "It is {name} (key {key})",
        )
        self.class_buttons = self.keys.class_buttons
        self.keys.labelled.connect(self.label_class)
        self.keys.skipped.connect(lambda: self.label(UNSURE))
        self.keys.taken_back.connect(self.undo)
        return self.keys

    def choose_folder(self) -> None:
        """Ask where the audit is kept, and begin or go on."""
        folder = ask_folder(self, tr("Folder of the results that the audit is kept with"))
        if folder is not None:
            self.start(folder)

    def start(self, folder: Path) -> None:
        """Take up the audit of a folder, or draw one.

        Parameters
        ----------
        folder : Path
            Of a run, of a study, or any other.
        """
        if (folder / "results").is_dir() and not has_audit(folder):
            folder = folder / "results"
        try:
            images = self._gather()
            if has_audit(folder):
                audit = read_audit(folder)
                if changed := same_columns(audit, images):
                    raise DefectStrainError(
                        f"the audit in {folder} is of columns of {', '.join(changed)} that are not "
                        "in this viewer: open these images with their columns, or choose another "
                        "folder"
                    )
            else:
                audit = draw_audit(images, AuditConfig(columns=self.columns.value()))
                write_audit(audit, folder)
        except DefectStrainError as mistake:
            self.state.setText(str(mistake))
            return
        self.audit, self.folder = audit, folder
        self._name_keys()
        self._show_next()

    def _gather(self) -> list[AuditedImage]:
        layer = self._shown_layer()
        found = [] if layer is None else detected_images(self.viewer, layer)
        if not found:
            raise DefectStrainError("There is nothing to audit yet: detect the columns of an image")
        self._images = {one.name: one for one in found}
        images = []
        for one in found:
            size = one.image.pixel_size_pm
            if size is None:
                raise DefectStrainError(
                    f"{one.name}: got no pixel size, expected one: calibrate it"
                )
            images.append(
                AuditedImage(one.name, one.sites, one.regions, one.image.data.shape, size)
            )
        overlaps = find_overlaps([one.image for one in found], [one.sites for one in found])
        return each_place_once(images, overlaps)

    def _name_keys(self) -> None:
        self.keys.name(() if self.audit is None else self.audit.class_names)
        self.keys.listen(self.window())

    def _enable(self) -> None:
        walking = self.number is not None
        self.keys.take_keys(walking, walking)
        self.keys.show_buttons(walking, walking)  # the scores take their place
        labelled = 0 if self.audit is None else self.audit.labelled
        self.keys.back_button.setEnabled(self.audit is not None and labelled > 0)
        self.pause_button.setEnabled(walking)
        self.start_button.setEnabled(not walking)
        self.columns.setEnabled(not walking)

    def _show_next(self) -> None:
        """Fly to the first column without a label; without one, say what the labels tell."""
        if self.audit is None:
            return
        self.number = self.audit.next_number
        if self.number is None:
            self.pause()
            return
        row = self.audit.table.iloc[self.number - 1]
        one = self._images.get(str(row["image"]))
        if one is None or one.layer not in self.viewer.layers:
            self.pause()
            self.state.setText(f"{row['image']} is gone from the viewer: open it again, and go on")
            return
        self.scores.setText("")
        self._blind.show(one, (float(row["y_px"]), float(row["x_px"])))
        self.state.setText(
            f"Column {self.number} of {len(self.audit.table)}: what is in the middle of the ring?"
        )
        self._enable()

    def label_class(self, i: int) -> None:
        """Label the column that is shown with the i-th class."""
        if self.audit is not None and i < len(self.audit.class_names):
            self.label(self.audit.class_names[i])

    def label(self, label: str) -> None:
        """Label the column that is shown, keep that, and go to the next."""
        if self.audit is not None and self.number is not None:
            self._keep(self.audit.with_label(self.number, label))

    def undo(self) -> None:
        """Take back the label given last."""
        if self.audit is None:
            return
        last = (self.number or len(self.audit.table) + 1) - 1
        if last >= 1 and self.audit.labels[last - 1]:
            self._keep(self.audit.with_label(last, ""))

    def _keep(self, audit: Audit) -> None:
        """Write the labels at once: a crash loses none."""
        assert self.folder is not None  # of every audit
        try:
            write_audit(audit, self.folder, score_audit(audit) if audit.complete else None)
        except DefectStrainError as mistake:
            self.state.setText(str(mistake))
            return
        self.audit = audit
        self._show_next()

    def pause(self) -> None:
        """Show everything again, and what the labels tell so far."""
        self.number = None
        self._blind.end()
        if self.audit is not None and self.folder is not None:
            scores = score_audit(self.audit) if self.audit.labelled else None
            write_audit(self.audit, self.folder, scores)
            left = len(self.audit.table) - self.audit.labelled
            self.state.setText(
                f"{self.audit.labelled} of {len(self.audit.table)} columns labelled"
                + (f", {left} left" if left else "")
                + f"; kept in {self.folder}"
            )
            self.scores.setText("" if scores is None else scores_text(scores))
        self._enable()

    def hideEvent(self, event: QHideEvent) -> None:
        """A panel that nobody sees takes no keys and hides no layers."""
        super().hideEvent(event)
        if self.number is not None and self._blind.on:
            self.pause()
