"""``defectstrain watch``: images of a microscope session, measured as they arrive."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..interruptions import put_in_order
from ..types import DefectStrainError, Progress

_LEAST_S = 0.1


@dataclass
class Arrivals:
    """Images of a folder that are written to their ends.

    A file is, when it hasn't changed in size or time for a while: microscopes and copies write on
    for seconds. The folder is looked at, not listened to: shares of other machines tell nothing.

    Parameters
    ----------
    folder : Path
    settle_s : float
        How long a file must have stayed as it is [s].
    clock : callable
        The time [s].
    """

    folder: Path
    settle_s: float
    clock: Callable[[], float] = time.monotonic
    _seen: dict[Path, tuple[tuple[int, int], float]] = field(default_factory=dict)

    def look(self) -> tuple[list[Path], bool]:
        """The files that are ready, by name, and whether others are on their way.

        Raises
        ------
        DefectStrainError
            If the folder is gone.
        """
        from ..io.formats import SUFFIXES

        now = self.clock()
        seen: dict[Path, tuple[tuple[int, int], float]] = {}
        try:
            there = sorted(self.folder.iterdir())
        except OSError as error:
            raise DefectStrainError(
                f"{self.folder}: can't be watched: {error.strerror or error}; what was measured "
                "is kept"
            ) from error
        for path in there:
            if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
                continue
            try:
                state = path.stat()
            except OSError:  # moved on
                continue
            if not path.is_file():
                continue
            print_of_file = (state.st_size, state.st_mtime_ns)
            before, since = self._seen.get(path, (None, now))
            seen[path] = (print_of_file, since if before == print_of_file else now)
        self._seen = seen
        ready = [p for p, (state, since) in seen.items() if state[0] and self._is_settled(since)]
        return ready, len(ready) < len(seen)

    def _is_settled(self, since: float) -> bool:
        return self.clock() - since >= self.settle_s

    def states(self, paths: Sequence[Path]) -> tuple[tuple[Path, tuple[int, int]], ...]:
        """What tells that nothing about these files is new."""
        return tuple((path, self._seen[path][0]) for path in paths)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``watch``: those of ``run``, with a folder instead of images."""
    from .main import add_run

    add_run(parser)
    images = next(action for action in parser._actions if action.dest == "images")
    images.nargs, images.metavar, images.help = 1, "FOLDER", "where the images arrive"
    add = parser.add_argument
    add("--settle", type=float, default=5.0, metavar="S", help="a file is whole after S s (5)")
    add("--every", type=float, default=2.0, metavar="S", help="look every S s (2)")
    add("--idle", type=float, metavar="S", help="end when nothing came for S s (Ctrl-C ends it)")


def run_watch(options: argparse.Namespace, progress: Progress) -> int:
    """Measure what is there and what arrives, until Ctrl-C."""
    from .main import say

    (folder,) = options.images
    if not folder.is_dir():
        raise DefectStrainError(f"watch {folder}: got no folder, expected one")
    if options.out.resolve() == folder.resolve():
        raise DefectStrainError(
            f"--out {options.out}: got the folder that is watched, expected another one: results "
            "are images, too"
        )
    arrivals = Arrivals(folder, options.settle)
    for name in ("settle", "every", "idle"):
        value = getattr(options, name)
        if value is not None and not 0 <= value < math.inf:
            raise DefectStrainError(f"--{name}: got {value:g}, expected seconds, 0 or more")
    _check(_as_run(options, []))
    pause_s = max(options.every, _LEAST_S)
    say(f"watching {folder}; Ctrl-C ends it")
    last: object = None
    measuring = False
    quiet_since, code = time.monotonic(), 0
    with put_in_order():
        try:
            while True:
                ready, coming = arrivals.look()
                if ready and arrivals.states(ready) != last:
                    last = arrivals.states(ready)
                    measuring = True
                    code = _measured(options, ready, progress)
                    measuring = False
                    quiet_since = time.monotonic()
                elif coming:
                    quiet_since = time.monotonic()
                if options.idle is not None and time.monotonic() - quiet_since > options.idle:
                    return code
                time.sleep(pause_s)
        except KeyboardInterrupt:
            if measuring:  # the results are half of the last: told as for a run that was stopped
                raise
            say(f"watching has ended; results in {options.out}")
            return 0


def _check(options: argparse.Namespace) -> None:
    """Say mistakes in the options at once, not again and again when images have come."""
    from ..output.results import figure_formats
    from ..pipeline.workers import check_jobs
    from ..study.weights import configured_weights
    from .inputs import check_options
    from .references import read_references

    figure_formats(options.figures)
    check_jobs(options.jobs)
    for name, what in (("sites", "tables"), ("regions", "label images")):
        folder = getattr(options, name)
        if folder is not None and not folder.is_dir():
            raise DefectStrainError(f"--{name} {folder}: got no folder, expected one with {what}")
    config = check_options(options)
    read_references(options.references, config.material)
    if config.detect.weights and options.sites is None:
        configured_weights(config)


def _as_run(options: argparse.Namespace, images: list[Path]) -> argparse.Namespace:
    """The options of a run of images that goes on from what is known."""
    given = argparse.Namespace(**vars(options))
    given.images, given.resume, given.command = images, True, "run"
    return given


def _measured(options: argparse.Namespace, images: list[Path], progress: Progress) -> int:
    """Bring the results up to date; images that can't be measured yet are said."""
    from ..failures import reason_of
    from .main import EXIT_ERROR, run, say, say_warnings

    say(f"measuring {len(images)} image{'s' * (len(images) > 1)}")
    try:
        return run(_as_run(options, images), progress)
    except Exception as error:
        reason = reason_of(error)
        if reason is None:
            raise
        say_warnings([f"{reason}; going on when more images arrive"])
        return EXIT_ERROR
