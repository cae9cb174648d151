"""A study's folder that is dropped on napari, or opened by *File > Open Folder*."""

from collections.abc import Callable, Sequence
from typing import Any

from napari.utils.notifications import show_error, show_warning

from ...study import is_study
from ...types import DefectStrainError
from ..layers.placing import present_viewer
from ..layers.readers import NOTHING
from . import arrangement
from .bar import StudyBar
from .opening import open_into

PathOrPaths = str | Sequence[str]


def get_study_reader(path: PathOrPaths) -> Callable[[PathOrPaths], list[tuple[Any, ...]]] | None:
    """The reader of a folder; None where it is no study."""
    one = path if isinstance(path, str) else path[0] if len(path) == 1 else ""
    return read_study if one and is_study(one) else None


def read_study(path: PathOrPaths) -> list[tuple[Any, ...]]:
    """Open a study into napari's window: its layers are added here, with what is to be said."""
    one = path if isinstance(path, str) else path[0]
    viewer = present_viewer()
    if viewer is None:
        show_error(f"{one}: got a study, no window to open it in; in Python: nds.open_study()")
        return list(NOTHING)
    try:
        _, notes = open_into(viewer, one)
    except DefectStrainError as error:
        show_error(str(error))
        return list(NOTHING)
    for text in notes:
        show_warning(text)
    for panel in arrangement.panels_of(viewer):
        for bar in panel.findChildren(StudyBar):
            bar.refresh()
    return list(NOTHING)
