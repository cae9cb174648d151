"""Open a study into a viewer, and make one of what is in a viewer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from napari.components import ViewerModel
from napari.utils.notifications import show_warning
from qtpy.QtWidgets import QWidget

from ...pipeline.runs import RunConfig
from ...study import FileRecord, Study, create_study, named_folder, open_study
from ...types import DefectStrainError
from ..base import forms, saving, tr
from ..base.settings import Settings
from ..layers.placing import show_scale_bar
from ..layers.sites import KEY, note
from . import arrangement
from .keeper import StudyKeeper, keeper_of
from .restoring import restore
from .ties import NAMES, forget_names

MOST_RECENT = 8
CLOSE, KEEP = "Close what is open", "Keep it beside"
LOOK, WITHOUT, TAKE = "Look in a folder…", "Open without them", "Take them as they are now"


def save_as(
    viewer: ViewerModel, path: str | Path, config: RunConfig, copy: bool = False
) -> StudyKeeper:
    """Make a study of what is in a viewer; from now on every edit is kept in it.

    Parameters
    ----------
    viewer : ViewerModel
    path : path
        Of its folder.
    config : RunConfig
        Its parameters.
    copy : bool
        Keep copies of the files of images.

    Raises
    ------
    DefectStrainError
        If there is something at that place, or it can't be written.
    """
    study = create_study(path, config)
    with _old_study_back(viewer):
        keeper = StudyKeeper(viewer, study, copy)
        forget_names(viewer)
        try:
            keeper.take_all()
        except BaseException:
            keeper.close()
            raise
    keeper.known()
    remember(study)
    return keeper


def open_into(
    viewer: ViewerModel, path: str | Path, parent: QWidget | None = None
) -> tuple[StudyKeeper | None, list[str]]:
    """Open a study into a viewer.

    Parameters
    ----------
    viewer : ViewerModel
    path : path
    parent : QWidget, optional
        Of questions.

    Returns
    -------
    keeper : StudyKeeper or None
        None where the user thought better of it.
    notes : list of str

    Raises
    ------
    DefectStrainError
        If there is no study, it is damaged, or of a later version.
    """
    if len(viewer.layers):
        question = f"{len(viewer.layers)} layers are open. Close them before the study is opened?"
        answer = forms.ask(parent, tr("Open study"), question, [CLOSE, KEEP])
        if answer is None:
            return None, []
    else:
        answer = KEEP
    with _old_study_back(viewer):
        old = keeper_of(viewer)
        if old is not None and old.study.path.resolve() == named_folder(path).resolve():
            old.close()
        study = open_study(path)
        try:
            if not _files_settled(study, parent):
                study.close()
                return None, []
            if old is not None:
                old.close()
            forget_names(viewer)
            if answer == CLOSE:
                viewer.layers.selection.clear()
                viewer.layers.clear()
            empty = len(viewer.layers) == 0
            notes = [*study.notes, *restore(study, viewer)]
        except BaseException:
            study.close()
            raise
        keeper = StudyKeeper(viewer, study)
        keeper.known()
    show_scale_bar(viewer)
    if empty:
        if not study.window.get("viewer"):
            viewer.reset_view()
        arrangement.show(study, viewer)
    remember(study)
    return keeper, notes


@contextmanager
def _old_study_back(viewer: ViewerModel) -> Iterator[None]:
    """Go on with the study that was open, where no other one is open afterwards."""
    old = keeper_of(viewer)
    names = {la: note(la)[NAMES] for la in viewer.layers if NAMES in note(la)}
    try:
        yield
    finally:
        # where its layers were closed already, nothing is left that it could keep
        if old is not None and keeper_of(viewer) is None and names.keys() <= set(viewer.layers):
            forget_names(viewer)
            for layer, its in names.items():
                layer.metadata[KEY] = {**note(layer), NAMES: its}
            try:
                StudyKeeper(viewer, open_study(old.study.path), old.copy).go_on_from(old)
            except DefectStrainError as error:
                show_warning(f"The study {old.study.name} isn't open any more: {error}")


def recent() -> list[Path]:
    """Studies that were opened last, the newest first, as far as they are there."""
    known = Settings("study").get("recent", [])
    paths = [Path(str(p)) for p in known] if isinstance(known, list) else []
    return [path for path in paths if path.is_dir()]


def remember(study: Study) -> None:
    """Put a study at the head of the recent ones."""
    own = str(study.path.resolve())
    others = [str(p) for p in recent() if str(p) != own]
    Settings("study").set("recent", [own, *others][:MOST_RECENT])


def _files_settled(study: Study, parent: QWidget | None) -> bool:
    """Ask about images that were moved or changed; False where the user cancels."""
    states = study.states()
    gone = [file for file, (state, _) in states.items() if state == "missing"]
    changed = [file for file, (state, _) in states.items() if state == "changed"]
    if gone and not study.read_only:
        for file, path in study.find_missing().items():
            if file in gone:
                study.relocate(file, path)
                gone.remove(file)
                study.notes.append(f"{file.file_name}: was moved, and found at {path}")
    while gone and not study.read_only:
        question = f"{_named(gone)} can't be found where they were. Where are they now?"
        answer = forms.ask(parent, tr("Images moved"), question, [LOOK, WITHOUT])
        if answer is None:
            return False
        if answer == WITHOUT:
            break
        folder = saving.ask_folder(parent, tr("Folder of the images"))
        for file, path in study.find_missing([folder] if folder else []).items():
            if file in gone:
                study.relocate(file, path)
                gone.remove(file)
    if changed and not study.read_only:
        question = (
            f"{_named(changed)} changed since they were taken into the study. Their columns were "
            "found in what they were before"
        )
        answer = forms.ask(parent, tr("Images changed"), question, [TAKE, WITHOUT])
        if answer is None:
            return False
        if answer == TAKE:
            for file in changed:
                try:
                    study.accept_changed(file)
                except DefectStrainError as error:
                    study.notes.append(str(error))
    return True


def _named(files: Sequence[FileRecord]) -> str:
    more = f" and {len(files) - 4} more" if len(files) > 4 else ""
    return ", ".join(file.file_name for file in files[:4]) + more
