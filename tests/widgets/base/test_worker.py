"""Jobs, their one bar, and results that are shown a step at a time."""

import threading

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow
from strain_stage import measured_classes, settle, show_averages, stack_of, strain_widget
from widget_stage import errors, finish

from napari_defectstrain.averages.average import average_stack
from napari_defectstrain.pipeline import measurement_cache
from napari_defectstrain.types import Cancelled, DefectStrainError
from napari_defectstrain.widgets.average import measuring, windows_model
from napari_defectstrain.widgets.average.widget import AverageWidget
from napari_defectstrain.widgets.average.windows_model import WindowsModel
from napari_defectstrain.widgets.base.canvases import ThemedCanvas
from napari_defectstrain.widgets.base.pacing import TimeLeft, at_once
from napari_defectstrain.widgets.base.worker import PROGRESS_STEPS, Part, RunBar, Stepper
from napari_defectstrain.widgets.layers.averages import averages_in_steps
from napari_defectstrain.widgets.layers.sites import provenance
from napari_defectstrain.widgets.strain import widget as strain_module


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "widgets.json"))


@pytest.fixture
def bar(qtbot):
    widget = RunBar("Run", "Runs")
    qtbot.addWidget(widget)
    return widget


@pytest.fixture
def turns(bar):
    """A list that grows with each turn of the event loop."""
    counted = []
    timer = QTimer(bar)
    timer.timeout.connect(lambda: counted.append(1))
    timer.start(0)
    return counted


def idle(qtbot, bar):
    qtbot.waitUntil(lambda: not bar.running, timeout=60_000)


def test_each_step_of_a_result_has_a_turn_of_the_event_loop_of_its_own(qtbot, bar, turns):
    seen, after = [], []

    def show(result):
        for _ in range(result):
            seen.append((len(turns), bar.running, bar.cancel_button.isEnabled()))
            yield
        return lambda: after.append(bar.running)

    bar.start(lambda progress: 5, show, "working")
    idle(qtbot, bar)
    assert len({turn for turn, *_ in seen}) == 5
    assert all(running and not cancel for _, running, cancel in seen)
    # what comes next may start a job: the bar is free by then
    assert after == [False]
    assert bar.run_button.isEnabled() and bar.bar.value() == 0 and bar.status.text() == ""


def test_a_mistake_found_while_showing_is_said_and_frees_the_bar(qtbot, bar, monkeypatch):
    shown = errors(monkeypatch)
    ended = []
    bar.idle.connect(lambda: ended.append(bar.running))

    def show(_result):
        yield
        raise DefectStrainError("its image was removed")

    bar.start(lambda progress: None, show, "working")
    idle(qtbot, bar)
    assert shown == ["its image was removed"] == [bar.status.text()]
    assert ended == [False]


def test_closing_shows_the_rest_of_a_result_at_once(qtbot, bar):
    seen = []

    def show(_result):
        for i in range(50):
            seen.append(i)
            yield

    bar.start(lambda progress: None, show, "working")
    qtbot.waitUntil(lambda: len(seen) > 1, timeout=60_000)
    bar.cancel()
    assert seen == list(range(50)) and not bar.running


def test_the_bar_goes_on_while_a_result_is_shown(qtbot, bar):
    told, values = [], []
    bar.progressed.connect(lambda whole, text: told.append((whole, text)))

    def show(_result):
        for _ in range(20):
            values.append(bar.bar.value())
            yield

    bar.start(lambda progress: None, show, "working", Part(low=0.5, shown=0.5))
    idle(qtbot, bar)
    shown = [whole for whole, text in told if text == "Showing the results…"]
    assert len(shown) == 21 and shown == sorted(set(shown))
    assert shown[0] == 0.75 and 0.9 < shown[-1] < 1.0
    assert values == [round(PROGRESS_STEPS * whole) for whole in shown[:20]]


def test_a_job_that_tells_the_time_left_itself_is_not_joined(qtbot, bar, monkeypatch):
    monkeypatch.setattr(TimeLeft, "text", lambda self: "about 6 min left")
    held = threading.Event()

    def compute(progress):
        progress(0.5, "epoch 1; about 5 min left")
        held.wait(20)

    for timed, lines in ((False, 1), (True, 2)):
        held.clear()
        bar.start(compute, lambda _: None, "Starting…", timed=timed)
        qtbot.waitUntil(lambda: "epoch" in bar.status.text(), timeout=60_000)
        assert len(bar.status.text().splitlines()) == lines
        held.set()
        idle(qtbot, bar)


