"""Numbers for elastic theory: the far field of a vacancy.

python examples/far_field.py [FOLDER]

Far from a defect its displacement is A/r. A, the relaxation area and the elastic dipole come with
intervals of 95 %; the picture has the mean displacement of every shell beside the theories.
"""

import math
import sys
from pathlib import Path

from known import BUILT_IN, WSE2, known_images

import napari_defectstrain as nds
from napari_defectstrain.output import save_figure, shells_figure


def main(picture: Path, size: int = 512, config: nds.RunConfig | None = None) -> None:
    """Measure SV, and draw its displacement shell by shell."""
    made, columns = known_images(picture.parent, 2, size, (0.0, 0.0, 0.05, 0.0))
    result = nds.run([one.image for one in made], config or nds.RunConfig(), columns)
    comparison = result.comparisons["SV"]
    for quantity, said in comparison.numbers.said.items():
        print(f"{quantity}: {said}")
    # the simulation's field is u0 r0 / r from the nearest metals on, with u0 their displacement
    r0_pm = WSE2.lattice_pm / math.sqrt(3)
    print(f"built in: 2πA = {2 * math.pi * BUILT_IN['SV'] * r0_pm**2:.0f} pm²")
    save_figure(shells_figure({"SV": comparison}), picture)


if __name__ == "__main__":
    main(Path(*sys.argv[1:], "far_field.png"))
