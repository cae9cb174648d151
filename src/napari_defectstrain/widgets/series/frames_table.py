"""The frames of a series with a tick each: bad ones are off, and say why."""

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QListWidget, QListWidgetItem

from ...frames import FrameConfig
from ..base import tr
from .judged_frames import JudgedFrames


class FramesList(QListWidget):
    """Frames that can be ticked off, or on again though they look bad."""

    ticked = Signal()
    """Emitted when the user changed a tick."""

    def __init__(self) -> None:
        super().__init__()
        self.setMaximumHeight(120)
        self.setMinimumWidth(100)  # long reasons must not widen the dock
        self.setToolTip(
            tr(
                "Frames with a tick are summed; bad ones are ticked off and say why. Tick "
                "a frame on or off to have the last word: the frames are registered anew"
            )
        )
        self.itemChanged.connect(lambda _: self.ticked.emit())

    def show_frames(self, judged: JudgedFrames | None) -> None:
        """List the frames as they were judged and ticked; None empties the list."""
        self.blockSignals(True)
        self.clear()
        if judged is not None:
            for t, (tick, reason) in enumerate(zip(judged.ticks, judged.reason, strict=True)):
                item = QListWidgetItem(f"frame {t}" + (f": {reason}" if reason else ""))
                item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
                item.setCheckState(Qt.CheckState.Checked if tick else Qt.CheckState.Unchecked)
                item.setToolTip(reason or "fits the others")
                self.addItem(item)
        self.blockSignals(False)

    def ticks(self) -> list[bool]:
        """Whether each frame is ticked."""
        checked = Qt.CheckState.Checked
        return [self.item(t).checkState() == checked for t in range(self.count())]


def by_hand(before: FrameConfig, bad: Sequence[bool], ticks: Sequence[bool]) -> FrameConfig:
    """Settings with which the ticks come true.

    Parameters
    ----------
    before : FrameConfig
        Settings that the frames were judged by.
    bad : sequence of bool
        What they were found to be.
    ticks : sequence of bool
        What the user wants: True sums the frame.
    """
    exclude, include = set(before.exclude), set(before.include)
    for t, (left_out, wanted) in enumerate(zip(bad, ticks, strict=True)):
        if wanted and left_out:
            exclude.discard(t)
            include.add(t)
        elif not wanted and not left_out:
            include.discard(t)
            exclude.add(t)
    return before.replace(exclude=tuple(sorted(exclude)), include=tuple(sorted(include)))