def test_a_series_of_jobs_fills_one_bar_once(qtbot, bar):
    values, texts = [], []

    def job(number, low, high):
        def compute(progress):
            for fraction in (0.0, 0.5):
                progress(fraction, "looking")
            return None

        def then(_):
            if (number, high) != (3, 1.0):
                job(*((number, 0.5, 1.0) if high == 0.5 else (number + 1, 0.0, 0.5)))

        bar.start(compute, then, "looking", Part(number, 3, low, high))
        values.append(bar.bar.value())
        texts.append(bar.status.text())

    job(1, 0.0, 0.5)
    idle(qtbot, bar)
    starts = [round(PROGRESS_STEPS * i / 6) for i in range(6)]
    assert values == starts
    assert [text.splitlines()[1] for text in texts] == [
        f"{number} of 3 images" for number in (1, 1, 2, 2, 3, 3)
    ]


def test_time_left_counts_work_and_no_questions():
    now = [0.0]
    left = TimeLeft(lambda: now[0])
    assert left.seconds_left() is None
    now[0] = 10.0
    left.note(0.25)
    assert left.seconds_left() == pytest.approx(30.0)
    now[0] = 15.0  # nothing new: the end comes nearer all the same
    assert left.seconds_left() == pytest.approx(25.0)
    left.pause()
    now[0] = 115.0
    left.go_on()
    assert left.text() == "about 25 s left"
    now[0] = 145.0
    assert left.text() == ""  # it has run out


class Docked:
    """A run bar in a dock of a window, with a job that ends when it is told to."""

    def __init__(self, qtbot, bar):
        self.window = QMainWindow()
        qtbot.addWidget(self.window)
        self.dock = QDockWidget("dock", self.window)
        self.dock.setWidget(bar)
        self.window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self.dock)
        self.window.show()
        qtbot.waitUntil(bar.isVisible, timeout=60_000)
        bar.stage = self  # a window lives as long as its bar
        self.go_on = threading.Event()
        self.stopped = threading.Event()
        bar.start(self.compute, lambda _: None, "working")

    def compute(self, progress):
        try:
            while not self.go_on.wait(0.01):
                progress(0.1, "working")
        except Cancelled:
            self.stopped.set()
            raise


@pytest.mark.parametrize(
    ("answer", "hidden", "stops"), [(True, True, True), (False, True, False), (None, False, False)]
)
def test_hiding_the_panel_of_a_running_job_asks(qtbot, bar, monkeypatch, answer, hidden, stops):
    monkeypatch.setattr(bar, "_ask_to_stop", lambda: answer)
    stage = Docked(qtbot, bar)
    stage.dock.close()
    assert stage.dock.isHidden() is hidden
    if not stops:
        qtbot.wait(50)
        assert bar.running
        stage.go_on.set()
    idle(qtbot, bar)
    assert stage.stopped.is_set() is stops


def test_an_idle_panel_is_hidden_without_a_question(qtbot, bar, monkeypatch):
    monkeypatch.setattr(bar, "_ask_to_stop", lambda: pytest.fail("asked"))
    stage = Docked(qtbot, bar)
    stage.go_on.set()
    idle(qtbot, bar)
    stage.dock.close()
    assert stage.dock.isHidden()


def test_averages_come_a_layer_a_step():
    names = ("2Se", "SeTe", "SV")
    stacks = {name: stack_of(name) for name in names}
    averages = {name: average_stack(stack) for name, stack in stacks.items()}
    about = provenance("average", {}, run="run", images=["region"], image_ids=["1"])
    viewer, counts = ViewerModel(), []
    steps = averages_in_steps(viewer, stacks, averages, (0.0, 0.0), about, True)
    for _ in steps:
        new = viewer.layers[max(counts, default=0) :]
        assert not any(layer.visible for layer in new)  # shown in a step of its own
        counts.append(len(viewer.layers))
    # three averages, their labels, three stacks of windows
    assert sorted(set(counts)) == [1, 2, 3, 4, 5, 6, 7]
    assert [layer.visible for layer in viewer.layers] == 4 * [True] + 3 * [False]


