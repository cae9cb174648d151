"""What a process that is there for one command, and ends with it, does otherwise and without."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

COLLECT_AFTER = (20_000, 20, 50)
"""Objects and rounds: seldom, as imports leave a million that refer to each other and stay."""

ASKING_ONLY = ("run", "detect")
"""Commands that ask networks and train none."""
LATE = "torch._meta_registrations"
"""How operators of torch act on tensors without values, in Python: what compiling asks for, and
nothing that classifies an image. To import it takes a third of the time of importing torch."""


def prepare(arguments: Sequence[str]) -> None:
    """Set this process up for a command, before numpy is imported.

    Parameters
    ----------
    arguments : sequence of str
        Of the command line; the command first.
    """
    # Threads of our own share the work of classes, and results are the same to the last bit
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(*COLLECT_AFTER)
    if arguments and arguments[0] in ASKING_ONLY and "torch" not in sys.modules:
        sys.modules.setdefault(LATE, _ImportedLate(LATE))


class _ImportedLate(ModuleType):
    """Stands for a module until somebody wants something of it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)
