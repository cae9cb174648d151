"""Measurements that were made before, known again by what they were made of."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..averages.symmetry import SymmetricAverage, symmetrise_average
from ..progress import subprogress
from ..types import ClassStack, Progress, no_progress
from .class_measurement import add_strain, measure_spacings
from .runs import ClassMeasurement, RunConfig

KEPT = 6
"""Measurements that are kept: one of a thousand windows a class is some tens of MB."""
KEPT_AVERAGES = 30
"""Averages over C3v that are kept: half a MB each."""
WAIT_S = 0.1
"""How often someone who waits for the same measurement looks whether to go on waiting."""
_BEFORE_OR_AFTER = (
    *("pixel_size_pm", "frames", "series", "detect", "regions", "average", "strain", "split"),
)
"""Settings of stages before stacks and after spacings: they don't change what is measured."""


class MeasurementCache:
    """`measure_spacings` and `measure_classes` that fit nothing twice.

    What was measured is found again by the pixels, choice and origin of all windows and by the
    settings; of the same in two threads at a time, one is measured, and the other waits for it.

    Parameters
    ----------
    kept : int
        How many measurements are kept; the one that was used least recently is forgotten.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, ClassMeasurement]] = {}
        self._under_way: dict[str, _UnderWay] = {}
        self._symmetric: dict[str, SymmetricAverage] = {}

    def __len__(self) -> int:
        return len(self._known)

    def spacings(
        self, stacks: Mapping[str, ClassStack], config: RunConfig, progress: Progress = no_progress
    ) -> dict[str, ClassMeasurement]:
        """What `measure_spacings` gives, measured only if it isn't known.

        Raises
        ------
        DefectStrainError
            As `measure_spacings`; nothing is kept then.
        Cancelled
            If `progress` says so, also while waiting for another thread.
        """
        key = measurement_key(stacks, config)
        while True:
            with self._lock:
                if key in self._known:  # what was used last is forgotten last
                    self._known[key] = found = self._known.pop(key)
                    return dict(found)
                other = self._under_way.get(key)
                if other is None:
                    own = self._under_way[key] = _UnderWay()
                    break
            # It may be cancelled over there: then look again, and measure it here.
            while not other.ended.wait(WAIT_S):
                progress(*other.latest)
        try:
            found = measure_spacings(stacks, config, own.told_of(progress))
            with self._lock:
                self._known[key] = found
                while len(self._known) > self._kept:
                    del self._known[next(iter(self._known))]
        finally:
            with self._lock:
                del self._under_way[key]
            own.ended.set()
        return dict(found)

    def classes(
        self, stacks: Mapping[str, ClassStack], config: RunConfig, progress: Progress = no_progress
    ) -> dict[str, ClassMeasurement]:
        """What `measure_classes` gives, its fits only made if they aren't known."""
        measured = self.spacings(stacks, config, subprogress(progress, 0.0, 0.8))
        return add_strain(measured, config, subprogress(progress, 0.8, 1.0))

    def symmetric(self, stack: ClassStack) -> SymmetricAverage:
        """What `symmetrise_average` gives, worked out only if it isn't known."""
        digest = hashlib.blake2b(digest_size=20)
        _feed(digest, stack)
        key = digest.hexdigest()
        with self._lock:
            found = self._symmetric.pop(key, None)
        if found is None:
            found = symmetrise_average(stack)
        with self._lock:
            self._symmetric[key] = found  # what was used last is forgotten last
            while len(self._symmetric) > KEPT_AVERAGES:
                del self._symmetric[next(iter(self._symmetric))]
        return found


class _UnderWay:
    """A measurement that a thread is busy with."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.latest = 0.0, "Fitting columns"

    def told_of(self, progress: Progress) -> Callable[[float, str], None]:
        """The same progress, remembered for whoever waits."""

        def tell(fraction: float, message: str) -> None:
            self.latest = fraction, message
            progress(fraction, message)

        return tell


def measurement_key(stacks: Mapping[str, ClassStack], config: RunConfig) -> str:
    """What a measurement is made of, as a hash: every field of the stacks, and the settings.

    Parameters
    ----------
    stacks : mapping of class to ClassStack
    config : RunConfig
        Settings that don't bear on spacings, such as the smoothing of maps, don't count.
    """
    digest = hashlib.blake2b(digest_size=20)
    settings = config.to_dict()
    for name in _BEFORE_OR_AFTER:
        del settings[name]
    _feed(digest, json.dumps(settings, sort_keys=True))
    for name in sorted(stacks):
        _feed(digest, name)
        _feed(digest, stacks[name])
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    """Add a value, with its kind, so that different ones are never written alike."""
    if isinstance(value, np.ndarray):
        _feed(digest, f"{value.dtype.str} {value.shape}")
        digest.update(np.ascontiguousarray(value).view(np.uint8).data)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            _feed(digest, field.name)
            _feed(digest, getattr(value, field.name))
    else:
        digest.update(f"{type(value).__name__}:{value!r};".encode())