def test_what_averages_were_measured_serves_their_strain_and_a_step_back(qtbot, monkeypatch):
    fits = []
    made = measured_classes()

    def fit(stacks, config, progress):
        fits.append({name: stack.n for name, stack in stacks.items()})
        return dict(made)

    monkeypatch.setattr(measurement_cache, "measure_spacings", fit)
    monkeypatch.setattr(measurement_cache, "add_strain", lambda measured, *_: measured)
    known = measurement_cache.MeasurementCache()
    monkeypatch.setattr(measuring, "measure_spacings", known.spacings)
    viewer = ViewerModel()
    show_averages(viewer)
    average = AverageWidget(viewer)
    qtbot.addWidget(average)
    average.measuring.now("run")
    finish(qtbot, average)
    strain = strain_widget(viewer, qtbot, monkeypatch)
    monkeypatch.setattr(strain_module, "measure_classes", known.classes)
    strain.run()
    settle(qtbot, strain)
    assert strain.measured is not None
    assert [f["SV"] for f in fits] == [2000]
    for change, n in (
        (lambda: average.edits.leave_out("run", "SV", [0]), [2000, 1999]),
        (lambda: average.edits.undo("run"), [2000, 1999]),
        (lambda: average.edits.redo("run"), [2000, 1999]),
    ):
        change()
        average.measuring.now("run")
        finish(qtbot, average)
        assert [f["SV"] for f in fits] == n


def test_thumbnails_are_made_for_what_is_asked_and_once(qtbot, monkeypatch):
    made = []
    real = windows_model.thumbnail

    def thumbnail(stack, window, limits):
        made.append(window)
        return real(stack, window, limits)

    monkeypatch.setattr(windows_model, "thumbnail", thumbnail)
    model = WindowsModel()
    model.show(stack_of("SV"), "all", lambda _stack, window: f"image {window}")
    assert model.rowCount() == 2000 and made == []
    index = model.index(3, 0)
    icon = index.data(Qt.ItemDataRole.DecorationRole)
    assert index.data(Qt.ItemDataRole.DecorationRole) is not None and not icon.isNull()
    assert made == [model.window(3)]
    assert model.index(3, 2).data() == f"image {model.window(3)}"
    assert model.rows_of([model.window(3)]) == [3]


def test_a_plot_is_laid_out_and_drawn_in_two_turns_when_it_is_seen(qtbot, bar, turns, monkeypatch):
    done = []
    engine, agg = "matplotlib.layout_engine.ConstrainedLayoutEngine", "backend_agg.FigureCanvasAgg"
    for what, name in (("execute", engine), ("draw", f"matplotlib.backends.{agg}")):

        def noted(*_, what=what):
            done.append((what, len(turns)))

        monkeypatch.setattr(f"{name}.{what}", noted)
    canvas = ThemedCanvas("dark", 100)
    qtbot.addWidget(canvas)
    canvas.figure.add_subplot()
    canvas.draw_idle()
    qtbot.wait(20)
    assert done == []
    for times in (1, 2):
        canvas.show()
        for _ in range(times):  # what is asked for together is drawn once
            canvas.draw_idle()
        qtbot.waitUntil(lambda: len(done) >= 2, timeout=60_000)
        qtbot.wait(30)
        assert [what for what, _ in done[-2:]] == ["execute", "draw"]
        assert done[-2][1] < done[-1][1]
        done.clear()


def test_a_plot_drawn_in_steps_is_the_same_as_one_drawn_at_once(qtbot):
    canvas = ThemedCanvas("dark", 200)
    qtbot.addWidget(canvas)
    canvas.resize(300, 200)
    canvas.show()
    axes = canvas.figure.subplots()
    axes.set_ylabel("a label that needs its room")
    canvas.draw_idle()
    qtbot.waitUntil(
        lambda: hasattr(canvas, "renderer") and not canvas._drawing.waiting, timeout=60_000
    )
    place, picture = axes.get_position().bounds, np.array(canvas.buffer_rgba())
    assert place[0] > 0.15
    canvas.draw()
    np.testing.assert_array_equal(canvas.buffer_rgba(), picture)


def test_what_is_asked_for_last_is_shown(qtbot, bar, turns):
    shown = []

    def steps(name, count):
        for i in range(count):
            shown.append((name, i, len(turns)))
            yield

    stepper = Stepper(bar)
    stepper.take(steps("first", 100))
    qtbot.waitUntil(lambda: len(shown) >= 2, timeout=60_000)
    stepper.take(steps("second", 3))
    qtbot.waitUntil(lambda: not stepper.waiting, timeout=60_000)
    assert [i for name, i, _ in shown if name == "second"] == [0, 1, 2]
    names = [name for name, *_ in shown]
    assert names == sorted(names) and names.count("first") < 100
    assert len({turn for *_, turn in shown}) == len(shown)
    stepper.take(steps("third", 3))
    stepper.give_up()
    qtbot.wait(20)
    assert "third" not in [name for name, *_ in shown]


def test_steps_at_once_give_what_they_return():
    def steps():
        yield
        return "all"

    assert at_once(steps()) == "all"
