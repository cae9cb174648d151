"""Progress of long jobs: the part of a whole that a step is."""

from __future__ import annotations

from .types import Progress


def subprogress(progress: Progress, start: float, stop: float, prefix: str = "") -> Progress:
    """A progress callback for a part of a longer job, from `start` to `stop` of it."""

    def part(fraction: float, message: str) -> None:
        progress(start + fraction * (stop - start), prefix + message)

    return part
