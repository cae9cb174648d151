"""Small simulated images of a known look, and what is seen of them; each is made once."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from small_alloy import true_sites

from napari_defectstrain.simulate import (
    CrystalConfig,
    ScanConfig,
    SimulatedImage,
    SimulationConfig,
    simulate_image,
)
from napari_defectstrain.trials import Look, Seen, pooled_look, see_image

FRACTIONS = (0.05, 0.03, 0.06, 0.01)
SIDE = 288


@lru_cache
def pictured(seed: int, jitter_px: float, frames: int, contamination: float) -> SimulatedImage:
    """An image whose look is known."""
    config = SimulationConfig(
        crystal=CrystalConfig(fractions=FRACTIONS),
        scan=ScanConfig(
            shape=(SIDE, SIDE),
            rotation_deg=8.0,
            jitter_px=jitter_px,
            frames=frames,
            contamination=contamination,
            contamination_nm=1.0,
        ),
    )
    return simulate_image(config, np.random.default_rng(seed), f"known_{seed}")


@lru_cache
def seen(seed: int, jitter_px: float, frames: int, contamination: float) -> Seen:
    """What is seen of it, its columns known."""
    made = pictured(seed, jitter_px, frames, contamination)
    return see_image(made.image, true_sites(made), "WSe2")


STEADY = (5, 0.9, 10, 0.3)
"""A sum of frames under contamination."""
SHAKEN = (6, 0.5, 1, 0.1)
"""A single frame, hardly contaminated."""


@lru_cache
def known_look() -> Look:
    """Learnt from one image alone."""
    return pooled_look([seen(*STEADY)])
