"""The train widget: choose conditions, look at examples, train a network of one's own, use it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from napari.utils.notifications import show_info
from napari.viewer import Viewer
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QPushButton, QScrollArea, QWidget

from ...detect.network.config import DEVICES, TrainConfig
from ...detect.training.resuming import Stopped, files_of, stopped_training
from ...materials import get_material
from ...study import train_command, train_script
from ...types import DefectStrainError
from ..base import forms, tr
from ..base.canvases import TrainingCanvas
from ..base.lifetime import connect
from ..study import CopyTexts
from .conditions import ConditionsControls
from .examples import Examples
from .imitating import Imitating
from .job import TrainingJob
from .own_image import OwnImage
from .own_weights import use_in_detect

SUFFIX = ".safetensors"
ANEW = "Start anew, replace it"
GO_ON = "Go on with it"
PAUSE, RESUME = "Pause", "Resume"


class TrainWidget(forms.Panel):
    """Train a network on simulated images that look like the user's own.

    Parameters
    ----------
    napari_viewer : Viewer
    """

    page = "widgets.md#train-a-network"

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(
            napari_viewer,
            "train",
            "Start training",
            "Train a network under these conditions; asks first where there is one already",
        )
        # Processes that simulate can't be started safely from a thread of a program with a GUI.
        self.base = TrainConfig(workers=0)
        self._job: TrainingJob | None = None
        self.own = OwnImage(self)
        self.conditions = ConditionsControls(self)
        self.own.take_button.clicked.connect(lambda: self.own.set_conditions(self.conditions))
        self.own.contamination_button.clicked.connect(
            lambda: self.own.set_contamination(self.conditions)
        )
        self.imitating = Imitating(self, self.own, self.conditions)
        self.examples = Examples(self, self.own, self.conditions, self.base.window_px)
        self._build_training()
        self._build_log()
        self._build_pause()
        self.copying = CopyTexts(
            self.run_bar.fail,
            lambda: train_command(*self._asked()),
            lambda: train_script(*self._asked()),
            "trains with these settings",
        )
        self.body.addWidget(self.copying)
        self.body.addStretch(1)
        self.run_bar.run_clicked.connect(self.run)
        self.run_bar.idle.connect(self._job_ended)
        connect(self, self.viewer.events.theme, self._follow_theme)

    def _build_training(self) -> None:
        form = self.group(tr("Training"))
        self.weights = self.remember(
            "out", QLineEdit(), tr("File that the weights are written to (safetensors)")
        )
        self.weights.setPlaceholderText(tr("file of weights (*.safetensors)"))
        browse = QPushButton(tr("Browse…"))
        browse.setToolTip(tr("Choose where the weights are written to"))
        browse.clicked.connect(self._browse)
        row = QHBoxLayout()
        row.addWidget(self.weights, 1)
        row.addWidget(browse)
        form.addRow(tr("Weights"), row)
        self.steps = self.remember(
            "steps",
            forms.count(self.base.steps, 1, 1_000_000, " steps"),
            tr(
                "Length of the training: more steps, better weights. The time that it "
                "takes is measured in the first steps"
            ),
        )
        form.addRow(tr("Length"), self.steps)
        self.minutes = self.remember(
            "minutes",
            forms.count(0, 0, 10_000, " min"),
            tr(
                "Longest time [min], pauses included: the training ends then, however many "
                "steps that were"
            ),
        )
        self.minutes.setSpecialValueText(tr("no limit"))
        form.addRow(tr("Time"), self.minutes)
        self.epoch = self.remember(
            "epoch",
            forms.count(self.base.steps_per_epoch, 1, 10_000, " steps"),
            tr("Steps between two points of the plot; after each, the weights so far are written"),
        )
        form.addRow(tr("Epoch"), self.epoch)
        self.device = self.remember(
            "device",
            forms.choice(list(DEVICES)),
            tr(
                "Where the network is trained: auto takes a GPU if there is one (cuda, "
                "mps), else the cpu"
            ),
        )
        form.addRow(tr("Device"), self.device)

    def _build_log(self) -> None:
        form = self.group(tr("Progress"))
        self.log = TrainingCanvas(self.viewer.theme)
        form.addRow(self.log)
        self.use_button = QPushButton(tr("Use in Detect"))
        self.use_button.setToolTip(
            tr(
                "Let the Detect widget use these weights from now on, also while the "
                "training goes on"
            )
        )
        self.use_button.clicked.connect(self.use)
        form.addRow(self.use_button)
        self.use_button.setEnabled(False)

    def _build_pause(self) -> None:
        self.pause_button = QPushButton(PAUSE)
        self.pause_button.setToolTip(tr("Hold the training at its next step; Resume lets it go on"))
        self.pause_button.setEnabled(False)
        self.pause_button.clicked.connect(self.pause)
        self.run_bar.layout().itemAt(0).layout().insertWidget(1, self.pause_button, 1)
        self.run_bar.cancel_button.setToolTip(
            tr("Stop at the next step; a training keeps a checkpoint that it can go on from")
        )

    def config(self) -> TrainConfig:
        """The controls as settings."""
        return self.base.replace(
            conditions=self.conditions.get(),
            steps=self.steps.value(),
            minutes=self.minutes.value() or None,
            steps_per_epoch=self.epoch.value(),
            device=self.device.currentText(),
        )

    def out(self) -> Path:
        """Where the weights go.

        Raises
        ------
        DefectStrainError
            If no file is given, or its folder isn't there.
        """
        text = self.weights.text().strip()
        if not text:
            raise DefectStrainError("got no file for the weights: choose one")
        path = Path(text).expanduser()
        path = path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)
        if path.is_dir() or not path.parent.is_dir():
            raise DefectStrainError(
                f"weights: got {path}, expected a file in a folder that exists; choose another"
            )
        return path

    def _asked(self) -> tuple[TrainConfig, str]:
        """The settings for a program of its own, which may have processes, and the weights."""
        config = self.config().replace(workers=TrainConfig().workers)
        return config, str(self.out())

    def _browse(self) -> None:
        path = ask_weights_path(self, self.weights.text())
        if path:
            self.weights.setText(path)

    def run(self) -> None:
        """Look at what is there under the name, ask what must be asked, and train."""
        if not self.weights.text().strip():
            self._browse()
        try:
            out, config = self.out(), self.config()
        except DefectStrainError as mistake:
            self.run_bar.fail(str(mistake))
            return
        self.run_bar.start(
            lambda progress: stopped_training(out),
            lambda stopped: self._decide(config, out, stopped),
            tr("Looking for an earlier training…"),
        )

    def _decide(self, config: TrainConfig, out: Path, stopped: Stopped | None) -> None:
        """Ask before anything is overwritten, and whether to go on with what is there."""
        if not files_of(out):
            self._train(TrainingJob(config, out, resume=False), [])
            return
        text, answers = _question(config, out, stopped)
        answer = forms.ask(self, tr("There is a network of that name"), text, answers)
        if answer == GO_ON:
            self.conditions.set(stopped.config.conditions)
            same = stopped.config.replace(
                steps=config.steps,
                minutes=config.minutes,
                steps_per_epoch=config.steps_per_epoch,
                device=config.device,
                workers=config.workers,
            )
            self._train(TrainingJob(same, out, resume=True), list(stopped.record))
        elif answer == ANEW:
            self._train(TrainingJob(config, out, resume=False), [])
        else:
            self.run_bar.status.setText(tr("Nothing was done"))

    def _train(self, job: TrainingJob, record: list[dict[str, float]]) -> None:
        self._job = job
        job.epoch_passed.connect(self._epoch_passed)
        self._show_record(record)
        self.use_button.setEnabled(job.resume and job.out.is_file())
        self.run_bar.start(job, self._finished, tr("Starting…"), timed=False)
        self.pause_button.setEnabled(True)
        self.findChild(QScrollArea).ensureWidgetVisible(self.use_button)

    def pause(self) -> None:
        """Hold the training, or let it go on."""
        gate = self._job.gate
        if gate.closed:
            gate.open()
        else:
            gate.close()
        self.pause_button.setText(RESUME if gate.closed else PAUSE)

    def _epoch_passed(self, row: Mapping[str, float]) -> None:
        self._show_record([*self.log.record, dict(row)])
        self.use_button.setEnabled(True)

    def _finished(self, record: list[dict[str, float]]) -> None:
        self._show_record(record)
        self.use_button.setEnabled(True)
        name = self._job.out.name
        self.run_bar.status.setText(f"{name} is trained")
        show_info(f"{name} is trained: Use in Detect finds defects with it")

    def _job_ended(self) -> None:
        if self.run_bar.running:  # looking for an earlier training ended, this one began
            return
        self.pause_button.setText(PAUSE)
        self.pause_button.setEnabled(False)
        if self._job is not None and self._job.stopped:
            self._job.stopped = False
            self.use_button.setEnabled(self._job.out.is_file())
            self.run_bar.status.setText(tr("Stopped, with a checkpoint: Start training can go on"))

    def _show_record(self, record: Sequence[Mapping[str, float]]) -> None:
        names = get_material(self._job.config.conditions.materials[0]).class_names
        self.log.show_record(record, names)

    def use(self) -> None:
        """Let Detect use the weights."""
        docked = use_in_detect(self._job.out, self._job.config.conditions.materials)
        text = f"Detect uses {self._job.out.name} from now on"
        show_info(text if docked else f"{text}: open it under Plugins")

    def _follow_theme(self, *_: object) -> None:
        for canvas in (self.examples.canvas, self.log, self.imitating):
            canvas.set_theme(self.viewer.theme)


def ask_weights_path(parent: QWidget, present: str) -> str:
    """Which file to write weights to; empty where the user cancels.

    What is there already is asked about when the training starts, not here.
    """
    path, _ = QFileDialog.getSaveFileName(
        parent,
        "Weights",
        present or "own.safetensors",
        f"Weights (*{SUFFIX})",
        options=QFileDialog.Option.DontConfirmOverwrite,
    )
    return path


def _question(config: TrainConfig, out: Path, stopped: Stopped | None) -> tuple[str, list[str]]:
    """What to ask where files of that name are there."""
    there = ", ".join(path.name for path in files_of(out))
    if stopped is None:
        return f"{out.parent} holds {there}, without a checkpoint to go on from.", [ANEW]
    if stopped.is_done(config):
        return (
            f"{out.parent} holds {there}: a training of {stopped.step} steps, which is done. To "
            "train it on, choose a greater length, or a later time.",
            [ANEW],
        )
    text = f"{out.parent} holds {there}: a training that stopped at step {stopped.step}. "
    if stopped.config.conditions != config.conditions:
        text += "It was begun under other conditions than chosen now; going on keeps its own. "
    return text + f"Go on to step {config.steps}?", [GO_ON, ANEW]
