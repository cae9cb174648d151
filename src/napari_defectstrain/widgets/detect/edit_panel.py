"""The part of the detect widget that shows, counts and edits the defects of one layer."""

from dataclasses import replace
from uuid import UUID

import pandas as pd
from napari.components import ViewerModel
from napari.layers import Layer, Points
from napari.utils.notifications import show_info
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QRadioButton,
    QShortcut,
    QVBoxLayout,
    QWidget,
)

from ...crystal.populations import ALL_IMAGES, SUBSTITUTION, VACANCIES
from ...materials import NAMED_ROLE, ROLES, WSE2
from ...styles import CLASS_STYLE, named_style, over_image
from ..base import tr
from ..base.keys import declare, shortcut
from ..base.lifetime import connect, when_destroyed
from ..base.symbols import symbol_icon
from ..layers.editing import POINTS, DefectEditor, column_near, editor_of
from ..layers.pointing import follow_pointer
from ..layers.regions import regions_of
from ..layers.sites import AWAITING, note, show_only
from .population_files import export_columns, export_populations, populations

CLASS_ROLES = ROLES[1:]
"""Of the first rows; those of named classes come as they are needed."""
_KEYS = 9  # Shift+1 to Shift+9
RELABEL_KEYS = [
    declare(POINTS, f"Shift+{i + 1}", f"Give the selected points class {i + 1} of the legend")
    for i in range(_KEYS)
]
UPDATE_MS = 150


