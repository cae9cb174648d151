"""Learning from corrections, below the viewer: which images are done, what it is worth, use it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from napari.components import ViewerModel
from napari.utils.notifications import show_info
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ...judge import JudgeConfig
from ...materials import get_material
from ...pipeline.loading import FILE_SHA256
from ...pipeline.runs import RunConfig
from ...study import Study, open_study
from ...teaching import (
    SUFFIX,
    Course,
    Lesson,
    TaughtFrom,
    course_text,
    lessons_of_study,
    read_taught,
    seen_lessons,
    taught_folder,
    taught_names,
    taught_path,
    teach_judge,
    write_taught,
)
from ...types import DefectStrainError, Progress
from ..base import tr
from ..base.worker import RunBar
from ..study.keeper import keeper_of

DOCK = "Detect: teach"
HEIGHT = 260
CONTROLS_PX = 270
NOTHING_TAUGHT = "nothing: as for any microscope"
OF_STUDY = "what the study was taught"
_NOTHING, _STUDY, _NAMED = "nothing", "study", "named"
FINDING_SHARE = 0.3
NO_STUDY = (
    "Corrections are learnt from in a study: save one (Study, Save study…), correct columns, then "
    "come back"
)
WELCOME = (
    "Tick the images whose columns you looked at, all of them, corrected or not. Of the others "
    "only what lies around your corrections counts, which can't tell what helps: tick one at least."
    "\n\n"
    "Learn from my corrections then teaches the brightness and shares of the classes and the "
    "thresholds, and tries them on columns that they weren't learnt from. Nothing is changed "
    "before you press Use it."
)


class TaughtChoice(QComboBox):
    """What was learnt from corrections, by name, to detect with.

    Parameters
    ----------
    viewer : ViewerModel
        The study that is open in it may have been taught on the command line.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = viewer
        self.setToolTip(
            tr(
                "What was learnt from corrections (Teach…): brightness and shares of the "
                "classes of your microscope, and thresholds"
            )
        )
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        self.refresh()

    def refresh(self, chosen: str = "") -> None:
        """Offer the names that there are now, and choose one."""
        before = chosen or self.name
        of_study_before = not before and self.of_study
        study = study_of(self.viewer)
        self.blockSignals(True)
        self.clear()
        self.addItem(NOTHING_TAUGHT, _NOTHING)
        if study is not None and study.config.judge.learnt is not None:
            self.addItem(OF_STUDY, _STUDY)
        for name in taught_names():
            self.addItem(name, _NAMED)
        place = 0
        for i in range(self.count()):
            named = self.itemData(i) == _NAMED and self.itemText(i) == before
            if named or (of_study_before and self.itemData(i) == _STUDY):
                place = i
        self.setCurrentIndex(place)
        self.blockSignals(False)

    def choose_study(self) -> None:
        """Take what the study was taught, if anything."""
        self.refresh()
        self.setCurrentIndex(max(self.findData(_STUDY), 0))

    @property
    def name(self) -> str:
        """The chosen one; empty for none, and for that of the study."""
        return self.currentText() if self.currentData() == _NAMED else ""

    @property
    def of_study(self) -> bool:
        """Whether what the study was taught is chosen."""
        return bool(self.currentData() == _STUDY)

    def applied_to(self, config: RunConfig) -> RunConfig:
        """Settings with what was taught; the study's other settings of the judge stay.

        Raises
        ------
        DefectStrainError
            If it is for another material, or gone, or other weights are asked for beside it.
        """
        study = study_of(self.viewer)
        judge = config.judge if study is None else study.config.judge
        if study is not None and self.of_study:
            # what the judge learnt holds with the network whose answers it learnt from
            detect = config.detect.replace(weights=study.config.detect.weights)
            return config.replace(judge=judge, detect=detect)
        if judge.learnt is not None:
            judge = judge.replace(learnt=None, network_say=JudgeConfig().network_say)
        config = config.replace(judge=judge)
        if not self.name:
            return config
        taught, asked = read_taught(self.name), config.detect.weights
        if asked is not None and asked != str(taught.weights):
            raise DefectStrainError(
                f"taught {self.name}: got the weights {asked}, too, expected one of them: take the "
                "bundled model, as what was taught brings its network"
            )
        return taught.applied_to(config)


def study_of(viewer: ViewerModel) -> Study | None:
    """The study that is open in a viewer."""
    keeper = keeper_of(viewer)
    return None if keeper is None else keeper.study


@dataclass(frozen=True)
class Learnt:
    """What the corrections of a study taught.

    Parameters
    ----------
    course : Course
    lessons : list of Lesson
    material : str
        Label of the host.
    notes : list of str
        Of the images.
    parent : str
        Name of what was in use.
    weights : str or None
        Of the network that was in use; None for the package's own.
    """

    course: Course
    lessons: list[Lesson]
    material: str
    notes: list[str]
    parent: str
    weights: str | None


