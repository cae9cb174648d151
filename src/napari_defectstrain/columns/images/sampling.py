"""Images on no finer pixels than their columns ask for.

What lies beyond a probe's information limit is noise. Where pixels are fine, sums of several of
them tell as much of the columns at a fraction of the cost; what a sum does to the profile is known
exactly.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ...types import FloatArray
from .background import SplineSurface
from .fit import ImageState, Pixels
from .types import ImageColumnConfig


class Sampling(NamedTuple):
    """Squares of pixels, each summed to one.

    Parameters
    ----------
    side : int
        Pixels along a square's side; 1 leaves an image as it is.
    """

    side: int

    @classmethod
    def fit_for(cls, sigma_px: float, config: ImageColumnConfig) -> Sampling:
        """The largest squares of which a column's width is still as many as asked for."""
        if config.sampling_sigma is None or config.model == "gaussian":
            return cls(1)
        return cls(max(1, int(sigma_px / config.sampling_sigma)))

    def summed(self, pixels: Pixels) -> Pixels:
        """The sums; one counts where all its pixels do."""
        if self.side == 1:
            return pixels
        rows, columns = (-(-n // self.side) for n in pixels.data.shape)
        missing = [
            (0, m * self.side - n) for m, n in zip((rows, columns), pixels.data.shape, strict=True)
        ]
        data, good = (
            np.pad(a, missing).reshape(rows, self.side, columns, self.side)
            for a in (pixels.data, pixels.good)
        )
        counts = good.min(axis=(1, 3))
        rim = [-(-(m + p) // self.side) for (_, m), p in zip(missing, pixels.padded, strict=True)]
        return Pixels(data.sum(axis=(1, 3)) * (counts > 0), counts, (rim[0], rim[1]))

    def inwards(self, position_px: FloatArray) -> FloatArray:
        """Places in pixels as places in sums."""
        return np.asarray((position_px - 0.5 * (self.side - 1)) / self.side)

    def outwards(self, position: FloatArray) -> FloatArray:
        """Places in sums as places in pixels."""
        return np.asarray(position * self.side + 0.5 * (self.side - 1))

    def coarser(self, side: int) -> Sampling:
        """Squares of so many of these squares along a side."""
        return Sampling(self.side * side)

    def state(self, of: ImageState, before: Sampling, surface: SplineSurface) -> ImageState:
        """A state of a fit by other squares, as one by these.

        Parameters
        ----------
        of : ImageState
        before : Sampling
            The squares that it was fitted by.
        surface : SplineSurface
            Of these.
        """
        larger = self.side / before.side
        background = np.full(surface.size, float(np.mean(of.background)))
        if of.background.shape == surface.size:
            background = of.background
        profile = replace(
            of.shape.profile,
            cutoff_per_pm=of.shape.profile.cutoff_per_pm * larger,
            blur_pm2=of.shape.profile.blur_pm2 / larger**2,
        )
        return replace(
            of,
            position=self.inwards(before.outwards(of.position)),
            background=background * larger**2,
            shape=replace(of.shape, profile=profile),
        )

    def settings(self, config: ImageColumnConfig) -> ImageColumnConfig:
        """Settings with their lengths in sums."""
        return (
            config
            if self.side == 1
            else config.replace(tolerance_px=config.tolerance_px / self.side)
        )