class EditPanel(QWidget):
    """Legend, counts, relabelling, undo and the population table of a defects layer.

    Parameters
    ----------
    viewer : ViewerModel
    """

    updated = Signal()
    """Emitted whenever the numbers are counted again."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = viewer
        self.layer: Points | None = None
        self.editor: DefectEditor | None = None
        self.class_names = WSE2.class_names[1:]
        self._watched: set[UUID] = set()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(UPDATE_MS)
        self._timer.timeout.connect(self.update_counts)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.title = QLabel()
        self.title.setWordWrap(True)
        layout.addWidget(self.title)
        layout.addLayout(self._legend())
        layout.addLayout(self._buttons())
        self.population = QLabel("")
        self.population.setWordWrap(True)
        self.population.setToolTip(
            tr(
                "x and vacancy fraction are fractions of the atomic sites, two a chalcogen "
                "column; the share of a class is a fraction of the chalcogen columns, that "
                "of other of all columns: it counts neither as substituted nor as "
                "vacancies. Columns in the 2H domains of the · regions layer count"
            )
        )
        layout.addWidget(self.population)
        exports = QHBoxLayout()
        self.export_button = QPushButton(tr("Export populations…"))
        self.export_button.setToolTip(
            tr(
                "Write columns and concentration of every class (fractions) as CSV, for "
                "every image of this material that was searched"
            )
        )
        self.export_button.clicked.connect(self.export)
        self.columns_button = QPushButton(tr("Export columns…"))
        self.columns_button.setToolTip(
            tr(
                "Write all columns with your corrections as CSV (px and nm), one file an "
                "image, as `defectstrain run --sites` reads them"
            )
        )
        self.columns_button.clicked.connect(self.export_columns)
        exports.addWidget(self.export_button)
        exports.addWidget(self.columns_button)
        layout.addLayout(exports)
        self._shortcuts: list[QShortcut] = []
        when_destroyed(self, self._forget_editor)
        when_destroyed(self, follow_pointer(viewer))
        self.show_layer(None)

    def _forget_editor(self) -> None:
        if self.editor is not None:
            self.editor.changed.disconnect(self._changed)
            self.editor = None

    def _legend(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setVerticalSpacing(2)
        for column, (text, tip) in enumerate(
            (
                ("Show", "Show or hide the points of a class"),
                ("Class", "Symbol and colour on the canvas"),
                ("Number", "Columns of that class in all planes of the image"),
                ("Share", "Per cent of the chalcogen columns; of all columns for other"),
                ("New", "Class of the points that you add"),
                ("Relabel", "Give the selected points this class"),
            )
        ):
            label = QLabel(text)
            label.setToolTip(tip)
            grid.addWidget(label, 0, column)
        self.show_boxes: list[QCheckBox] = []
        self.name_labels: list[QLabel] = []
        self.count_labels: list[QLabel] = []
        self.share_labels: list[QLabel] = []
        self.relabel_buttons: list[QPushButton] = []
        self.rows: list[tuple[QWidget, ...]] = []
        self.pictures: list[QLabel] = []
        self.new_class = QButtonGroup(self)
        self._grid = grid
        for i, role in enumerate(CLASS_ROLES):
            self._legend_row(grid, i, role)
        self.new_class.button(3).setChecked(True)
        self.new_class.idClicked.connect(self._choose_class)
        grid.setColumnStretch(1, 1)
        return grid

    def _legend_row(self, grid: QGridLayout, i: int, role: str) -> None:
        show = QCheckBox()
        show.setChecked(True)
        show.setToolTip(tr("Show or hide the points of this class"))
        show.toggled.connect(self._apply_shown)
        name = QLabel()
        name.setToolTip(CLASS_HELP[role])
        number, share = QLabel("–"), QLabel("–")
        number.setToolTip(tr("Columns of this class"))
        share.setToolTip(f"Per cent of {'all' if role == 'other' else 'the chalcogen'} columns")
        new = QRadioButton()
        new.setToolTip(tr("Points that you add get this class"))
        key = i < _KEYS
        relabel = QPushButton(f"⇧{i + 1}" if key else "⇧")
        tip = f" (Shift+{i + 1})" if key else ""
        relabel.setToolTip(f"Give the selected points this class{tip}")
        relabel.setMaximumWidth(48)
        relabel.clicked.connect(lambda _=False, i=i: self.relabel(i))
        self.show_boxes.append(show)
        self.name_labels.append(name)
        self.count_labels.append(number)
        self.share_labels.append(share)
        self.relabel_buttons.append(relabel)
        self.new_class.addButton(new, i)
        swatch = QWidget()
        line = QHBoxLayout(swatch)
        line.setContentsMargins(0, 0, 0, 0)
        picture = QLabel()
        self.pictures.append(picture)
        self._show_colour(i)
        picture.setToolTip(CLASS_HELP[role])
        line.addWidget(picture)
        line.addWidget(name, 1)
        self.rows.append((show, swatch, number, share, new, relabel))
        for column, widget in enumerate(self.rows[-1]):
            grid.addWidget(widget, i + 1, column)

    def show_colours(self) -> None:
        """Draw the legend in the colours of now."""
        for i in range(len(self.pictures)):
            self._show_colour(i)

    def _show_colour(self, i: int) -> None:
        own = i < len(CLASS_ROLES)
        style = CLASS_STYLE[CLASS_ROLES[i]] if own else named_style(i - len(CLASS_ROLES))
        seen = replace(style, colour=over_image(style.colour))
        self.pictures[i].setPixmap(symbol_icon(seen).pixmap(18, 18))

    def _buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.buttons: dict[str, QPushButton] = {}
        for text, tip, action in (
            ("Add", "Click on the image to add points of the class chosen under New", self.add),
            (
                "Select",
                "Click or drag a box to select; drag selected points to move them; Delete removes",
                self.select,
            ),
            ("Delete", "Remove the selected points: their columns count as perfect", self.delete),
            ("Undo", "Take back the last change of this layer (Ctrl+Z)", self.undo),
            ("Redo", "Do it again (Ctrl+Shift+Z)", self.redo),
        ):
            button = QPushButton(text)
            button.setToolTip(tip)
            # A click leaves the keyboard with the canvas, where the keys of the points work.
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            button.setMinimumWidth(20)
            button.clicked.connect(action)
            self.buttons[text] = button
            row.addWidget(button)
        return row

    def show_layer(self, layer: Layer | None) -> None:
        """Show and edit this defects layer; None for no layer."""
        classes = None if self.editor is None else self.editor.class_names
        if layer is self.layer and layer is not None and classes == self.class_names:
            self._timer.start()  # layers come one after another: once is enough
            return
        self._forget_editor()
        self.layer = layer if isinstance(layer, Points) else None
        self.editor = editor_of(self.layer) if self.layer is not None else None
        if self.editor is not None and self.layer is not None:
            self.editor.changed.connect(self._changed)
            layer, viewer = self.layer, self.viewer
            self.editor.snap_by(lambda *point: column_near(viewer, layer, *point))
            self.class_names = self.editor.class_names
            for i in range(len(self.rows), len(self.class_names)):
                self._legend_row(self._grid, i, NAMED_ROLE)
            self.new_class.button(self.class_names.index(self.editor.new_class)).setChecked(True)
            self._install_shortcuts()
        for label, name in zip(self.name_labels, self.class_names, strict=False):
            label.setText(name)
        for i, row in enumerate(self.rows):
            for widget in row:
                widget.setVisible(i < len(self.class_names))
        for label in self.count_labels[len(self.class_names) :]:
            label.setText("–")
        self.update_counts()

    def _watch_regions(self) -> None:
        """Count again whenever the regions of the shown layer are painted or removed."""
        layer = regions_of(self.viewer, self.layer) if self.layer is not None else None
        if layer is not None and layer.unique_id not in self._watched:
            self._watched.add(layer.unique_id)
            connect(self, layer.events.set_data, lambda *_: self._timer.start())

    def _install_shortcuts(self) -> None:
        # napari's bind_key never sees Shift+digit: the key arrives as "!", "@", … So these are
        # Qt shortcuts of the window, on only while a defects layer is the active one.
        if self._shortcuts:
            return
        window = self.window()
        for i in range(_KEYS):
            made = shortcut(RELABEL_KEYS[i], window, lambda i=i: self.relabel(i))
            self._shortcuts.append(made)
            self.destroyed.connect(made.deleteLater)
        connect(self, self.viewer.layers.selection.events.active, self._enable_shortcuts)
        self._enable_shortcuts()

    def _enable_shortcuts(self, *_: object) -> None:
        for made in self._shortcuts:
            made.setEnabled(self.viewer.layers.selection.active is self.layer)

    def _changed(self) -> None:
        if self.editor is not None and self.editor.class_names != self.class_names:
            self.show_layer(self.layer)  # another detection was put into it, of other classes
        self._timer.start()

    def show_counted(self, layer: Layer) -> None:
        """Show this defects layer, with numbers of what it holds now."""
        if layer is not self.layer:
            self.show_layer(layer)
        if self._timer.isActive():  # something changed since it was counted last
            self._timer.stop()
            self.update_counts()

    def relabel(self, i: int) -> None:
        """Give the selected points the class of that row."""
        if self.editor is None or self.layer is None:
            show_info(tr("Detect the defects of an image first"))
        elif not self.layer.selected_data:
            show_info(tr("Select points first: press Select, then click or drag a box around them"))
        elif i < len(self.class_names):
            self.editor.relabel(self.class_names[i])

    def _choose_class(self, i: int) -> None:
        if self.editor is not None:
            self.editor.choose_class(self.class_names[i])
            self.show_boxes[i].setChecked(True)

    def add(self) -> None:
        """Switch to adding points."""
        self._mode("add")

    def select(self) -> None:
        """Switch to selecting and moving points."""
        self._mode("select")

    def _mode(self, mode: str) -> None:
        if self.layer is None or self.editor is None:
            show_info(tr("Detect the defects of an image first"))
            return
        self.layer.visible = True
        self.viewer.layers.selection.active = self.layer
        self.layer.mode = mode
        self.editor.choose_class(self.editor.new_class)

    def delete(self) -> None:
        """Remove the selected points."""
        if self.layer is not None:
            self.layer.remove_selected()

    def undo(self) -> None:
        """Take back the last change."""
        if self.editor is None or not self.editor.undo():
            show_info(tr("There is nothing to undo in this layer"))

    def redo(self) -> None:
        """Do the change taken back again."""
        if self.editor is None or not self.editor.redo():
            show_info(tr("There is nothing to redo in this layer"))

    def _apply_shown(self, *_: object) -> None:
        if self.layer is None or len(self.layer.data) == 0:
            return
        visible = [
            n for n, b in zip(self.class_names, self.show_boxes, strict=False) if b.isChecked()
        ]
        show_only(self.layer, self.layer.features["class"].isin(visible).to_numpy())

    def update_counts(self) -> None:
        """Count again and show the numbers."""
        if self.editor is not None:
            self.editor.check()  # nothing tells of a class that was changed in the table in place
        self._apply_shown()
        self._watch_regions()
        self.updated.emit()
        for name in ("Undo", "Redo"):
            flag = self.editor is not None and getattr(self.editor, f"can_{name.lower()}")
            self.buttons[name].setEnabled(flag)
        table = populations(self.viewer, [self.layer])
        self.export_button.setEnabled(table is not None)
        self.columns_button.setEnabled(table is not None)
        if table is None or self.layer is None or self.editor is None:
            self.title.setText(_without_columns(self.layer))
            self.population.setText("")
            for label in (*self.count_labels, *self.share_labels):
                label.setText("–")
            return
        manual = int((self.layer.features["source"] == "manual").sum())
        self.title.setText(f"{self.layer.name}: {manual} point{'s' * (manual != 1)} by hand")
        rows = table[table["image"] == ALL_IMAGES].set_index("class")
        for i, name in enumerate(self.class_names):
            self.count_labels[i].setText(f"{rows.loc[name, 'columns']}")
            self.share_labels[i].setText(_percent(rows.loc[name, "concentration"]))
        self.population.setText(
            f"{rows.loc[SUBSTITUTION, 'all_columns']} chalcogen columns · "
            f"x = {rows.loc[SUBSTITUTION, 'concentration']:.4f} · "
            f"vacancies {_percent(rows.loc[VACANCIES, 'concentration'])} of the sites"
            + _area(rows.loc[SUBSTITUTION, "area_nm2"])
            + "\nBy probabilities: "
            + _corrected("x", rows.loc[SUBSTITUTION])
            + " · "
            + _corrected("vacancies", rows.loc[VACANCIES])
        )

    def counted(self) -> int:
        """Defects of the shown layer in the regions that count, all planes together."""
        return sum(int(la.text()) for la in self.count_labels[1:] if la.text().isdigit())

    def not_counted(self) -> int:
        """Points of defects of the shown layer in other regions, where columns don't count."""
        if self.layer is None:
            return 0
        perfect = int((self.layer.features["class"] == self.class_names[0]).sum())
        return max(0, len(self.layer.data) - perfect - self.counted())

    def export(self) -> None:
        """Write the population table where the user says."""
        export_populations(self, self.viewer, self.layer)

    def export_columns(self) -> None:
        """Write the corrected columns where the user says, a file for each plane of a stack."""
        export_columns(self, self.viewer, self.layer)


