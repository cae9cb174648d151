"""What a registration said of the frames of a layer, kept with that layer.

A study keeps layers with what the plugin noted of them, so that drift, bad frames and ticks are
there again when it is opened. The sum of the frames isn't kept: it is made anew when it is needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from napari.layers import Layer

from ...frames import FrameConfig
from ...series import RegisteredSeries
from ...types import DefectStrainError
from ..layers.sites import KEY, note

REGISTERED = "registered"
"""Note of a layer of frames."""


@dataclass(frozen=True)
class JudgedFrames:
    """Drift of the frames of a layer, which are bad, and what a hand ticked.

    Parameters
    ----------
    config : FrameConfig
        Settings that they were judged by.
    material : str
    drift : DataFrame
        See `frames.drift_table`.
    bad : tuple of bool
    reason : tuple of str
        Why each is bad; empty where it isn't.
    changed : str
        What is to be said of them in one line.
    ticks : tuple of bool
        Which are to be summed.
    """

    config: FrameConfig
    material: str
    drift: pd.DataFrame
    bad: tuple[bool, ...]
    reason: tuple[str, ...]
    changed: str
    ticks: tuple[bool, ...]

    @classmethod
    def of(cls, found: RegisteredSeries, config: FrameConfig, material: str, changed: str) -> Self:
        """Those of a registration, ticked as it judged them."""
        bad = tuple(np.asarray(found.found.bad).tolist())
        reason = tuple(str(text) for text in found.found.reason)
        ticks = tuple(not one for one in bad)
        return cls(config, material, found.drift, bad, reason, changed, ticks)

    @classmethod
    def kept(cls, layer: Layer) -> Self | None:
        """Those that a layer keeps; None where it keeps none, or something strange."""
        values = note(layer).get(REGISTERED)
        if not isinstance(values, Mapping):
            return None
        try:
            found = cls(
                FrameConfig.from_dict(values["config"]),
                str(values["material"]),
                pd.DataFrame(values["drift"]).fillna(np.nan),
                tuple(map(bool, values["bad"])),
                tuple(map(str, values["reason"])),
                str(values["changed"]),
                tuple(map(bool, values["ticks"])),
            )
        except (DefectStrainError, KeyError, TypeError, ValueError):
            return None
        counts = {len(found.drift), len(found.bad), len(found.reason), len(found.ticks)}
        return found if counts == {len(layer.data)} else None

    def keep(self, layer: Layer) -> None:
        """Note them in a layer: plain values, as its study will write them."""
        drift = self.drift.astype(object).where(self.drift.notna(), None).to_dict("records")
        values: dict[str, Any] = {
            "config": self.config.to_dict(),
            "material": self.material,
            "drift": drift,
            "bad": list(self.bad),
            "reason": list(self.reason),
            "changed": self.changed,
            "ticks": list(self.ticks),
        }
        layer.metadata[KEY] = {**note(layer), REGISTERED: values}

    def ticked(self, ticks: list[bool]) -> Self:
        """The same with other ticks."""
        return replace(self, ticks=tuple(ticks))
