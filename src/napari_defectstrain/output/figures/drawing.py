"""Figures of a run, drawn by this process or by those that did the images: all cores at once.

What is to be drawn travels there, and the bytes of the files come back: this process alone writes
into the folder, in the order that the figures are asked for in. Where others draw, this one may go
on with its work meanwhile.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ...io.files import atomic_path, write_table
from ...io.out_folder import OutFolder
from ...pipeline.work import Workers
from ...styles import chosen_width_inch, figure_width
from ...types import Progress, no_progress
from .drawn import drawn_data
from .files import figure_bytes

_AT_A_TIME = 16
"""Figures whose bytes are held: five megabytes each where they show images."""


@dataclass(frozen=True)
class Drawing:
    """A figure that is to be drawn.

    Parameters
    ----------
    name : str
        Of its files, without their endings.
    draw : callable
        At the top of a module, so that other processes find it.
    given : tuple
        What it draws.
    small : bool
        Whether that is soon sent to another process.
    drawn : Future, optional
        The `DrawnFiles`, where others have begun with it (`begun_drawings`).
    """

    name: str
    draw: Callable[..., Figure]
    given: tuple[Any, ...]
    small: bool = True
    drawn: Future[DrawnFiles] | None = None

    @classmethod
    def of(cls, name: str, draw: Callable[..., Figure], *given: Any) -> Drawing:
        """A figure of what is soon sent elsewhere."""
        return cls(name, draw, given)


def begun_drawings(
    drawings: Sequence[Drawing], formats: Sequence[str], workers: Workers | None
) -> list[Drawing]:
    """Have workers, if there are any, begin with the first figures before they can be written.

    Parameters
    ----------
    drawings : sequence of Drawing
    formats : sequence of str
    workers : Workers, optional

    Returns
    -------
    list of Drawing
        The same figures; `write_drawings` waits for those that were begun.
    """
    width = chosen_width_inch(0.0) or None
    asked = [i for i, d in enumerate(drawings) if d.small and d.drawn is None][:_AT_A_TIME]
    if workers is None or not asked:
        return list(drawings)
    calls = {i: (drawings[i].draw, drawings[i].given, tuple(formats), width) for i in asked}
    answers: dict[int, Future[DrawnFiles]] = {i: Future() for i in asked}

    def draw() -> None:
        try:
            for i, outcome in workers.outcomes(drawn_files, calls):
                if outcome.error is not None:
                    raise outcome.error
                answers.pop(i).set_result(outcome.value)
        except BaseException as error:  # raised again where the figures are written
            for answer in answers.values():
                answer.set_exception(error)

    begun = [replace(d, drawn=answers[i]) if i in answers else d for i, d in enumerate(drawings)]
    # a daemon keeps no process alive that is told to stop
    threading.Thread(target=draw, daemon=True).start()
    return begun


def write_drawings(
    drawings: Sequence[Drawing],
    folder: OutFolder,
    formats: Sequence[str],
    below: str,
    workers: Workers | None = None,
) -> None:
    """Draw figures and write them, and as ``<name>.csv`` the data of their plots.

    Parameters
    ----------
    drawings : sequence of Drawing
    folder : OutFolder
    formats : sequence of str
    below : str
        Folder of the figures within it.
    workers : Workers, optional
        Who draws; None: this process, one after the other.
    """
    for start in range(0, len(drawings), _AT_A_TIME):
        some = drawings[start : start + _AT_A_TIME]
        width = chosen_width_inch(0.0) or None
        new = {i: d for i, d in enumerate(some) if d.small and d.drawn is None}
        sent = {} if workers is None else new
        files: dict[int, DrawnFiles] = {}
        if workers is not None and len(sent) > 1:
            calls = {i: (d.draw, d.given, tuple(formats), width) for i, d in sent.items()}
            for i, outcome in workers.outcomes(drawn_files, calls):
                if outcome.error is not None:
                    raise outcome.error
                files[i] = outcome.value
        for i, drawing in enumerate(some):
            drawn = files.pop(i, None) if drawing.drawn is None else drawing.drawn.result()
            if isinstance(workers, _Until):
                workers.check()
            if drawn is None:
                drawn = drawn_files(drawing.draw, drawing.given, formats, width, no_progress)
            _write(drawn, folder, f"{below}/{drawing.name}")


@contextmanager
def drawn_meanwhile(
    drawings: Sequence[Drawing],
    folder: OutFolder,
    formats: Sequence[str],
    below: str,
    workers: Workers | None = None,
) -> Iterator[None]:
    """`write_drawings` while a block does something else, which leaves folder and workers alone.

    All is written when the block has ended; after an error in it nothing more is. Without workers
    it is done before the block begins: two threads of Python would only wait for each other.
    """
    if workers is None or not drawings:
        write_drawings(drawings, folder, formats, below, workers)
        yield
        return
    errors: list[BaseException] = []
    stopped = threading.Event()

    def draw() -> None:
        try:
            write_drawings(drawings, folder, formats, below, _Until(stopped, workers))
        except BaseException as error:  # raised again where the block ends
            errors.append(error)

    # the width that was chosen for all figures is the context's; a daemon keeps no process alive
    thread = threading.Thread(target=copy_context().run, args=(draw,), daemon=True)
    thread.start()
    try:
        yield
    except BaseException:  # an interruption too: nobody waits for what is being drawn
        stopped.set()
        raise
    thread.join()
    if errors:
        raise errors[0]


class _Stopped(Exception):
    """Nobody wants the figures any more."""


class _Until:
    """Workers whose answers count until they are told to stop."""

    def __init__(self, stopped: threading.Event, workers: Workers) -> None:
        self._stopped, self._workers = stopped, workers

    def outcomes(
        self, function: Callable[..., Any], calls: Mapping[int, tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any]]:
        for outcome in self._workers.outcomes(function, calls):
            self.check()
            yield outcome

    def check(self) -> None:
        """Go no further where nobody waits."""
        if self._stopped.is_set():
            raise _Stopped


@dataclass(frozen=True)
class DrawnFiles:
    """A figure as it is written.

    Parameters
    ----------
    content : dict of format to bytes
    data : DataFrame
        Of its plots; empty where it has none.
    """

    content: dict[str, bytes]
    data: pd.DataFrame


def drawn_files(
    draw: Callable[..., Figure],
    given: tuple[Any, ...],
    formats: Sequence[str],
    width_inch: float | None,
    progress: Progress,
) -> DrawnFiles:
    """Draw a figure.

    Parameters
    ----------
    draw, given : callable and tuple
        As in `Drawing`.
    formats : sequence of str
    width_inch : float or None
        The width that was chosen for all figures.
    progress : Progress
    """
    progress(0.0, "drawing")
    with figure_width(width_inch), _cleared_away():
        figure = draw(*given)
        content = {}
        for kind in formats:
            content[kind] = figure_bytes(figure, kind)
            figure.set_layout_engine("none")  # laid out once: all formats alike, and sooner
        drawn = DrawnFiles(content, drawn_data(figure))
        del figure
    return drawn


@contextmanager
def _cleared_away() -> Iterator[None]:
    """What refers to itself is collected when the block ends, and looked at then only.

    A figure is a hundred thousand of objects that do, and holds images: left to itself, the
    collector looks at all of a process again and again while figures grow, and late enough for
    several to lie about.
    """
    on, frozen = gc.isenabled(), gc.get_freeze_count() > 0
    if not frozen:  # else whoever did it has chosen what is passed over
        gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.collect()
        if not frozen:
            gc.unfreeze()
        if on:
            gc.enable()


def _write(drawn: DrawnFiles, folder: OutFolder, name: str) -> None:
    for kind, content in drawn.content.items():
        with atomic_path(folder.place(f"{name}.{kind}")) as temporary:
            temporary.write_bytes(content)
    if len(drawn.data):
        write_table(folder.place(f"{name}.csv"), drawn.data)
