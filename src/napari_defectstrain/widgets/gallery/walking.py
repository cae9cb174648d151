"""Through what the model doubts most, one after another: a key each."""

from collections.abc import Sequence

import numpy as np

from ...averages.looks import DISTANCE, DOUBT, Looks, sorted_rows
from ...types import IntArray


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
        self.relabelled: list[bool] = []
        """Of each that was passed, whether it was given another class."""

    @property
    def row(self) -> int | None:
        """The one to be judged; None at the end."""
        return int(self.rows[self.at]) if self.at < len(self.rows) else None

    def passed(self, relabelled: bool) -> None:
        """On to the next."""
        self.relabelled.append(relabelled)
        self.at += 1

    def back(self) -> bool:
        """Back to the last; says whether its class is to be taken back."""
        self.at -= 1
        return self.relabelled.pop()

    def renumber(self, rows: IntArray) -> None:
        """The detections were listed anew.

        Parameters
        ----------
        rows : array of int, `(N,)`
            The new number of each, -1 where it is gone.
        """
        now = rows[self.rows]
        kept = now >= 0
        self.relabelled = [r for r, k in zip(self.relabelled, kept, strict=False) if k]
        self.at -= int((~kept[: self.at]).sum())
        self.rows = now[kept]

    @property
    def summary(self) -> str:
        """How far it went."""
        return f"{self.at} of {len(self.rows)} looked at, {sum(self.relabelled)} relabelled"
