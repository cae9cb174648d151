"""What is learnt of how images look, against what they were made with.

``python benchmarks/bench_look.py [--images 8]``: images of 320 x 320 px with random jitter, frames,
dose, read noise, contamination and shares of the classes; their columns are known. Printed are the
errors of what is learnt, in its own standard errors where it has one.
"""

from __future__ import annotations

import argparse

import numpy as np

from napari_defectstrain.materials import DEFECT_ROLES
from napari_defectstrain.simulate import (
    CrystalConfig,
    ScanConfig,
    SimulatedImage,
    SimulationConfig,
    simulate_image,
)
from napari_defectstrain.trials import Seen, see_simulated

SEED = 4242
SIDE = 320


def drawn(rng: np.random.Generator) -> SimulatedImage:
    """An image of a random look."""
    frames = int(rng.choice([1, 4, 10]))
    config = SimulationConfig(
        crystal=CrystalConfig(fractions=tuple(rng.uniform(0.01, 0.07, 4))),
        scan=ScanConfig(
            shape=(SIDE, SIDE),
            rotation_deg=float(rng.uniform(0, 360)),
            frames=frames,
            jitter_px=float(rng.uniform(0.1, 0.6) * np.sqrt(frames)),
            dose_e_per_nm2=float(np.exp(rng.uniform(np.log(5e6), np.log(3e7)))),
            read_noise=float(rng.uniform(0.05, 0.18)),
            contamination=float(rng.uniform(0.05, 0.5)),
            contamination_nm=float(rng.uniform(0.7, 3.0)),
        ),
    )
    return simulate_image(config, rng)


def errors_of(made: SimulatedImage, seen: Seen) -> dict[str, tuple[float, float]]:
    """Learnt less true of each number, and its standard error."""
    scan = made.config.scan
    counts = scan.dose_e_per_nm2 * (scan.pixel_size_pm * 1e-3) ** 2 * scan.metal_fraction
    # in heights as they are seen: of columns that jitter and source have blurred
    height = seen.grey[1] / counts
    truth = {
        "line_px": scan.jitter_px / np.sqrt(scan.frames),
        # the darkest background counts, too
        "floor": (scan.read_noise / height) ** 2
        + (seen.grey[0] - scan.offset_counts) / seen.grey[1] ** 2,
        "slope": 1 / counts / height,
        "weight_X2": made.config.weights[1],
    }
    shares = zip(DEFECT_ROLES, made.config.crystal.fractions, strict=True)
    truth |= {f"share_{role}": share for role, share in shares}
    return {k: (seen.number[k] - v, seen.sigma.get(k, np.nan)) for k, v in truth.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    rows: dict[str, list[tuple[float, float]]] = {}
    for rng in np.random.default_rng(options.seed).spawn(options.images):
        made = drawn(rng)
        for name, error in errors_of(made, see_simulated(made)).items():
            rows.setdefault(name, []).append(error)
    print("quantity: root mean square error; of error over sigma; largest")
    for name, values in rows.items():
        error, sigma = np.array(values).T
        pull = error / sigma
        rms = [np.sqrt(np.mean(v**2)) for v in (error, pull)]
        print(f"{name}: {rms[0]:.3g}; {rms[1]:.2f}; {np.abs(pull).max():.1f}")


if __name__ == "__main__":
    main()
