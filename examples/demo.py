"""The whole chain on the bundled sample of nine regions, against its built-in truth.

python examples/demo.py [--out demo_results] [--no-gui]

Prints what was measured for each class beside what the simulation put in, and how many of the true
defects were found. Where there is a display, napari opens on the result.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from napari_defectstrain.evaluation import confusion_matrix, scores
from napari_defectstrain.io import read_images, read_sites
from napari_defectstrain.io.unfinished import mark_path
from napari_defectstrain.materials import ROLES
from napari_defectstrain.output import RUN_FILE, check_out_dir, write_results
from napari_defectstrain.pipeline import RunConfig, RunResult, run
from napari_defectstrain.styles import DISPLACEMENT_SCALE
from napari_defectstrain.types import DefectStrainError, Sites

SAMPLE = files("napari_defectstrain.sample_data")
PAPER_N = {"2Se": 437, "SeTe": 312, "2Te": 180, "SV": 576, "DV": 18}  # the paper's stacks


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo_results"), metavar="DIR")
    parser.add_argument("--no-gui", action="store_true", help="don't open napari at the end")
    parser.add_argument("--regions", type=int, default=9, metavar="N", help="how many of the nine")
    parser.add_argument("--bootstrap", type=int, default=RunConfig().bootstrap, metavar="M")
    options = parser.parse_args(arguments)
    names = [f"nine_regions_{i}" for i in range(1, options.regions + 1)]
    start = time.perf_counter()
    try:
        check_out_dir(options.out, force=is_own(options.out))
        images = []
        for name in names:
            with as_file(SAMPLE / f"{name}.tif") as path:
                images += read_images(path)
        style = "{percentage:3.0f}% {bar:20} {desc}"
        # disable=None: no bar where the output is not a terminal
        with tqdm(total=1.0, leave=False, bar_format=style, disable=None) as bar:

            def progress(fraction: float, message: str) -> None:
                bar.n = fraction
                bar.set_description_str(message)

            result = run(images, RunConfig(bootstrap=options.bootstrap), progress=progress)
        write_results(result, options.out, force=True)
    except (DefectStrainError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    truth = json.loads((SAMPLE / "nine_regions.json").read_text(encoding="utf-8"))
    minutes = (time.perf_counter() - start) / 60
    print(f"\n{len(images)} images, {sum(map(len, result.sites))} columns, {minutes:.1f} min")
    for warning in result.warnings:
        print(f"warning: {warning}")
    print("\nSpacing of the three metal columns nearest each defect, strain against 2Se")
    print(strain_table(result, truth["spacing_change"]))
    print("\nDetection against the truth (counts; a hit lies within 150 pm)")
    classes = result.material.class_names
    print(detection_table(result, [read_truth(name, classes) for name in names]))
    print(f"\nfigures: {options.out / 'figures'}")
    if not options.no_gui and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        open_napari(result)
    return 0


def is_own(folder: Path) -> bool:
    """Whether a folder holds results of an earlier demo, finished or stopped."""
    mark = mark_path(folder, RUN_FILE)
    try:
        path = mark if mark.exists() else folder / RUN_FILE
        run_file = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(run_file, dict) and run_file.get("software") == "napari-defectstrain"


def strain_table(result: RunResult, truth: dict[str, float]) -> str:
    """Measured spacing and strain of each class with both errors, beside the built-in strain.

    The pull is the deviation from the truth by the total error: a fair error makes it about 1.
    """
    header = f"{'class':<6}{'N':>5}{'paper N':>9}{'W-W spacing [pm]':>20}"
    header += f"{'strain [%]':>12}{'sigma_stat':>12}{'sigma_total':>13}"
    lines = [header + f"{'truth [%]':>11}{'pull':>7}"]
    for name, measured in result.measurements.items():
        s = measured.spacing
        line = f"{name:<6}{s.n:>5}{PAPER_N.get(name, 0):>9}"
        line += f"{f'{s.spacing_pm:.2f} ± {s.precision_pm:.2f}':>20}"
        if name in truth:
            stat = s.strain_std if measured.budget is None else measured.budget.sigma_stat
            pull = (s.strain - truth[name]) / s.strain_total_std
            line += f"{100 * s.strain:>+12.2f}{100 * stat:>12.2f}{100 * s.strain_total_std:>13.2f}"
            line += f"{100 * truth[name]:>+11.2f}{pull:>+7.1f}"
        lines.append(line)
    return "\n".join(lines)


def read_truth(name: str, class_names: tuple[str, ...]) -> Sites:
    """The truth table of one image."""
    with as_file(SAMPLE / f"{name}.truth.csv") as path:
        return read_sites(path, class_names)


def detection_table(result: RunResult, truth: Sequence[Sites]) -> str:
    """Precision, recall and F1 of each defect class over all images."""
    counts = [
        confusion_matrix(sites, true, image.data.shape, float(image.pixel_size_pm or 1.0))
        for image, sites, true in zip(result.images, result.sites, truth, strict=True)
    ]
    table = scores(np.sum(counts, axis=0), result.material.class_names)
    return str(table.to_string(index=False, float_format=lambda value: f"{value:.4f}"))


def open_napari(result: RunResult) -> None:
    """Show the first image with its defects, and all averages, arrows and dilations, in napari."""
    import napari  # a second to import, and Qt: only where it is wanted

    viewer = napari.Viewer(title="defectstrain: nine regions")
    show(viewer, result)
    napari.run()


def show(viewer: Any, result: RunResult) -> None:
    """Add the layers of a result to a viewer, as the widgets do."""
    from napari_defectstrain.widgets.layers.averages import (
        AXES,
        GAP,
        HEADER,
        UNITS,
        add_averages,
        free_corner,
        look_at,
    )
    from napari_defectstrain.widgets.layers.fields import add_displacement, show_maps
    from napari_defectstrain.widgets.layers.sites import add_detection, note, provenance

    def about(kind: str, **more: object) -> dict[str, Any]:
        return provenance(kind, result.config.to_dict(), result.weights_sha256, **more)

    image, measured = result.images[0], result.measurements
    scale = (image.pixel_size_pm, image.pixel_size_pm)
    source = viewer.add_image(
        image.data, name=image.name, scale=scale, units=UNITS, axis_labels=AXES
    )
    add_detection(viewer, source, result.sites[:1], about("detection"))
    corner = free_corner(viewer, [source])
    run_of = {"run": "demo", "measurement": "demo", "images": [i.name for i in result.images]}
    run_of |= {"image_ids": [str(source.unique_id)], "corner_pm": list(corner)}
    averages = add_averages(
        viewer,
        result.stacks,
        {name: m.average for name, m in measured.items()},
        corner,
        about("average", **run_of),
        with_windows=False,
    )
    centres = {note(layer)["class"]: note(layer)["centre_pm"] for layer in averages}
    strains = {name: m.strain for name, m in measured.items() if m.strain is not None}
    notes = {name: about("displacement", **run_of, **{"class": name}) for name in strains}
    side = averages[0].data.shape[0] * float(averages[0].scale[0])
    labels = about("map labels", **run_of)
    top = next(iter(centres.values()))[0] + (0.5 + 1.5 * GAP + HEADER) * side
    maps = show_maps(viewer, strains, centres, side, top, ["dilation"], False, 0.0, notes, labels)
    for role, name in zip(ROLES, result.material.class_names, strict=True):
        if name in strains:
            field, enlarged = measured[name].displacement, DISPLACEMENT_SCALE[role]
            add_displacement(viewer, field, centres[name], enlarged, notes[name])
    look_at(viewer, [*averages, *maps])


if __name__ == "__main__":
    sys.exit(main())
