"""Images that can't be used: named and left out, while the others go on."""

from __future__ import annotations

import errno
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from .types import DefectStrainError

_NO_MEMORY = (
    "out of memory",  # CUDA, MPS
    "not enough memory",  # torch on the processor
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "bad allocation",
    "_alloc_failed",  # cuBLAS, cuDNN
)
NO_MEMORY = "out of memory: give fewer or smaller images"


@dataclass(frozen=True)
class Failure:
    """An image or file that was left out, and why.

    Parameters
    ----------
    name : str
        Its name, or that of its file where it couldn't even be read.
    reason : str
        One line.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        named = re.search(rf"(?<!\w){re.escape(self.name)}(?!\w)", self.reason)
        return self.reason if named else f"{self.name}: {self.reason}"


class Failures:
    """Collects what is left out of a batch.

    Parameters
    ----------
    strict : bool
        Leave nothing out: the first failure is raised.

    Examples
    --------
    >>> failures = Failures()
    >>> with failures.left_out("a.tif"):
    ...     raise DefectStrainError("a.tif: no lattice")
    >>> failures.found
    [Failure(name='a.tif', reason='a.tif: no lattice')]
    """

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.found: list[Failure] = []

    @contextmanager
    def left_out(self, name: str) -> Iterator[None]:
        """Note a failure of the block: bad input, an unreadable file, or no memory for it.

        Anything else is a mistake of the program, or the wish to stop, and goes through.
        """
        try:
            yield
        except (DefectStrainError, OSError, MemoryError, RuntimeError) as error:
            reason = reason_of(error)
            if self.strict or reason is None:
                raise
            self.found.append(Failure(name, reason))

    def check_any_left(self, left: Collection[object]) -> None:
        """See that something is left to work on.

        Raises
        ------
        DefectStrainError
            With every reason, if nothing is.
        """
        if left or not self.found:
            return
        if len(self.found) == 1:
            raise DefectStrainError(str(self.found[0]))
        raise DefectStrainError(
            f"none of {len(self.found)} images can be used: " + "; ".join(said_once(self.found))
        )


def said_once(failures: Sequence[Failure]) -> list[str]:
    """Each reason once, behind the names of all that it holds for, in the order of the first.

    Parameters
    ----------
    failures : sequence of Failure

    Returns
    -------
    list of str
        As many as there are reasons.

    Examples
    --------
    >>> said_once([Failure("a", "torn"), Failure("b", "b: no lattice"), Failure("c", "torn")])
    ['a, c: torn', 'b: no lattice']
    """
    names: dict[str, list[str]] = {}
    for failure in failures:
        names.setdefault(failure.reason, []).append(failure.name)
    return [
        str(Failure(of[0], reason)) if len(of) == 1 else f"{', '.join(of)}: {reason}"
        for reason, of in names.items()
    ]


def reason_of(error: Exception) -> str | None:
    """One line on what went wrong for the user; None for a mistake of the program."""
    if isinstance(error, DefectStrainError):
        return " ".join(str(error).split())
    if is_out_of_memory(error):
        return NO_MEMORY
    if isinstance(error, OSError):
        return f"{f'{error.filename}: ' if error.filename else ''}{error.strerror or error}"
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was no memory: numpy, the system, torch on any device say it differently."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).casefold()
    return isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY)
