"""How far the work is, by the layers that there are, and what is to be done next."""

from dataclasses import dataclass

from napari.components import ViewerModel
from napari.layers import Image, Layer

from ..base.texts import tr
from ..layers.averages import OUTDATED, isolated_runs, layers_of_run
from ..layers.sites import AWAITING, kind, layer_id, note

DETECT, AVERAGE, STRAIN, REPORT = range(4)
STEPS = (DETECT, AVERAGE, STRAIN, REPORT)
DONE, READY, WAITS = "done", "ready", "waits"
OPEN, ONE_REGION, NINE_REGIONS = "open", "one_region", "nine_regions"
CORRECT, FIGURES = "correct", "figures"
"""What a button of an advice does, beside running or showing a step."""


@dataclass(frozen=True)
class State:
    """How far the work is.

    Parameters
    ----------
    images : int
        Open ones.
    unsearched : tuple of Layer
        Images whose columns nobody looked for.
    searched : frozenset of str
        Ids of the others.
    run : str
        The newest averages of all that were searched; empty where there are none.
    measured : bool
        Whether their strain was measured, of the windows as they are.
    written : bool
        Whether figures or a report were written since.
    """

    images: int = 0
    unsearched: tuple[Layer, ...] = ()
    searched: frozenset[str] = frozenset()
    run: str = ""
    measured: bool = False
    written: bool = False

    def of(self, step: int) -> str:
        """Whether a step is done, can be done, or waits for the one before.

        Where some images are not searched yet, detecting is what can be done; what was made of the
        others counts.
        """
        done = (
            bool(self.searched) and not self.unsearched,
            bool(self.run),
            bool(self.run) and self.measured,
            self.written,
        )
        can = (self.images > 0, bool(self.searched), bool(self.run), self.measured)
        return DONE if done[step] and can[step] else READY if can[step] else WAITS

    @property
    def remaining(self) -> tuple[int, ...]:
        """The steps that *Run all* would take; a report is nobody's but the user's."""
        if not self.images:
            return ()
        first = next((s for s in (DETECT, AVERAGE, STRAIN) if self.of(s) != DONE), REPORT)
        return tuple(range(first, REPORT))


@dataclass(frozen=True)
class Advice:
    """What a step says above its controls.

    Parameters
    ----------
    text : str
    buttons : tuple of (str, str or int)
        Their labels, and what they do: run a step (its number), or one of the words above.
    """

    text: str
    buttons: tuple[tuple[str, str | int], ...] = ()


def state_of(viewer: ViewerModel, written: bool = False) -> State:
    """How far the work in a viewer is."""
    sources = [la for la in viewer.layers if is_source(la)]
    summed = {note(la).get("frames_of") for la in sources}
    # frames whose sum is there are not searched themselves
    images = [la for la in sources if layer_id(la) not in summed]
    found = {
        note(la).get("image")
        for la in viewer.layers
        if kind(la) == "defects" and not note(la).get(AWAITING)
    }
    searched = frozenset(layer_id(la) for la in images if layer_id(la) in found)
    runs = [
        run
        for run, layers in isolated_runs(viewer).items()
        if searched and searched <= set(note(layers[0]).get("image_ids", []))
    ]
    run = runs[-1] if runs else ""
    arrows = layers_of_run(viewer, run, ("displacement",)) if run else []
    return State(
        images=len(images),
        unsearched=tuple(la for la in images if layer_id(la) not in searched),
        searched=searched,
        run=run,
        measured=any(not note(la).get(OUTDATED) for la in arrows),
        written=written,
    )


def is_source(layer: Layer) -> bool:
    """Whether columns can be looked for in a layer: an image, or a sum of frames.

    A picture in colours counts: looking for its columns says what to do with it.
    """
    return isinstance(layer, Image) and kind(layer) in ("", "sum")


def advice(state: State, step: int) -> Advice:
    """What a step says, and offers, where the work is that far."""
    if not state.images:
        return Advice(
            tr("Nothing is open yet. Drop your images on napari, or look at a sample first."),
            (
                (tr("Open the &sample"), ONE_REGION),
                (tr("&Nine regions"), NINE_REGIONS),
                (tr("Op&en a file…"), OPEN),
            ),
        )
    detect = (tr("&Detect"), DETECT)
    if step == DETECT or not state.searched:
        return _of_detection(state, step, detect)
    average = (tr("&Average"), AVERAGE)
    if step == AVERAGE or not state.run:
        return _of_averages(state, average)
    measure = (tr("&Measure strain"), STRAIN)
    if step == STRAIN or not state.measured:
        if state.of(STRAIN) != DONE:
            return Advice(
                tr("The averages are there. Measure where each column went, and the strain."),
                (measure,),
            )
        return Advice(
            tr("Maps and arrows are shown. Drag the yellow line for a profile, or write figures."),
            ((tr("Save fi&gures…"), FIGURES),),
        )
    return Advice(
        tr("Write figures with their data, keep all of it as a study, or make a report."),
        ((tr("Save fi&gures…"), FIGURES),),
    )


def _of_detection(state: State, step: int, detect: tuple[str, str | int]) -> Advice:
    waiting = len(state.unsearched)
    if waiting and not state.searched:
        text = (
            tr("1 image is open. Find its columns and their defects.")
            if state.images == 1
            else tr("{n} images are open. Find their columns and their defects.")
        )
        if step != DETECT:
            text = tr("This comes after the defects are found: start with step 1.")
        return Advice(text.format(n=state.images), (detect,))
    average, correct = (tr("&Average"), AVERAGE), (tr("&Correct"), CORRECT)
    if waiting:
        text = tr("{n} of {all} images are not searched yet.")
        return Advice(text.format(n=waiting, all=state.images), (detect, average))
    if state.run:
        again = tr("Found, and averaged. After corrections, average again.")
        return Advice(again, (average, correct))
    return Advice(
        tr("Correct what is wrong: click a point, press Shift+1…6. Then average."),
        (average, correct),
    )


def _of_averages(state: State, average: tuple[str, str | int]) -> Advice:
    if state.run:
        return Advice(
            tr("One average a class. Look through the windows; then measure the strain."),
            ((tr("&Measure strain"), STRAIN),),
        )
    text = (
        tr("Average the isolated defects of each class: 1 image.")
        if len(state.searched) == 1
        else tr("Average the isolated defects of each class: {n} images.")
    )
    return Advice(text.format(n=len(state.searched)), (average,))
