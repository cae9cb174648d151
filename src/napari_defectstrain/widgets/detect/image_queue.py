"""Images that are searched one after another; one that can't be searched is left out and told."""

from collections.abc import Callable, Sequence

from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import QObject

from ...types import DefectStrainError
from ..base import tr
from ..base.worker import Part, RunBar


class ImageQueue(QObject):
    """Takes one image after another through the jobs of a run bar.

    An image that is refused, before its jobs or by one of them, costs itself alone: the next is
    taken, and at the end the status says which were left out and why. What the user stops, stops
    all.

    Parameters
    ----------
    viewer : ViewerModel
    run_bar : RunBar
    """

    def __init__(self, viewer: ViewerModel, run_bar: RunBar) -> None:
        super().__init__(run_bar)
        self._viewer, self._run_bar = viewer, run_bar
        self._take: Callable[[Layer | None], None] | None = None
        self._waiting: list[Layer | None] = []
        self._current: Layer | None = None
        self._count = 0
        self._left_out: list[str] = []
        run_bar.idle.connect(self._after_job)

    @property
    def on_last(self) -> bool:
        """True while no other image waits."""
        return not self._waiting

    def part(self, low: float, high: float) -> Part:
        """What a job is of the work on all images, by where it begins and ends in its own's."""
        return Part(self._count - len(self._waiting), self._count, low, high)

    def start(self, layers: Sequence[Layer | None], take: Callable[[Layer | None], None]) -> None:
        """Take these images: `take` starts the jobs of one, or raises `DefectStrainError`."""
        self._waiting, self._count, self._left_out = list(layers), len(layers), []
        self._take = take
        self._next()

    def stop(self) -> None:
        """Take no more: the user gave no answer."""
        self._waiting, self._take = [], None

    def following(self) -> Callable[[], None] | None:
        """What takes the next image, as one is done; None where that was the last."""
        self._waiting = [la for la in self._waiting if la in self._viewer.layers]
        return self._next if self._waiting else None

    def _next(self) -> None:
        while self._waiting and self._take is not None:
            self._current = self._waiting.pop(0)
            try:
                self._take(self._current)
                return
            except DefectStrainError as mistake:
                self._run_bar.fail(str(mistake))
                self._leave_out(str(mistake))
        self._tell()

    def _leave_out(self, why: str) -> None:
        name = "" if self._current is None else self._current.name
        self._left_out.append(why if why.startswith(name) else f"{name}: {why}")

    def _after_job(self) -> None:
        if self._take is None or self._run_bar.running:
            return
        if self._run_bar.refusal:
            self._leave_out(self._run_bar.refusal)
            self.following()
            self._next()
        else:
            self._tell()

    def _tell(self) -> None:
        """The end: done, stopped, or nobody is left to be searched."""
        self.stop()
        if self._left_out and self._count > 1:
            text = tr("{n} of {count} images are left out: {why}").format(
                n=len(self._left_out), count=self._count, why="; ".join(self._left_out)
            )
            self._run_bar.failure = text
            self._run_bar.status.setText(text)
