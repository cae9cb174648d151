"""What the train widget draws: examples beside the user's image, and the training's log."""

from collections.abc import Sequence

from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter
from napari.utils.theme import get_theme
from qtpy.QtCore import QSize
from qtpy.QtGui import QShowEvent

from ...detect.training.previews import Example, contrast_limits
from ...materials import DEFECT_ROLES, ROLES
from ...styles import CLASS_STYLE
from .pacing import Steps
from .worker import Stepper

MARKED = (*DEFECT_ROLES, "other")
"""Classes that are marked in the examples: the others are wherever nothing is marked."""


class LayoutBefore(ConstrainedLayoutEngine):
    """A constrained layout that may be worked out before the drawing, which is half of the time."""

    def __init__(self) -> None:
        super().__init__()
        self.done = False
        """Whether the next drawing finds everything in its place."""

    def execute(self, fig: Figure) -> None:
        """Put everything in its place, if it isn't there and there is anything."""
        if fig.axes and not self.done:
            super().execute(fig)


class ThemedCanvas(FigureCanvasQTAgg):
    """A canvas in the colours of napari's theme, laid out and drawn in two steps.

    Parameters
    ----------
    theme : str
        Name of the theme.
    height : int
        Its least height [px of the screen].
    """

    def __init__(self, theme: str, height: int) -> None:
        self._undrawn = False
        self._engine = LayoutBefore()
        super().__init__(Figure(layout=self._engine))
        self._drawing = Stepper(self)
        self._least = height
        self.setMinimumHeight(height)
        self.setMinimumWidth(200)
        self.set_theme(theme)

    def sizeHint(self) -> QSize:
        """Without this, the figure's size in inches would set the dock's width."""
        return QSize(200, self._least)

    def set_theme(self, theme: str) -> None:
        """Take over the colours of a theme, and draw again."""
        colours = get_theme(theme)
        self.ground = colours.background.as_hex()
        self.ink = colours.text.as_hex()
        self.figure.set_facecolor(self.ground)
        self.redraw()

    def redraw(self) -> None:
        """Draw what there is; for subclasses."""

    def draw_idle(self) -> None:
        """Draw when there is time, and not before anybody can see it."""
        self._undrawn = not self.isVisible()
        if not self._undrawn:
            self._drawing.take(self._draw_in_steps())

    def _draw_in_steps(self) -> Steps[None]:
        yield  # to the window, which may be opening
        self._engine.execute(self.figure)
        yield
        self._engine.done = True
        try:
            self.draw()
        finally:
            self._engine.done = False

    def showEvent(self, event: QShowEvent) -> None:
        """What changed while nobody looked is drawn now."""
        super().showEvent(event)
        if self._undrawn:
            self.draw_idle()


