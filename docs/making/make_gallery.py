"""Make docs/images/gallery_*.png: what the scripts of examples/ draw, small enough to be kept.

``python docs/making/make_gallery.py [NAME...]``: of all scripts (minutes), or of some, as
``one_class dose``.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
SCRIPTS = (
    "known",
    "one_class",
    "crowded",
    "against_truth",
    "study_resumed",
    "at_random",
    "far_field",
    "spectra",
    "dose",
)
SIDES_PX = (800, 640, 500, 400, 300)
MAX_BYTES = 95_000
COLOURS = 48


def shrink(picture: Path, to: Path) -> None:
    """Write a picture with few colours, and as many pixels as `MAX_BYTES` allow."""
    with Image.open(picture) as drawn:
        whole = drawn.convert("RGB")
    for side in SIDES_PX:
        small = whole.copy()
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        small.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE).save(to, optimize=True)
        if to.stat().st_size < MAX_BYTES:
            return


def main(names: list[str]) -> None:
    """Run the scripts, and keep what they draw."""
    sys.path.insert(0, str(ROOT / "examples"))
    for name in names or SCRIPTS:
        with tempfile.TemporaryDirectory() as folder:
            picture = Path(folder) / f"{name}.png"
            importlib.import_module(name).main(picture)
            shrink(picture, ROOT / "docs" / "images" / f"gallery_{name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
