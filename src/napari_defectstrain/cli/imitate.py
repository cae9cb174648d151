"""``defectstrain imitate``: simulated images with truth that look like the user's own."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..types import DefectStrainError, Progress
from .main import found_columns, say, say_done, say_warnings, without_none
from .selftest import add_run_or_results, take_named_results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``imitate``: those of ``run``, and how many images of what size."""
    add_run_or_results(parser)
    add = parser.add_argument
    add("-n", "--simulated", type=int, metavar="N", help="how many images are simulated (3)")
    add("--size", type=int, metavar="N", help="their largest side [px] (that of the images)")
    add(
        "--training-config",
        type=Path,
        metavar="FILE",
        help="write what a network is to be trained on there, too: train --config FILE",
    )


def run_imitate(options: argparse.Namespace, progress: Progress) -> int:
    """Learn the look of images, simulate it, and say how far that is from them."""
    from ..io.writing import check_writable
    from ..output import IMITATION_FILE, figure_formats, write_imitation, write_training
    from ..output.imitations import imitation_text
    from ..pipeline import ImitationConfig, imitate
    from ..progress import subprogress

    formats = figure_formats(options.figures)
    config = ImitationConfig(
        **without_none({"images": options.simulated, "side_px": options.size, "seed": options.seed})
    )
    training: Path | None = options.training_config
    if training is not None:
        if training.exists():
            raise DefectStrainError(
                f"--training-config {training}: got a file that is there, expected a new one; what "
                "is there stays"
            )
        check_writable(training.parent)
    take_named_results(options)
    found = found_columns(options, subprogress(progress, 0.0, 0.3), IMITATION_FILE)
    made = imitate(found, config, subprogress(progress, 0.3, 0.95))
    say_warnings(write_imitation(made, found, config, options.out, formats))
    if training is not None:
        write_training(training, made)
    say(imitation_text(made))
    return say_done(options.out, found.failed)
