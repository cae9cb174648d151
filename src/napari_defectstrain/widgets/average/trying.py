"""Try it out: known displacements in the images themselves, and other signals at the same sites."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ...averages.companion import CompanionConfig
from ...crystal.overlaps import Overlap, find_overlaps
from ...io.companions import read_companion
from ...io.files import write_table
from ...output.companions import write_companion
from ...pipeline.companions import CompanionResult, average_companion
from ...pipeline.runs import RunConfig, RunResult
from ...pipeline.selftest import (
    SHIFTED,
    SIMULATED,
    SelfTest,
    SelfTestConfig,
    pulls_text,
    self_test,
)
from ...types import DefectStrainError, Progress
from ..base import forms, tr
from ..base.saving import ask_folder, ask_path
from .live_counts import Gathered, Gathering

DOCK, HEIGHT = "Known displacement", 260
TRIALS = {
    "columns shifted": (SHIFTED,),
    "simulated twins": (SIMULATED,),
    "both": (SHIFTED, SIMULATED),
}
"""What the button may try, by its words."""
_BOOTSTRAP = 2000
"""Samples of a trial: its errors are known to 2 % by them."""


class Trying:
    """Two buttons of the average widget, and the table of what a trial found.

    Parameters
    ----------
    panel : Panel
        The average widget.
    gathered : callable
        Gives what is ticked, and the settings; raises `DefectStrainError`.
    """

    def __init__(
        self, panel: forms.Panel, gathered: Callable[[], tuple[Gathering, RunConfig]]
    ) -> None:
        self._panel, self._gathered = panel, gathered
        form = panel.group(tr("In your own images"))
        self.known = QPushButton(tr("Known displacement"))
        self.known.setToolTip(
            tr(
                "Put known displacements into these images, do everything anew, and "
                "compare: what your microscope can measure. Takes about as long as "
                "detecting and averaging twice"
            )
        )
        self.trials = panel.remember(
            "trials",
            forms.choice(list(TRIALS)),
            tr(
                "Columns shifted: around defect-free ones of the images themselves, by 0, "
                "+0.6 and -4.8 % of the metal spacing. Simulated twins: images with "
                "defects of known relaxation that are simulated after these, with their "
                "profile, noise and contamination"
            ),
        )
        self.companion = QPushButton(tr("Another signal…"))
        self.companion.setToolTip(
            tr(
                "Average what was scanned along with the image (spectrum image, 4D-STEM, a "
                "second detector) over the same windows, class by class: choose its file, "
                "then a folder"
            )
        )
        row = QHBoxLayout()
        row.addWidget(self.known)
        row.addWidget(self.trials)
        form.addRow(row)
        form.addRow(self.companion)
        self.table = TrialTable(panel)
        self._dock = panel.bottom_dock(self.table, DOCK, HEIGHT)
        self.known.clicked.connect(self.try_known)
        self.companion.clicked.connect(self.average_companion)

    def try_known(self) -> None:
        """Start the trial."""
        found = self._found()
        if found is None:
            return
        config = SelfTestConfig(trials=TRIALS[self.trials.currentText()])
        self._panel.run_bar.start(
            lambda progress: self_test(found(), config, progress),
            self._show,
            tr("Fitting columns…"),
        )

    def _show(self, made: SelfTest) -> None:
        self.table.show_trial(made)
        self._dock.open()
        self._panel.run_bar.status.setText(pulls_text(made.table))

    def average_companion(self) -> None:
        """Ask for file and folder, and average."""
        make = self._found()
        if make is None:
            return
        found = make()  # of one image, which takes no time
        if len(found.images) != 1:
            self._panel.run_bar.fail(
                f"another signal: got {len(found.images)} images, expected one ticked (the command "
                "line takes several)"
            )
            return
        text, _ = QFileDialog.getOpenFileName(self._panel, "What was scanned along", "", "All (*)")
        folder = ask_folder(self._panel, tr("Folder of the averages")) if text else None
        if folder is None:
            return
        self._panel.run_bar.start(
            lambda progress: _companion(found, Path(text), folder, progress),
            lambda result: self._panel.run_bar.status.setText(
                "\n".join([f"{', '.join(result.averages)} in {folder}", *result.notes])
            ),
            tr("Averaging another signal…"),
        )

    def _found(self) -> Callable[[], RunResult] | None:
        """What makes the detection of a run of what is ticked, in the worker."""
        try:
            gathering, config = self._gathered()
        except DefectStrainError as mistake:
            self._panel.run_bar.fail(str(mistake))
            return None
        config = config.replace(bootstrap=_BOOTSTRAP, force_material=True)
        return lambda: run_of(gathering(), config)


def run_of(
    gathered: Sequence[Gathered], config: RunConfig, overlaps: Sequence[Overlap] | None = None
) -> RunResult:
    """What is ticked as the detection of a run."""
    images, sites, regions = [], [], []
    for one in gathered:
        images += one.images
        sites += one.sites
        regions += one.regions
    named = [replace(im, name=f"{im.name}_{i + 1}") for i, im in enumerate(images)]
    return RunResult(
        config=config,
        images=tuple(named),
        sites=tuple(sites),
        populations=pd.DataFrame(),
        weights_sha256=None,
        regions=() if any(r is None for r in regions) else tuple(regions),
        overlaps=tuple(find_overlaps(named, sites) if overlaps is None else overlaps),
    )


def _companion(found: RunResult, path: Path, folder: Path, progress: Progress) -> CompanionResult:
    companion, config = read_companion(path), CompanionConfig()
    window = min(config.window_nm, found.config.average.window_nm)
    config = config.replace(window_nm=window)
    result = average_companion(found, {0: companion.data}, config, progress)
    write_companion(result, found, companion, config, folder)
    return result


class TrialTable(QWidget):
    """Built in beside found, with pulls, and a button that saves it.

    Parameters
    ----------
    panel : Panel
        Says what went wrong.
    """

    def __init__(self, panel: forms.Panel) -> None:
        super().__init__()
        self._panel = panel
        self._made: SelfTest | None = None
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 2, 4, 4)
        self.text = QLabel(tr("No trial yet"))
        self.text.setWordWrap(True)
        self.save = QPushButton(tr("Save…"))
        self.save.setToolTip(tr("Write the table as CSV"))
        self.save.setEnabled(False)
        self.save.clicked.connect(self.save_table)
        row = QHBoxLayout()
        row.addWidget(self.text, 1)
        row.addWidget(self.save)
        column.addLayout(row)
        self.rows = forms.read_only_table(
            tr(
                "Pull: found less built in, over the total error. About two in three lie "
                "within ±1 where the errors are right"
            )
        )
        column.addWidget(self.rows, 1)

    def show_trial(self, made: SelfTest) -> None:
        """Show what a trial found."""
        self._made = made
        table = made.table
        if table["trial"].nunique() < 2:
            table = table.drop(columns="trial")
        self.text.setText("\n".join([pulls_text(made.table), *made.warnings]))
        self.save.setEnabled(True)
        heads = [str(c).replace("_", " ") for c in table.columns]
        rows = [
            [f"{value:.2f}" if isinstance(value, float) else str(value) for value in values]
            for values in table.itertuples(index=False)
        ]
        forms.fill_table(self.rows, heads, rows)

    def save_table(self) -> None:
        """Ask where, and write."""
        if self._made is None:
            return
        try:
            path = ask_path(self, tr("Save the trial"), "selftest.csv", "Table (*.csv)", (".csv",))
            if path is not None:
                write_table(path, self._made.table)
        except DefectStrainError as mistake:
            self._panel.run_bar.fail(str(mistake))
