"""``defectstrain series``: what dose or time does to the sites of one region."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..types import DefectStrainError, Progress
from .main import add_set, say, say_done, say_warnings, with_settings, without_none

if TYPE_CHECKING:
    from ..pipeline.runs import RunConfig
    from ..series import SeriesConfig
    from ..types import CalibratedImage


_SAME_SIZE = 0.005
"""Relative difference of pixel sizes below which files are of one magnification."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``series``."""
    from .resuming import material_help

    parser.add_argument(
        "images",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="a stack of frames, or the frames one by one in order",
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    add("--force", action="store_true", help="write into DIR even if it isn't empty")
    add("--kind", choices=("dose", "time", "frames"), help="dose or time series, or one sum (dose)")
    add("--dose", type=float, metavar="D", help="of a frame [e-/nm2]")
    add("--current", type=float, metavar="I", help="of the beam [pA], instead of --dose")
    add("--frame-time", type=float, metavar="T", help="between the starts of two frames [s]")
    add("--per-sum", type=int, metavar="N", help="frames a sum (the fewest that are pure enough)")
    add("--step", type=int, metavar="N", help="from sum to sum; less than --per-sum: sums slide")
    add("--purity", type=float, metavar="P", help="of every class, by which --per-sum is chosen")
    add("--changed", type=float, metavar="F", help="fraction whose dose is asked for (0.01)")
    add("--reach", type=float, metavar="R", help="longest hop of a vacancy [a] (1.2)")
    add("--hole-columns", type=int, metavar="N", help="neighbours without any chalcogen (2)")
    add("--exclude", metavar="N,...", help="frames (from 0) left out whatever they look like")
    add("--include", metavar="N,...", help="frames kept whatever they look like")
    add("--jitter", choices=("auto", "on", "off"), help="straighten scan lines (auto)")
    add("--material", help=material_help(or_else="--weights"))
    add("--force-material", action="store_true", help="whatever the frames seem to show")
    add("--pixel-size-pm", type=float, metavar="P", help="pixel size [pm]")
    add("--weights", metavar="FILE", help="weights of the network (those of the package)")
    add("--no-judge", action="store_true", help="leave the network's classes as they are")
    add("--device", help="auto, cpu, cuda or mps (auto)")
    add("--figures", default="png", metavar="F,...", help="some of png, pdf, svg (png)")
    add(
        "--config",
        type=Path,
        metavar="FILE",
        help="all settings (JSON), for instance an earlier series.json; other options come first",
    )
    add_set(parser, "any setting of the chain by its name among the parameters of series.json")


def run_series(options: argparse.Namespace, progress: Progress) -> int:
    """Register, detect, follow, and write."""
    from ..io import check_inputs, in_counted_order
    from ..output import SERIES_FILE, check_out_dir, figure_formats, series_files, write_series
    from ..pipeline import check_weights
    from ..progress import subprogress
    from ..series import analyse_series, series_text

    formats = figure_formats(options.figures)
    config, run = _settings(options)
    if config.kind != "frames":
        check_weights(run)
    check_out_dir(options.out, options.force, SERIES_FILE)
    paths = in_counted_order(options.images)
    frames, name, said = _frames(paths)
    if paths != options.images:
        said.insert(
            0, f"files in the order of their numbers: {paths[0].name}, {paths[1].name}, ..."
        )
    check_inputs(options.out, series_files(name), [*paths, options.config])
    result = analyse_series(frames, config, run, name, subprogress(progress, 0.0, 0.95))
    progress(0.95, "writing results")
    result = replace(result, warnings=(*said, *result.warnings))
    notes = write_series(result, options.out, formats, paths)
    say_warnings([*result.warnings, *notes])
    say(series_text(result))
    return say_done(options.out, ())


def _settings(options: argparse.Namespace) -> tuple[SeriesConfig, RunConfig]:
    """Settings of the file, or the defaults, with what the command line changes."""
    from ..io import read_settings
    from ..pipeline import RunConfig
    from ..series import SeriesConfig

    values = {} if options.config is None else read_settings(options.config)
    where = f"{options.config}: "
    if values and "series" not in values and "parameters" not in values:
        values = {"parameters": values}  # settings of the chain alone, as `run --config` takes them
    config = SeriesConfig.from_dict(values.get("series", {}), where)
    run = with_settings(RunConfig.from_dict(values.get("parameters", {}), where), options.settings)
    own = {
        "kind": options.kind,
        "dose_e_per_nm2": options.dose,
        "current_pa": options.current,
        "frame_time_s": options.frame_time,
        "hole_columns": options.hole_columns,
        **{key: getattr(options, key) for key in ("per_sum", "step", "purity", "changed", "reach")},
    }
    if options.dose is not None:
        config = config.replace(current_pa=None)
    elif options.current is not None:
        config = config.replace(dose_e_per_nm2=None)
    config = config.replace(**without_none(own))
    frames: dict[str, Any] = {
        "exclude": _numbers(options.exclude, "--exclude"),
        "include": _numbers(options.include, "--include"),
        "jitter": options.jitter,
    }
    detect = run.detect.replace(
        **without_none({"weights": options.weights, "device": options.device})
    )
    more = without_none({"material": options.material, "pixel_size_pm": options.pixel_size_pm})
    if options.no_judge:
        more["judge"] = run.judge.replace(enabled=False)
    run = run.replace(
        detect=detect,
        series=run.series.replace(**without_none(frames)),
        force_material=options.force_material or run.force_material,
        **more,
    )
    return config, run


def _numbers(text: str | None, option: str) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise DefectStrainError(
            f"{option}: got {text!r}, expected numbers of frames between commas, such as 0,7"
        ) from None


def _frames(paths: list[Path]) -> tuple[list[CalibratedImage], str, list[str]]:
    """All frames of all files in order, what the series is called, and what the files warn of."""
    from ..io import output_stems, read_images

    found = [read_images(path) for path in paths]
    frames = [frame for of_file in found for frame in of_file]
    if len(frames) < 2:
        raise DefectStrainError(
            f"{paths[0]}: got {len(frames)} frame, expected a stack, or several files in order"
        )
    sizes = [of_file[0].pixel_size_pm for of_file in found]
    known = [(size, path) for size, path in zip(sizes, paths, strict=True) if size is not None]
    for size, path in known[1:]:
        if abs(size / known[0][0] - 1) > _SAME_SIZE:
            raise DefectStrainError(
                f"{path}: got pixels of {size:.5g} pm, expected {known[0][0]:.5g} pm as in "
                f"{known[0][1].name}: the frames of a series are of one magnification"
            )
    said: dict[str, None] = {}  # each once, in order
    for path, of_file in zip(paths, found, strict=True):
        said |= {f"{path.name}: {text}": None for text in of_file[0].metadata.get("warnings", ())}
    return frames, output_stems([paths[0].stem])[0], list(said)