class ExamplesCanvas(ThemedCanvas):
    """The user's own image, where there is one, and simulated windows in the same grey values.

    Parameters
    ----------
    theme : str
    height : int
        Its least height [px of the screen].
    columns : int
        Windows in a row, of six places.
    """

    def __init__(self, theme: str, height: int = 480, columns: int = 2) -> None:
        self._columns = columns
        self._own: Example | None = None
        self._name = ""
        self._examples: Sequence[Example] = ()
        self._class_names: Sequence[str] = ()
        self._marks = False
        super().__init__(theme, height)

    def show_examples(
        self,
        own: Example | None,
        name: str,
        examples: Sequence[Example],
        class_names: Sequence[str],
        marks: bool,
    ) -> None:
        """Draw other windows.

        Parameters
        ----------
        own : Example or None
            A part of the user's image.
        name : str
            The name of that image.
        examples : sequence of Example
        class_names : sequence of str
            Names of the classes in the order of the roles.
        marks : bool
            Whether the defects of the examples are marked.
        """
        self._own, self._name, self._examples = own, name, examples
        self._class_names, self._marks = class_names, marks
        self.redraw()

    def set_marks(self, marks: bool) -> None:
        """Mark the defects, or not."""
        self._marks = marks
        self.redraw()

    def copy_to(self, other: "ExamplesCanvas") -> None:
        """Draw the same in another canvas."""
        other.show_examples(self._own, self._name, self._examples, self._class_names, self._marks)

    def redraw(self) -> None:
        """All windows; the marks are explained in the last place, which is left."""
        self.figure.clear()
        shown = [*([self._own] if self._own is not None else []), *self._examples]
        if not shown:
            self.draw_idle()
            return
        low, high = contrast_limits(shown)
        grid = self.figure.subplots(6 // self._columns, self._columns).ravel()
        for axes in grid:
            axes.set_axis_off()
        for axes, example in zip(grid, shown, strict=False):
            own = example is self._own
            axes.imshow(example.image, cmap="gray", vmin=low, vmax=high, interpolation="bicubic")
            title = self._name if own else "simulated"
            axes.set_title(
                title if len(title) < 18 else title[:16] + "…",
                color="#F0C000" if own else self.ink,
                fontsize=8,
                pad=2,
            )
            if self._marks and not own:
                self._mark(axes, example)
        if self._marks and len(shown) < len(grid):
            self._explain(grid[-1])
        self.draw_idle()

    def _mark(self, axes, example: Example) -> None:
        for role in MARKED:
            style = CLASS_STYLE[role]
            y, x = example.centre_px[example.role == ROLES.index(role)].T
            size = 8 if self._columns == 2 else 24
            look = {"color": style.colour} if style.marker in "+x" else {"edgecolors": style.colour}
            if style.marker not in "+x":
                look["facecolors"] = "none"
            axes.scatter(x, y, s=size, marker=style.marker, linewidths=0.7, **look)

    def _explain(self, axes) -> None:
        names = [self._class_names[ROLES.index(role)] for role in MARKED]
        handles = [
            axes.plot(
                [],
                [],
                linestyle="none",
                marker=CLASS_STYLE[role].marker,
                color=CLASS_STYLE[role].colour,
                markerfacecolor="none",
            )[0]
            for role in MARKED
        ]
        legend = axes.legend(handles, names, loc="center", frameon=False, fontsize=9)
        for text in legend.get_texts():
            text.set_color(self.ink)


class TrainingCanvas(ThemedCanvas):
    """Loss, and precision and recall of each class, against the step (as the paper's Fig. S3)."""

    def __init__(self, theme: str, height: int = 360) -> None:
        self.record: Sequence[dict[str, float]] = ()
        self._class_names: Sequence[str] = ()
        super().__init__(theme, height)

    def show_record(self, record: Sequence[dict[str, float]], class_names: Sequence[str]) -> None:
        """Draw the log of a training: one entry an epoch."""
        self.record, self._class_names = list(record), class_names
        self.redraw()

    def redraw(self) -> None:
        """The loss above, precision (lines) and recall (dashes) of the classes below."""
        self.figure.clear()
        upper, lower = self.figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
        upper.set_yscale("log")
        upper.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        upper.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        upper.yaxis.set_minor_formatter(NullFormatter())
        for axes in (upper, lower):
            axes.set_facecolor(self.ground)
            axes.tick_params(which="both", colors=self.ink, labelsize=7)
            axes.grid(alpha=0.2)
            for spine in axes.spines.values():
                spine.set_color(self.ink)
        upper.set_ylabel("loss", color=self.ink, fontsize=8)
        lower.set_ylabel("precision —  recall - -", color=self.ink, fontsize=8)
        lower.set_xlabel("step", color=self.ink, fontsize=8)
        lower.set_ylim(-0.02, 1.02)
        lower.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        self.figure.align_ylabels()
        if self.record:
            self._draw_record(upper, lower)
        self.draw_idle()

    def _draw_record(self, upper, lower) -> None:
        steps = [row["step"] for row in self.record]
        # A single epoch would be a line without length.
        dot = "." if len(steps) < 3 else ""
        upper.plot(steps, [row["loss"] for row in self.record], marker=dot, color=self.ink)
        last = self.record[-1]
        for role, name in zip(ROLES, self._class_names, strict=True):
            if f"precision_{role}" not in last:
                continue
            now = last[f"precision_{role}"], last[f"recall_{role}"]
            for what, line in (("precision", "-"), ("recall", "--")):
                lower.plot(
                    steps,
                    [row[f"{what}_{role}"] for row in self.record],
                    line,
                    marker=dot,
                    color=CLASS_STYLE[role].colour,
                    linewidth=1.2,
                    label="{} {:.3f} / {:.3f}".format(name, *now) if what == "precision" else None,
                )
        legend = self.figure.legend(
            fontsize=8,
            loc="outside lower center",
            ncols=2,
            frameon=False,
            title=f"precision / recall at step {last['step']:g}",
            title_fontsize=8,
        )
        for text in (legend.get_title(), *legend.get_texts()):
            text.set_color(self.ink)