def _without_columns(layer: Points | None) -> str:
    """Why there is nothing to count."""
    if layer is not None and note(layer).get(AWAITING):
        return (
            f"{layer.name}: {len(layer.data)} points that were opened. Press Detect columns to "
            "find the other columns of the image; the points stay as they are"
        )
    return "No defects yet: detect, or select a · defects layer"


def _corrected(what: str, row: pd.Series) -> str:
    """A concentration corrected for columns in doubt, with the limits of 95 % for these columns."""
    low, value, high = (100 * row[name] for name in ("low", "corrected", "high"))
    return f"{what} {value:.2f} % ({low:.2f}–{high:.2f} %)"


CLASS_HELP = {
    "X2": "Perfect column: two host chalcogens. A point of this class says that there is no defect",
    "XY": "One substituted atom",
    "Y2": "Two substituted atoms",
    "V1": "Single vacancy: one chalcogen missing",
    "V2": "Double vacancy: both chalcogens missing",
    NAMED_ROLE: "A class named by you, by its weight",
    "other": "What fits no class: adatom, antisite, metal vacancy, another phase. It is never "
    "averaged, and no window is cut near it",
}


def _area(area_nm2: float) -> str:
    return "" if area_nm2 != area_nm2 else f" · {area_nm2:.1f} nm² usable"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"
