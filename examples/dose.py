"""A dose series: sites that the beam changes, and the cross section.

python examples/dose.py [FOLDER]

Frames of one field in which every Se atom has the same chance of being knocked out. Every site is
followed through sums of a few frames; rates come out with errors, beside what was built in.
"""

import sys
from pathlib import Path

import numpy as np

import napari_defectstrain as nds
from napari_defectstrain.output import save_figure, series_figure
from napari_defectstrain.series import series_text
from napari_defectstrain.simulate import ScanConfig, knock_on, simulate_changes

LOSS = 0.006  # chance of an atom's loss, a frame
DOSE = 3.9e6  # electrons per nm², a frame


def main(picture: Path, size: int = 320, frames: int = 12) -> None:
    """Simulate a series, follow it, and draw classes and rates against dose."""
    scan = ScanConfig(
        shape=(size, size), pixel_size_pm=30.0, dose_e_per_nm2=DOSE, frames=1, jitter_px=0.4
    )
    config = nds.SimulationConfig(scan=scan)
    rng = np.random.default_rng(3)
    made = simulate_changes(config, rng, "dose", frames, knock_on(LOSS))
    counts = made.image.counts  # (frame, y, x)
    stack = [nds.CalibratedImage(frame, 30.0, f"dose[{i}]") for i, frame in enumerate(counts)]
    result = nds.analyse_series(stack, nds.SeriesConfig(dose_e_per_nm2=DOSE), name="dose")
    print(series_text(result))
    print(f"built in: {1e10 * LOSS / DOSE:.1f} barn an atom")  # 1 barn is 1e-10 nm²
    save_figure(series_figure(result), picture)


if __name__ == "__main__":
    main(Path(*sys.argv[1:], "dose.png"))
