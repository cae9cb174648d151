"""Makes the pictures of the strain widget: the bundled nine regions, columns as they are known.

Needs a display, for instance a virtual one::

    xvfb-run -a -s "-screen 0 1920x1200x24" python docs/making/make_strain_screenshots.py
"""

import argparse
import os
import tempfile
from importlib.resources import files
from pathlib import Path
from uuid import uuid4

import napari
import numpy as np
import pandas as pd
from make_screenshots import SIZE, add, pump, shoot
from napari.viewer import Viewer
from vispy.gloo import glir

from napari_defectstrain.averages.average import average_stack
from napari_defectstrain.io.files import read_images
from napari_defectstrain.materials import WSE2
from napari_defectstrain.pipeline.chain import average_classes, detect
from napari_defectstrain.pipeline.runs import RunConfig
from napari_defectstrain.types import ClassStack, Sites
from napari_defectstrain.widgets.layers.averages import add_averages, look_at
from napari_defectstrain.widgets.layers.sites import kind, note, provenance
from napari_defectstrain.widgets.strain.widget import StrainWidget

REGIONS = 9


def known_sites(path: Path) -> Sites:
    """The true columns of a sample, as certain."""
    table = pd.read_csv(path)
    index = np.array([WSE2.class_names.index(name) for name in table["class"]])
    return Sites(
        position_px=table[["y_px", "x_px"]].to_numpy(),
        probabilities=np.eye(len(WSE2.class_names))[index],
        class_index=index,
        class_names=WSE2.class_names,
        source=np.full(len(index), "model"),
    )


def known_stacks(config: RunConfig) -> dict[str, ClassStack]:
    """Windows of the nine regions around their known defects."""
    folder = Path(str(files("napari_defectstrain.sample_data")))
    numbers = range(1, REGIONS + 1)
    images = [im for i in numbers for im in read_images(folder / f"nine_regions_{i}.tif")]
    sites = [known_sites(folder / f"nine_regions_{i}.truth.csv") for i in numbers]
    found = detect(images, config, sites)
    return average_classes(found.images, found.sites, config, regions=found.regions or None)


def open_averages(stacks: dict[str, ClassStack], config: RunConfig) -> Viewer:
    """A window of a fixed size with the averages."""
    viewer = Viewer(show=True)
    viewer.window.resize(*SIZE)
    about = provenance(
        "average",
        {k: config.to_dict()[k] for k in ("material", "average", "seed")},
        run=uuid4().hex,
        images=["nine regions"],
        image_ids=["nine regions"],
    )
    averages = {name: average_stack(stack) for name, stack in stacks.items()}
    add_averages(viewer, stacks, averages, (0.0, 0.0), about, False)
    pump(1.0)
    return viewer


def settle(widget: StrainWidget) -> None:
    """Wait until nothing is computed or due."""
    idle = 0
    while idle < 5:
        idle = 0 if widget.run_bar.running or widget.view.waiting else idle + 1
        pump(0.1)
    print(widget.run_bar.status.text(), flush=True)


def strain(out: Path, stacks: dict[str, ClassStack], config: RunConfig) -> None:
    """Measured strain beside theory; arrows with ellipses; a line profile with triangles."""
    viewer = open_averages(stacks, config)
    widget = StrainWidget(viewer)
    add(viewer, widget, "Strain maps", tabify=False)
    widget.run()
    settle(widget)
    shoot(viewer, out / "strain.png", small=True)
    widget.controls.ellipses.setChecked(True)
    pump(0.5)
    averages = [la for la in viewer.layers if kind(la) == "average"]
    look_at(viewer, [la for la in averages if note(la)["class"] in ("2Te", "SV")])
    viewer.scene.camera.zoom *= 0.9
    shoot(viewer, out / "arrows.png", small=True)
    widget.controls.ellipses.setChecked(False)
    widget.controls.component.setCurrentText("eyy")
    widget.controls.triangles.setCurrentText("metal")
    settle(widget)
    widget.show_profile()
    pump(1.0)
    kinds = ("average", "comparison map", "colour bar", "triangles")
    look_at(viewer, [la for la in viewer.layers if kind(la) in kinds])
    shoot(viewer, out / "profile.png", small=True)
    viewer.close()


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).parents[1] / "images"
    parser.add_argument("--out", type=Path, default=default, help="folder of the pictures")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    # Mesa 22 crashes in a visible viewer when the programs of removed layers are deleted.
    glir.GlirProgram.delete = lambda self: None
    with tempfile.TemporaryDirectory() as folder:
        # Pictures show the defaults, and leave the user's own settings alone.
        os.environ["DEFECTSTRAIN_SETTINGS"] = str(Path(folder) / "widgets.json")
        napari.settings.get_settings().application.save_window_geometry = False
        config = RunConfig()
        strain(args.out, known_stacks(config), config)


if __name__ == "__main__":
    main()