class TeachPanel(QWidget):
    """Teaches the judge by the corrections of the study that is open.

    Parameters
    ----------
    viewer : ViewerModel
    config : callable
        Gives the settings to detect with.
    taught : TaughtChoice
        What is in use.
    """

    use = Signal(str)
    """Emitted with the name of what is to be used from now on."""

    def __init__(
        self, viewer: ViewerModel, config: Callable[[], RunConfig], taught: TaughtChoice
    ) -> None:
        super().__init__()
        self.viewer, self._config, self._taught = viewer, config, taught
        self.learnt: Learnt | None = None
        self.told = QPlainTextEdit(WELCOME)
        self.told.setReadOnly(True)
        self.told.setTabChangesFocus(True)
        self.told.setAccessibleName(tr("What held-out columns say"))
        row = QHBoxLayout(self)
        row.setContentsMargins(4, 2, 4, 4)
        row.addWidget(self._controls())
        row.addWidget(self.told, 1)
        self.refresh()

    def _controls(self) -> QWidget:
        controls = QWidget()
        controls.setFixedWidth(CONTROLS_PX)
        column = QVBoxLayout(controls)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(3)
        self.images = QListWidget()
        self.images.setToolTip(
            tr(
                "Tick an image if you looked at all of its columns. Numbers: columns that "
                "were corrected"
            )
        )
        self.images.setAccessibleName(tr("Images whose columns were all looked at"))
        self.images.setMinimumHeight(56)
        self.bar = RunBar(
            tr("Learn from my corrections"),
            tr(
                "Learn the classes of this microscope, then thresholds, each tried on "
                "images that were held out; changes nothing"
            ),
        )
        self.bar.run_clicked.connect(self.run)
        self.name = QLineEdit()
        self.name.setPlaceholderText(tr("name, e.g. our microscope"))
        self.name.setToolTip(tr("Keep what helps under this name"))
        self.use_button = QPushButton(tr("Use it"))
        self.use_button.setToolTip(
            tr(
                "Keep what helps under the name, and detect with it from now on; columns "
                "that are there stay until they are looked for again"
            )
        )
        self.use_button.setEnabled(False)
        self.use_button.clicked.connect(self.keep)
        kept = QHBoxLayout()
        kept.addWidget(self.name, 1)
        kept.addWidget(self.use_button)
        column.addWidget(QLabel(tr("Looked at as a whole:")))
        column.addWidget(self.images, 1)
        column.addWidget(self.bar)
        column.addLayout(kept)
        return controls

    def showEvent(self, event: object) -> None:
        """The images of the study as they are now."""
        super().showEvent(event)
        self.refresh()

    def refresh(self) -> None:
        """List the images of the study that is open; ticks stay."""
        done = self.done
        self.images.clear()
        study = study_of(self.viewer)
        for name in () if study is None else study.images:
            if not study.has_sites(name):
                continue
            item = QListWidgetItem(f"{name}  ({study.edited_columns(name)})")
            item.setData(Qt.ItemDataRole.UserRole, name)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            ticked = Qt.CheckState.Checked if name in done else Qt.CheckState.Unchecked
            item.setCheckState(ticked)
            self.images.addItem(item)

    @property
    def done(self) -> list[str]:
        """Names of the ticked images."""
        items = [self.images.item(i) for i in range(self.images.count())]
        return [
            item.data(Qt.ItemDataRole.UserRole)
            for item in items
            if item.checkState() == Qt.CheckState.Checked
        ]

    def run(self) -> None:
        """Learn, in a thread, and say what it is worth."""
        study = study_of(self.viewer)
        if study is None:
            self.told.setPlainText(NO_STUDY)
            self.bar.fail("no study is open")
            return
        try:
            config = self._config()
        except DefectStrainError as error:
            self.bar.fail(str(error))
            return
        path, done, parent = study.path, self.done, self._taught.name
        self.use_button.setEnabled(False)

        def compute(progress: Progress) -> Learnt:
            course, lessons, material, notes = _taught_by(path, done, config, progress)
            return Learnt(course, lessons, material, notes, parent, config.detect.weights)

        self.bar.start(compute, self._show, tr("Learning…"))

    def _show(self, learnt: Learnt) -> None:
        self.learnt, course = learnt, learnt.course
        text = course_text(course, get_material(learnt.material))
        self.told.setPlainText("\n".join([text, *learnt.notes]))
        self.use_button.setEnabled(course.helps)
        self.bar.status.setText("this helps" if course.helps else "doesn't help")

    def keep(self) -> None:
        """Keep what was taught under the name, and use it."""
        if self.learnt is None:
            return
        name = self.name.text().strip()
        if not name:
            self.bar.fail("got no name, expected one to keep what was taught under")
            self.name.setFocus()
            return
        images = [
            TaughtFrom(
                one.name, str(one.image.metadata.get(FILE_SHA256, "")), one.corrections, one.whole
            )
            for one in self.learnt.lessons
        ]
        learnt = self.learnt
        weights = None if learnt.weights is None else Path(learnt.weights)
        try:
            if taught_path(name).parent != taught_folder():
                raise DefectStrainError(
                    f"got the name {name!r}, expected one without folders and without {SUFFIX}: it "
                    "is to be found under Taught"
                )
            made = write_taught(
                name, learnt.course, learnt.material, images, learnt.parent, weights
            )
        except DefectStrainError as error:
            self.bar.fail(str(error))
            return
        self.use_button.setEnabled(False)
        show_info(f"Kept as {made.path}; the next detection uses it")
        self.use.emit(made.name)


def _taught_by(
    path: Path, done: list[str], config: RunConfig, progress: Progress
) -> tuple[Course, list[Lesson], str, list[str]]:
    """What the corrections in a study's folder teach; its journal is on the disk at any time."""
    host = get_material(config.material).host
    with open_study(path, read_only=True) as study:
        named = get_material(study.config.material).host.label
        if host.label != named:
            raise DefectStrainError(
                f"teach: got the material {host.label}, expected {named}, by which the study's "
                "columns were named"
            )
        lessons, notes = lessons_of_study(study, done)
    seen = seen_lessons(lessons, config, lambda f, text: progress(FINDING_SHARE * f, text))
    course = teach_judge(
        seen,
        host,
        config.judge,
        lambda f, text: progress(FINDING_SHARE + (1 - FINDING_SHARE) * f, text),
    )
    return course, lessons, host.label, notes
