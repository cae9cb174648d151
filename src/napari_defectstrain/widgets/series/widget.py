"""The series widget: frames in; drift, sums, tracks, rates and cross sections out."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from napari.layers import Image, Layer
from napari.utils.notifications import show_info, show_warning
from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QPushButton

from ...frames import FrameConfig
from ...materials import MATERIALS
from ...output import write_series
from ...pipeline import RunConfig
from ...progress import subprogress
from ...series import (
    KINDS,
    RegisteredSeries,
    SeriesConfig,
    SeriesResult,
    follow_registered,
    register_series,
    series_command,
    series_script,
    series_text,
)
from ...types import CalibratedImage, DefectStrainError, Progress
from ..base import Steps, ask_folder, connect, forms, tr
from ..layers import (
    CALIBRATION,
    free_name,
    image_planes,
    kind,
    layer_id,
    note,
    plane_placement,
    provenance,
)
from ..study import CopyTexts, keeper_of, paths_of
from .frames_table import FramesList, by_hand
from .judged_frames import JudgedFrames
from .plots import DriftCanvas, HistoryCanvas
from .series_layers import show_series

KIND_NAMES = {
    "dose": "Dose series",
    "time": "Time series",
    "frames": "Sum only",
}
REGISTERING = 0.3
OUT = "series"
"""Folder of results that a command names."""


class _Asked(NamedTuple):
    """What a registration is of, as it was when its job began."""

    layer: str
    config: FrameConfig
    material: str
    pixel_size_pm: float | None
    data: Any

    @classmethod
    def of(cls, layer: Layer, frames: Sequence[CalibratedImage], run: RunConfig) -> "_Asked":
        size = frames[0].pixel_size_pm if frames else None
        return cls(layer_id(layer), run.series, run.material, size, layer.data)

    def same_as(self, other: "_Asked") -> bool:
        """Whether it is of the same frames, of the same pixel size, with the same settings."""
        return self[:4] == other[:4] and self.data is other.data


class SeriesWidget(forms.Panel):
    """Follow every site of a series of frames.

    Parameters
    ----------
    napari_viewer : Viewer
    """

    page = "widgets.md#follow-a-series"

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(
            napari_viewer,
            "series",
            "Follow defects",
            "Register the frames, sum a few each, detect the columns of each sum, and follow "
            "every site: classes, rates and cross sections against dose or time",
        )
        self.registered: RegisteredSeries | None = None
        self.result: SeriesResult | None = None
        self.judged: JudgedFrames | None = None
        self._of: _Asked | None = None
        self._build_source()
        self._build_frames()
        self._build_sums()
        self._build_result()
        self.copying = CopyTexts(
            self.run_bar.fail,
            lambda: series_command(*self._asked(), OUT),
            lambda: series_script(*self._asked(), OUT),
            "of the file of the frames, with these settings",
        )
        self.body.addWidget(self.copying)
        self.body.addStretch(1)
        self.run_bar.run_clicked.connect(self.run)
        self.source.layer_changed.connect(self._source_changed)
        self.watch_layers(self.source.refresh)
        connect(self, self.viewer.events.theme, self._follow_theme)
        self.source.refresh()

    def _build_source(self) -> None:
        form = self.group(tr("Series"))
        self.source = forms.LayerCombo(self.viewer, _is_stack, "all {} stacks")
        self.source.setToolTip(tr("Image layer whose planes are the frames, in order"))
        form.addRow(tr("Frames"), self.source)
        self.kind = self.remember(
            "kind",
            forms.choice([KIND_NAMES[one] for one in KINDS]),
            tr(
                "What the frames are: of a specimen that changes with dose or with time, "
                "or of one that stays as it is"
            ),
        )
        form.addRow(tr("Kind"), self.kind)
        self.material = self.remember(
            "material",
            forms.choice(sorted(MATERIALS, key=lambda m: m != "WSe2")),
            tr("Crystal: gives the names of the classes and the lattice constant [pm]"),
        )
        form.addRow(tr("Material"), self.material)
        self.dose = self.remember(
            "dose_1e6",
            forms.number(0.0, 0.0, 9999.0, 0.1, 3, " ·10⁶ e⁻/nm²"),
            tr(
                "Dose of a frame [10⁶ e-/nm²]: gives rates per dose and cross sections "
                "[barn]. 0 takes what the file says; without either, rates are per frame"
            ),
        )
        self.dose.setSpecialValueText(tr("by the file"))
        form.addRow(tr("Dose a frame"), self.dose)
        self.seconds = self.remember(
            "frame_time_s",
            forms.number(0.0, 0.0, 9999.0, 0.1, 3, " s"),
            tr(
                "Time from the start of a frame to that of the next [s]; 0 takes what the "
                "file says (dwell time, without flyback)"
            ),
        )
        self.seconds.setSpecialValueText(tr("by the file"))
        form.addRow(tr("Time a frame"), self.seconds)

    def _build_frames(self) -> None:
        form = self.group(tr("Frames"))
        self.register_button = QPushButton(tr("Register"))
        self.register_button.setToolTip(
            tr(
                "Lay the frames upon each other: drift, bad frames, and columns that "
                "change meanwhile"
            )
        )
        self.register_button.clicked.connect(self.register)
        form.addRow(self.register_button)
        self.straighten = self.remember(
            "straighten",
            forms.checkbox(tr("Straighten scan lines"), True),
            tr(
                "Undo the jitter of the scan lines, as far as it can be told from "
                "structure (slower)"
            ),
        )
        form.addRow(self.straighten)
        self.drift = DriftCanvas(self.viewer.theme)
        form.addRow(self.drift)
        self.drift.show_drift(None)
        self.frames = FramesList()
        self.frames.ticked.connect(self._ticked)
        form.addRow(self.frames)
        self.changed = QLabel(tr("Not registered yet"))
        self.changed.setWordWrap(True)
        self.changed.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        form.addRow(self.changed)

    def _build_sums(self) -> None:
        form = self.group(tr("Sums"))
        self.per_sum = self.remember(
            "per_sum",
            forms.count(0, 0, 10_000, " frames"),
            tr(
                "Frames a sum. Proposed: the smallest number at which the expected purity "
                "of every class reaches the one below"
            ),
        )
        self.per_sum.setSpecialValueText(tr("as proposed"))
        form.addRow(tr("Sum"), self.per_sum)
        self.purity = self.remember(
            "purity",
            forms.number(0.95, 0.5, 1.0, 0.01, 3),
            tr("Expected purity (fraction) that every class shall have, for the proposed number"),
        )
        form.addRow(tr("Purity"), self.purity)
        self.slide = self.remember(
            "step",
            forms.count(0, 0, 10_000, " frames"),
            tr(
                "From the start of one sum to that of the next [frames]: fewer than in a "
                "sum, and the sums slide and share frames, which their errors allow for. "
                "In groups: no frame is in two sums"
            ),
        )
        self.slide.setSpecialValueText(tr("in groups"))
        form.addRow(tr("Step"), self.slide)

    def _build_result(self) -> None:
        form = self.group(tr("Result"))
        self.text = QLabel("")
        self.text.setWordWrap(True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        form.addRow(self.text)
        self.plots_button = QPushButton(tr("Show plots"))
        self.plots_button.setToolTip(
            tr("Classes against dose or time, and rates, below the canvas")
        )
        self.plots_button.clicked.connect(lambda: self.dock.open())
        self.save_button = QPushButton(tr("Save results…"))
        self.save_button.setToolTip(
            tr(
                "Write series.csv, events.csv, tracks.csv, rates.csv, holes.csv, the sums "
                "and the figures into a folder, as the command series does"
            )
        )
        self.save_button.clicked.connect(self.save)
        form.addRow(self.plots_button)
        form.addRow(self.save_button)
        self.canvas = HistoryCanvas(self.viewer.theme)
        self.dock = self.bottom_dock(self.canvas, "Series: classes and rates", 280)
        self._show_result(None)

    def config(self) -> SeriesConfig:
        """The controls as settings of the series.

        Raises
        ------
        DefectStrainError
            If they contradict each other.
        """
        names = {text: key for key, text in KIND_NAMES.items()}
        return SeriesConfig(
            kind=names[self.kind.currentText()],
            per_sum=self.per_sum.value() or None,
            step=self.slide.value() or None,
            purity=self.purity.value(),
            dose_e_per_nm2=self.dose.value() * 1e6 or None,
            frame_time_s=self.seconds.value() or None,
        )

    def frame_config(self) -> FrameConfig:
        """Settings of the registration: what the user ticked on and off."""
        config = FrameConfig(jitter="auto" if self.straighten.isChecked() else "off")
        if self.judged is None:
            return config
        ticked = by_hand(self.judged.config, self.judged.bad, self.frames.ticks())
        return config.replace(exclude=ticked.exclude, include=ticked.include)

    def run_config(self) -> RunConfig:
        """Settings of the chain."""
        return RunConfig(material=self.material.currentText(), series=self.frame_config())

    def _asked(self) -> tuple[list[str], SeriesConfig, RunConfig]:
        """The file of the frames, and all settings."""
        if self.source.layer is None:
            raise DefectStrainError("got no stack of frames to name: open one first")
        return paths_of(self.viewer, [self.source.layer]), self.config(), self.run_config()

    def take_up(self) -> None:
        """Show what a study that was opened brought along."""
        self.source.refresh()
        self._source_changed()

    def register(self) -> None:
        """Register the frames of the chosen layer."""
        try:
            layer, frames = self._frames()
        except DefectStrainError as mistake:
            self.run_bar.fail(str(mistake))
            return
        run = self.run_config()
        asked = _Asked.of(layer, frames, run)
        self.run_bar.start(
            lambda progress: register_series(frames, run, layer.name, progress),
            lambda found: self._registered(layer, asked, found),
            tr("Registering the frames…"),
        )

    def run(self) -> None:
        """Register if need be, then follow the sites."""
        try:
            layer, frames = self._frames()
            config, run = self.config(), self.run_config()
        except DefectStrainError as mistake:
            self.run_bar.fail(str(mistake))
            return
        asked = _Asked.of(layer, frames, run)
        known = self.registered if self._is_registered(asked) else None
        self.run_bar.start(
            lambda progress: _follow(frames, known, config, run, layer.name, progress),
            lambda result: self._followed(layer, asked, result),
            "Registering the frames…" if known is None else "Detecting columns…",
        )

    def _frames(self) -> tuple[Layer, list[CalibratedImage]]:
        layer = self.source.layer
        if layer is None:
            raise DefectStrainError(
                "got no stack of frames: open one (File > Open Sample > Dose series), or choose a "
                "layer in the list"
            )
        return layer, frames_of(layer)

    def _is_registered(self, asked: "_Asked") -> bool:
        return self._of is not None and self._of.same_as(asked)

    def _registered(self, layer: Layer, asked: "_Asked", found: RegisteredSeries) -> None:
        self.registered, self._of = found, asked
        text = _changed_text(found)
        self._show_frames(JudgedFrames.of(found, asked.config, asked.material, text))
        self._keep_frames(layer)
        self.run_bar.status.setText(tr("Registered"))
        for text in found.warnings:
            show_warning(text)

    def _followed(self, layer: Image, asked: "_Asked", result: SeriesResult) -> Steps[None]:
        self._registered(layer, asked, result.registered)
        yield
        self._show_result(result)
        for text in result.warnings[len(result.registered.warnings) :]:
            show_warning(text)
        if result.histories is None:
            total = result.registered.total
            self.viewer.add_image(
                total.data,
                name=free_name(self.viewer, f"{layer.name} · sum"),
                metadata={
                    **provenance(
                        "sum", {"frames": total.metadata["frames"]}, frames_of=layer_id(layer)
                    ),
                    **{k: v for k, v in layer.metadata.items() if k == CALIBRATION},
                },
                **plane_placement(layer, result.registered.found.region[0::2]),
            )
            return
        layer.visible = False
        yield from show_series(self.viewer, layer, result)
        self.dock.open()
        self.run_bar.status.setText(f"{len(result.histories.sites.place_px)} sites followed")

    def _show_result(self, result: SeriesResult | None) -> None:
        self.result = result
        followed = result is not None and result.histories is not None
        self.text.setText("" if result is None else series_text(result))
        self.plots_button.setEnabled(followed)
        self.save_button.setEnabled(result is not None)
        self.canvas.show_result(result if followed else None)

    def save(self) -> None:
        """Write the results into a folder."""
        folder = ask_folder(self, tr("Folder for the results of the series"))
        if folder is None or self.result is None:
            return
        result = self.result
        self.run_bar.start(
            lambda progress: write_series(result, folder),
            lambda notes: self._saved(str(folder), notes),
            tr("Writing the results…"),
        )

    def _saved(self, folder: str, notes: list[str]) -> None:
        for text in notes:
            show_warning(text)
        show_info(f"the results of the series are in {folder}")
        self.run_bar.status.setText(tr("Saved"))

    def _source_changed(self) -> None:
        layer = self.source.layer
        if self._of is not None and (layer is None or layer_id(layer) != self._of.layer):
            self.registered, self._of = None, None
            self._show_frames(None)
        if (
            self._of is None
            and layer is not None
            and (kept := JudgedFrames.kept(layer)) is not None
        ):
            # of a study: what was found is shown, the sum is made when it is asked for
            self._of = _Asked(layer_id(layer), kept.config, kept.material, None, None)
            self._show_frames(kept)

    def _show_frames(self, judged: JudgedFrames | None) -> None:
        self.judged = judged
        self.drift.show_drift(None if judged is None else judged.drift)
        self.frames.show_frames(judged)
        self.changed.setText(tr("Not registered yet") if judged is None else judged.changed)

    def _ticked(self) -> None:
        layer = self.source.layer
        if self.judged is not None and layer is not None:
            self.judged = self.judged.ticked(self.frames.ticks())
            self._keep_frames(layer)

    def _keep_frames(self, layer: Layer) -> None:
        """Note what is known of the frames with their layer, and so in its study."""
        assert self.judged is not None
        self.judged.keep(layer)
        keeper = keeper_of(self.viewer)
        if keeper is not None:
            keeper.window_changed()

    def _follow_theme(self, *_: object) -> None:
        for canvas in (self.drift, self.canvas):
            canvas.set_theme(self.viewer.theme)


def frames_of(layer: Layer) -> list[CalibratedImage]:
    """The planes of a layer with what its file says of dose and time."""
    planes = image_planes(layer)
    about = {k: v for k, v in note(layer).items() if k in _ABOUT}
    return [
        CalibratedImage(p.data, p.pixel_size_pm, layer.name, {**about, **p.metadata})
        for p in planes
    ]


_ABOUT = ("dwell_time_us", "beam_current_pa", "dose_e_per_nm2", "simulation", "beam_energy_kev")


def _is_stack(layer: Layer) -> bool:
    return isinstance(layer, Image) and kind(layer) == "" and layer.data.ndim == 3 and not layer.rgb


def _follow(
    frames: list[CalibratedImage],
    known: RegisteredSeries | None,
    config: SeriesConfig,
    run: RunConfig,
    name: str,
    progress: Progress,
) -> SeriesResult:
    if known is None:
        known = register_series(frames, run, name, subprogress(progress, 0.0, REGISTERING))
    return follow_registered(known, config, run, subprogress(progress, REGISTERING, 1.0))


def _changed_text(found: RegisteredSeries) -> str:
    good = int((~found.found.bad).sum())
    text = f"{good} of {len(found.frames)} frames are summed"
    if found.changed is None:
        return f"{text}; whether columns change can't be told"
    if not len(found.changed):
        return f"{text}; no column changes by more than noise"
    return f"{text}; {len(found.changed)} of {found.changed.sites} chalcogen columns change"
