"""Running what remains: the order, the one bar, and the time left by a clock of the test's own."""

import pytest
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from napari_defectstrain.widgets.base import RunBar
from napari_defectstrain.widgets.workbench.run_all import RunAll, expected_s
from napari_defectstrain.widgets.workbench.steps import AVERAGE, DETECT, STRAIN, State


class Step(QWidget):
    """A step whose job says what the test says."""

    def __init__(self):
        super().__init__()
        self.run_bar = RunBar("Do it", "")
        self.due = False

    @property
    def busy(self):
        return self.run_bar.running or self.due


@pytest.fixture
def world(qtbot):
    """Three steps that nothing has been done of, and what has."""

    class World:
        done = 0
        now = 100.0
        state_now = property(
            lambda self: State(
                images=1,
                searched=frozenset("a") if self.done > 0 else frozenset(),
                run="run" if self.done > 1 else "",
                measured=self.done > 2,
            )
        )

        def __init__(self):
            self.steps = {k: Step() for k in (DETECT, AVERAGE, STRAIN)}
            self.started = []
            self.owner = QWidget()
            self.all = RunAll(
                self.owner,
                lambda: self.state_now,
                self.steps.get,
                self.start,
                clock=lambda: self.now,
            )
            self.told, self.ends = [], []
            self.all.progressed.connect(lambda whole, text: self.told.append((whole, text)))
            self.all.ended.connect(self.ends.append)

        def start(self, step):
            self.started.append(step)

        def end(self, step):
            self.done = step + 1
            self.steps[step].run_bar.idle.emit()

    made = World()
    for widget in (made.owner, *made.steps.values()):
        qtbot.addWidget(widget)
    return made


def test_one_bar_and_the_time_left(world, qtbot):
    world.all.start()
    assert world.started == [DETECT]
    assert world.steps[DETECT].run_bar.quiet
    world.steps[DETECT].due = True
    parts = [expected_s(step, State(images=1)) for step in (DETECT, AVERAGE, STRAIN)]
    share = parts[0] / sum(parts)
    for k in range(4):
        world.now += 10.0
        world.steps[DETECT].run_bar.progressed.emit((k + 1) / 9, f"{k + 1} of 9 images")
    whole, text = world.told[-1]
    assert whole == pytest.approx(share * 4 / 9)
    # 40 s for that much of the whole: the rest takes as long as it is more
    left = round(40.0 / whole * (1 - whole) / 60)
    assert text == f"Step 1 of 3, 4 of 9 images, about {left} min left"
    world.steps[DETECT].due = False
    world.end(DETECT)
    qtbot.waitUntil(lambda: world.started == [DETECT, AVERAGE], timeout=60_000)
    assert not world.steps[DETECT].run_bar.quiet
    assert world.told[-1][0] == pytest.approx(share)
    world.end(AVERAGE)
    qtbot.waitUntil(lambda: world.started == [DETECT, AVERAGE, STRAIN], timeout=60_000)
    world.end(STRAIN)
    qtbot.waitUntil(lambda: world.ends == [""], timeout=60_000)
    assert not world.all.running


def test_what_is_done_is_not_begun(world, qtbot):
    world.done = 2
    world.all.start()
    assert world.started == [STRAIN]
    assert world.told[-1] == (0.0, "Step 1 of 1")


def test_it_waits_for_a_job_that_follows_a_job(world, qtbot):
    world.all.start()
    world.steps[DETECT].due = True
    world.end(DETECT)
    qtbot.wait(150)
    assert world.started == [DETECT]
    world.steps[DETECT].due = False
    QTimer.singleShot(0, world.steps[DETECT].run_bar.idle.emit)
    qtbot.waitUntil(lambda: world.started == [DETECT, AVERAGE], timeout=60_000)


def test_a_question_answered_with_no_ends_it(world, qtbot):
    world.all.start()  # nothing is started
    qtbot.waitUntil(lambda: world.ends == ["Nothing was done"], timeout=60_000)
    assert world.started == [DETECT]


def test_cancel_ends_it_after_the_step_that_runs(world, qtbot):
    world.all.start()
    world.all.cancel()
    qtbot.waitUntil(lambda: len(world.ends) == 1, timeout=60_000)
    assert "Stopped" in world.ends[0]


def test_more_images_take_longer_to_search_than_to_average():
    one, nine = State(images=1, unsearched=("a",)), State(images=9, unsearched=("a",) * 9)
    shares = [[expected_s(step, s) for step in (DETECT, AVERAGE, STRAIN)] for s in (one, nine)]
    assert shares[1][0] == 9 * shares[0][0]
    assert shares[0][1] < shares[1][1] < 9 * shares[0][1]
    assert shares[0][2] < shares[1][2] < 2 * shares[0][2]
