"""A tour through the sample: says what to do, sees when it is done, and can be left at any time."""

from collections.abc import Callable
from dataclasses import dataclass

from napari.components import ViewerModel

from ..base.texts import tr
from ..layers.sites import kind
from .steps import AVERAGE, DETECT, STRAIN, State

ENOUGH = 3
"""Points to correct."""


@dataclass(frozen=True)
class Stop:
    """One thing to do.

    Parameters
    ----------
    step : int
        Where it is done.
    text : callable
        What to do, in the user's language.
    done : callable
        Whether it is done, by the state and the number of points corrected by hand.
    """

    step: int
    text: Callable[[], str]
    done: Callable[[State, int], bool]


STOPS = (
    Stop(
        DETECT,
        lambda: tr("Open the sample: a simulated image of WSe2-2xTe2x with known defects."),
        lambda state, _: state.images > 0,
    ),
    Stop(
        DETECT,
        lambda: tr("Each bright spot is a column of atoms. Press Detect to find and name them."),
        lambda state, _: bool(state.searched),
    ),
    Stop(
        DETECT,
        lambda: tr(
            "Every symbol is a defect; the legend below counts them. Correct three of them: press "
            "Correct, click one, press Shift+2 (SeTe) or another class; Ctrl+Z takes it back."
        ),
        lambda state, corrected: corrected >= ENOUGH or bool(state.run),
    ),
    Stop(
        DETECT,
        lambda: tr("Now average all isolated defects of a class: noise goes, the defect stays."),
        lambda state, _: bool(state.run),
    ),
    Stop(
        AVERAGE,
        lambda: tr("One average a class, and how sure its spacings are. Now measure strain."),
        lambda state, _: state.measured,
    ),
    Stop(
        STRAIN,
        lambda: tr(
            "Arrows say where each column went, maps show the strain beside theory. Save "
            "the figures."
        ),
        lambda state, _: state.written,
    ),
)


class Tour:
    """Where somebody is on the way through the sample.

    Parameters
    ----------
    viewer : ViewerModel
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._stop: int | None = None

    @property
    def running(self) -> bool:
        """True while there is something to show."""
        return self._stop is not None

    def start(self) -> None:
        """Begin with what is not done yet."""
        self._stop = 0

    def leave(self) -> None:
        """End it here."""
        self._stop = None

    def look(self, state: State) -> Stop | None:
        """The thing to do now; None where the tour isn't running, or has come to its end.

        It goes forward only: what is taken back need not be done again.
        """
        while self._stop is not None and self._stop < len(STOPS):
            if not STOPS[self._stop].done(state, corrected(self._viewer)):
                return STOPS[self._stop]
            self._stop += 1
        return None

    @property
    def ended(self) -> bool:
        """True once everything is done."""
        return self._stop is not None and self._stop >= len(STOPS)

    @property
    def where(self) -> str:
        """Which of how many."""
        return "" if self._stop is None else f"{min(self._stop + 1, len(STOPS))}/{len(STOPS)}"


def corrected(viewer: ViewerModel) -> int:
    """Points that were made or changed by hand."""
    return sum(
        int((la.features["source"] == "manual").sum())
        for la in viewer.layers
        if kind(la) == "defects" and "source" in la.features
    )
