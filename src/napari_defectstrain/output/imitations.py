"""Write *Simulate my image*: look, images with truth, conditions of training, what differs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..detect import TrainConfig
from ..io.files import write_json, write_table
from ..io.out_folder import writing_into
from ..pipeline import Imitation, ImitationConfig, RunResult
from ..simulate import simulated_files, write_simulated
from ..trials import look_conditions, write_look
from .results import FIGURES, provenance

IMITATION_FILE = "imitation.json"
_DECIMALS = 6


def imitation_files(names: Sequence[str], formats: Sequence[str]) -> list[str]:
    """Names of what is going to be written."""
    figures = [f"{FIGURES}/look.{suffix}" for suffix in formats]
    images = [file for name in names for file in simulated_files(name)]
    return [IMITATION_FILE, "look.json", "look.csv", "training.json", *figures, *images]


def write_imitation(
    made: Imitation,
    found: RunResult,
    config: ImitationConfig,
    out_dir: Path,
    formats: Sequence[str] = ("png",),
) -> list[str]:
    """Write everything, the settings last; returns what was kept of the user's, and where.

    Parameters
    ----------
    made : Imitation
    found : RunResult
        That it was made from.
    config : ImitationConfig
    out_dir : Path
        Created where it doesn't exist.
    formats : sequence of str
        Of the figure, some of `results.FIGURE_FORMATS`.
    """
    from .figures.files import write_figure
    from .figures.looks import look_figure

    with writing_into(out_dir, "imitate", IMITATION_FILE) as folder:
        for image in made.images:
            write_simulated(image, folder.place)
        write_look(folder.place("look.json"), made.look)
        write_training(folder.place("training.json"), made)
        write_table(folder.place("look.csv"), made.table.round(_DECIMALS))
        figure = look_figure(made.real, made.simulated, made.table)
        write_figure(figure, folder.place, f"{FIGURES}/look", formats)
        folder.finish(
            {
                **provenance(found),
                "imitation": config.to_dict(),
                "images": [image.name for image in found.images],
                "warnings": [*found.warnings, *_notes(made)],
            }
        )
    return folder.notes


def write_training(path: Path, made: Imitation) -> None:
    """Settings for ``defectstrain train --config``: the usual ones, matched to the look."""
    write_json(path, TrainConfig(conditions=look_conditions(made.look)).to_dict())


def imitation_text(made: Imitation) -> str:
    """The differences and notes, as they are printed."""
    table = made.table.assign(
        within=[{True: "yes", False: "no"}.get(w, "") for w in made.table["within"]]
    )
    text = table.to_string(index=False, float_format=lambda v: f"{v:.4g}", na_rep="")
    known = made.table["within"].notna()
    alike = int((made.table["within"][known] == True).sum())  # noqa: E712  objects, not booleans
    lines = [text, f"{alike} of {int(known.sum())} numbers differ by no more than chance"]
    return "\n".join([*lines, *_notes(made)])


def _notes(made: Imitation) -> list[str]:
    """What is to be said of the look, and of how simulated images were seen."""
    return [*made.look.notes, *(note for one in made.simulated for note in one.notes)]
