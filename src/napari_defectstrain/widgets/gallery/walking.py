"""Through what the model doubts most, one after another: a key each."""

from collections.abc import Callable, Sequence

import numpy as np

from ...averages.looks import DISTANCE, DOUBT, Looks, sorted_rows
from ...types import IntArray
from ..base import tr


class Walk:
    """The detections in doubt, the most doubtful first, and how far a person has come.

    Parameters
    ----------
    looks : Looks
    rows : sequence of int
        Those to walk through.
    """

    def __init__(self, looks: Looks, rows: Sequence[int]) -> None:
        features = looks.features()
        chosen = np.asarray(rows, dtype=int)
        doubt = features[DOUBT]
        chosen = chosen[~looks.detections.by_hand[chosen] & (doubt[chosen] > 0)]
        order = np.stack([doubt, features[DISTANCE]], axis=1)
        self.rows = sorted_rows(order, chosen, descending=True)
        self.at = 0
        self.answers: list[object | None] = []
        """Of each that was passed, the step that gave it another class; None where none did."""

    @property
    def row(self) -> int | None:
        """The one to be judged; None at the end."""
        return int(self.rows[self.at]) if self.at < len(self.rows) else None

    def passed(self, step: object | None) -> None:
        """On to the next; `step` gave this one another class."""
        self.answers.append(step)
        self.at += 1

    def back(self) -> object | None:
        """Back to the last; returns the step that gave it another class."""
        self.at -= 1
        return self.answers.pop()

    def renumber(self, rows: IntArray) -> None:
        """The detections were listed anew.

        Parameters
        ----------
        rows : array of int, `(N,)`
            The new number of each, -1 where it is gone.
        """
        now = rows[self.rows]
        kept = now >= 0
        self.answers = [a for a, k in zip(self.answers, kept, strict=False) if k]
        self.at -= int((~kept[: self.at]).sum())
        self.rows = now[kept]

    def summary(self, holds: Callable[[object], bool]) -> str:
        """How far it went; `holds` says whether a step was not taken back since."""
        given = sum(step is not None and holds(step) for step in self.answers)
        return tr("{n} of {all} looked at, {given} relabelled").format(
            n=self.at, all=len(self.rows), given=given
        )
