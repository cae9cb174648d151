"""Measured, Eshelby, reference and difference side by side: linked maps with one colour bar.

Layers are made once for a run of averages; another class, component or smoothing changes them in
place. Those that hold shapes keep the lattice frame's origin at their own, in pm, y down.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer, Points, Shapes

from ...pipeline.comparison import ATOMISTIC, DIFFERENCE, ELASTIC, MEASURED
from ...strain.field import significant
from ...strain.triangles import TriangleStrain
from ...types import DisplacementField, StrainField
from ...units import shown_strain_unit
from ..base.pacing import Steps
from ..layers.averages import AXES, GAP, HEADER, UNITS, labels_in_steps, layers_of_run, write_labels
from ..layers.column_shapes import ellipse_corners, triangle_corners
from ..layers.fields import (
    colour_limit,
    diverging,
    height_pm,
    map_translate,
    shown_limit,
    shown_values,
)
from ..layers.showing import added_in_steps, then_shown
from ..layers.sites import KEY, free_name, note
from .comparing import Answer, Line
from .comparison_text import bar_labels, panel_titles
from .profile_line import add_line, line_in_frame

PANELS = (MEASURED, ELASTIC, ATOMISTIC, DIFFERENCE)
WITH_ERRORS = (MEASURED, DIFFERENCE)
"""Maps whose insignificant places can be faded: theories have no errors."""
LINKED = ("contrast_limits", "colormap", "gamma", "visible")
VEIL = (0, 0, 0, 110)
"""Laid over what is not significant: the ground takes two fifths."""
BAR_STEPS = 65
BAR_WIDTH = 0.07
"""Of the colour bar, as a fraction of the averages' side."""
ROUND_LIMITS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
TITLE = 2.9
"""Room for the titles above the maps, in lines of text."""
TITLE_SIZE = 0.88
"""Of their letters, as a fraction of those of the averages; 27 are as wide as a map."""
ELLIPSE_COLOUR = "cyan"


class ComparisonLayers:
    """The layers that set one class of a run beside theory.

    Parameters
    ----------
    viewer : ViewerModel
    run : str
    averages : sequence of Image
        Of the run: the maps lie below them.
    """

    def __init__(self, viewer: ViewerModel, run: str, averages: Sequence[Image]) -> None:
        self.viewer, self.run = viewer, run
        first = averages[0]
        self.side_pm = first.data.shape[-1] * float(first.scale[-1])
        self._first_centre = tuple(note(first)["centre_pm"])
        self._centres = {note(la)["class"]: tuple(note(la)["centre_pm"]) for la in averages}
        self._shown: tuple[str, str, float] | None = None

    def layers(self, *kinds: str) -> list[Layer]:
        """Those of some kinds that are there."""
        return layers_of_run(self.viewer, self.run, kinds)

    @property
    def maps(self) -> dict[str, Image]:
        """The maps that are there, by what they show."""
        return {note(la)["panel"]: la for la in self.layers("comparison map")}

    @property
    def bottom_pm(self) -> float:
        """Lower end of the maps, y [pm]; that of the row where there are none."""
        ends = [la.extent.world[1, 0] for la in self.maps.values()]
        return float(max(ends, default=self._top()))

    def _top(self) -> float:
        return self._first_centre[0] + (0.5 + 0.5 * GAP + HEADER) * self.side_pm

    def centre(self, panel: int, height: float) -> tuple[float, float]:
        """World position of the frame's origin in a map, the first of which is number 1 [pm]."""
        y = self._top() + TITLE * HEADER * self.side_pm + 0.5 * height
        return y, self._first_centre[1] + panel * (1 + GAP) * self.side_pm

    def show(
        self,
        answer: Answer,
        limit_percent: float,
        fade: bool,
        ellipses: float,
        about: Mapping[str, Any],
    ) -> Steps[None]:
        """Show what was found, a layer a step.

        Parameters
        ----------
        answer : Answer
        limit_percent : float
            Colour limit; 0: what the maps need.
        fade : bool
            Whether insignificant places are faded.
        ellipses : float
            Enlargement of the error ellipses; 0: none.
        about : mapping
            Provenance.
        """
        active = self.viewer.layers.selection.active
        component = answer.asked.component
        first = answer.comparison.strain[MEASURED]
        height = height_pm(first)
        for i, panel in enumerate(PANELS):
            field = answer.panels.get(panel)
            centre = self.centre(i + 1, height)
            yield from self._show_map(panel, field, first, component, centre, about)
        yield from self._show_bar(height, about)
        self._limit(answer, limit_percent)
        for panel in WITH_ERRORS:
            i = PANELS.index(panel) + 1
            field = answer.panels.get(panel)
            centre = self.centre(i, height)
            yield from self._show_veil(panel, field, first, component, centre, fade, about)
        yield from self._show_line(answer, self.centre(1, height), about)
        own = answer.comparison.displacement[MEASURED]
        self._show_ellipses(own, ellipses, about)
        yield
        self._show_triangles(answer.triangles, component, self.centre(5, height), about)
        yield
        yield from self._show_titles(answer, height, about)
        if active is not None and active in self.viewer.layers:
            self.viewer.layers.selection.active = active
        else:
            self.viewer.layers.selection.active = self.maps[MEASURED]
        yield

    def _find(self, what: str, panel: str = "") -> Any:
        found = (la for la in self.layers(what) if note(la).get("panel", "") == panel)
        return next(found, None)

    def _about(self, what: str, answer_about: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        return {KEY: {**answer_about[KEY], "kind": what, **more}}

    def _show_map(
        self,
        panel: str,
        field: StrainField | None,
        like: StrainField,
        component: str,
        centre: tuple[float, float],
        about: Mapping[str, Any],
    ) -> Steps[None]:
        values = np.full(like.components[component].shape, np.nan)
        if field is not None:
            values = shown_values(field.components[component], component)
        step = float(abs(like.x_pm[1] - like.x_pm[0]))
        place = {"scale": (step, step), "translate": map_translate(like, centre)}
        more = {"panel": panel, "component": component, "centre_pm": list(centre)}
        metadata = self._about("comparison map", about, **more)
        name = f"{like.class_name} · {component} · {panel} ({shown_strain_unit(component)[1]})"
        layer = self._find("comparison map", panel)
        if layer is None:
            layer = Image(
                values,
                name=free_name(self.viewer, name),
                units=UNITS,
                axis_labels=AXES,
                colormap=diverging(),
                contrast_limits=(-1.0, 1.0),
                interpolation2d="linear",
                visible=False,
                metadata=metadata,
                **place,
            )
            yield from added_in_steps(self.viewer, layer)
            if len(self.maps) > 1:
                self.viewer.layers.link_layers(self.layers("comparison map"), LINKED)
            layer.events.contrast_limits.connect(self._follow_limits)
            return
        limits = tuple(layer.contrast_limits)
        layer.data = values
        layer.scale, layer.translate = place["scale"], place["translate"]
        layer.contrast_limits = limits
        self._name(layer, name)
        layer.metadata.update(metadata)
        yield

    def _show_bar(self, height: float, about: Mapping[str, Any]) -> Steps[None]:
        """One colour bar for all maps, in the picture, where it has a unit."""
        step = height / BAR_STEPS
        y, x = self._bar_centre(height)
        place = {
            "scale": (step, BAR_WIDTH * self.side_pm),
            "translate": (y - 0.5 * (height - step), x),
        }
        layer = self._find("colour bar")
        if layer is not None:
            layer.scale, layer.translate = place["scale"], place["translate"]
            yield
            return
        layer = self.viewer.add_image(
            np.linspace(1.0, -1.0, BAR_STEPS)[:, None],
            name=free_name(self.viewer, "comparison · colour bar"),
            units=UNITS,
            axis_labels=AXES,
            colormap=diverging(),
            contrast_limits=(-1.0, 1.0),
            visible=False,
            metadata=self._about("colour bar", about),
            **place,
        )
        yield from then_shown(layer)
        alike = [*self.layers("comparison map"), self._find("colour bar")]
        self.viewer.layers.link_layers(alike, ("colormap", "gamma", "visible"))

    def _bar_centre(self, height: float) -> tuple[float, float]:
        y, x = self.centre(0, height)
        return y, x - 0.12 * self.side_pm

    def _name(self, layer: Layer, name: str) -> None:
        if not layer.name.startswith(name):
            layer.name = free_name(self.viewer, name)

    def _limit(self, answer: Answer, limit_percent: float) -> None:
        """Limits stay while smoothing changes, so that its effect is seen."""
        component = answer.asked.component
        what = (answer.asked.class_name, component, limit_percent)
        if what == self._shown:
            return
        self._shown = what
        limit = shown_limit(limit_percent, component)
        if not limit:
            shown = (
                shown_values(f.components[component], component) for f in answer.panels.values()
            )
            limit = _rounded(max(map(colour_limit, shown)))
        self.maps[MEASURED].contrast_limits = (-limit, limit)

    def _show_veil(
        self,
        panel: str,
        field: StrainField | None,
        like: StrainField,
        component: str,
        centre: tuple[float, float],
        fade: bool,
        about: Mapping[str, Any],
    ) -> Steps[None]:
        veil = np.zeros((*like.components[component].shape, 4), dtype=np.uint8)
        if field is not None:
            known = np.isfinite(field.sigma[component])
            veil[known & ~significant(field)[component]] = VEIL
        step = float(abs(like.x_pm[1] - like.x_pm[0]))
        place = {"scale": (step, step), "translate": map_translate(like, centre)}
        name = f"{like.class_name} · {component} · {panel} · below 2 σ"
        metadata = self._about("significance", about, panel=panel, component=component)
        layer = self._find("significance", panel)
        if layer is None:
            if fade:
                layer = self.viewer.add_image(
                    veil,
                    rgb=True,
                    name=free_name(self.viewer, name),
                    units=UNITS,
                    axis_labels=AXES,
                    visible=False,
                    metadata=metadata,
                    **place,
                )
                yield from then_shown(layer)
            return
        layer.data = veil
        layer.scale, layer.translate = place["scale"], place["translate"]
        layer.visible = fade
        self._name(layer, name)
        layer.metadata.update(metadata)
        yield

    def _show_line(
        self, answer: Answer, centre: tuple[float, float], about: Mapping[str, Any]
    ) -> Steps[None]:
        """The line that the profile follows; the user's own keeps its shape."""
        layer = self._find("profile line")
        metadata = self._about("profile line", about)
        if layer is None:
            reach = float(np.abs(answer.comparison.displacement[MEASURED].site_pm[:, 1]).max())
            layer = add_line(self.viewer, reach, centre, self.side_pm, metadata)
            yield from then_shown(layer)
        else:
            layer.translate = centre
            layer.metadata.update(metadata)
            yield

    def line(self) -> tuple[Line | None, str]:
        """The user's line in the lattice frame, or what is wrong with it."""
        layer = self._find("profile line")
        return (None, "") if layer is None else line_in_frame(layer, list(self.maps.values()))

    def _show_ellipses(
        self, field: DisplacementField, enlargement: float, about: Mapping[str, Any]
    ) -> None:
        layer = self._find("error ellipses")
        if not enlargement:
            if layer is not None:
                layer.visible = False
            return
        shapes = ellipse_corners(field, enlargement)
        name = f"{field.class_name} · error ellipses (1 σ)"
        layer = self._shapes("error ellipses", layer, shapes, "ellipse", name, about)
        layer.face_color = "transparent"
        layer.edge_color = ELLIPSE_COLOUR
        layer.translate = self._centres[field.class_name]

    def _show_triangles(
        self,
        triangles: TriangleStrain | None,
        component: str,
        centre: tuple[float, float],
        about: Mapping[str, Any],
    ) -> None:
        layer = self._find("triangles")
        if triangles is None:
            if layer is not None:
                layer.visible = False
            return
        shapes = triangle_corners(triangles)
        unit = shown_strain_unit(component)[1]
        name = f"{triangles.class_name} · {component} · {triangles.sublattice} triangles ({unit})"
        layer = self._shapes("triangles", layer, shapes, "polygon", name, about)
        layer.translate = centre
        layer.features = {
            "value": shown_values(triangles.components[component], component),
            "sigma": shown_values(triangles.sigma[component], component),
            "unit": np.full(len(shapes), unit),
        }
        layer.edge_color = "#808080"
        self._colour_triangles(layer)

    def _colour_triangles(self, layer: Shapes) -> None:
        measured = self.maps.get(MEASURED)
        if measured is None or not len(layer.data):
            return
        low, high = measured.contrast_limits
        share = (layer.features["value"].to_numpy() - low) / (high - low)
        layer.face_color = measured.colormap.map(np.clip(share, 0.0, 1.0))

    def _shapes(
        self,
        what: str,
        layer: Shapes | None,
        shapes: list[np.ndarray],
        shape_type: str,
        name: str,
        about: Mapping[str, Any],
    ) -> Shapes:
        metadata = self._about(what, about)
        if layer is None:
            return self.viewer.add_shapes(
                shapes,
                shape_type=shape_type,
                name=free_name(self.viewer, name),
                edge_width=0.004 * self.side_pm,
                opacity=1.0,
                units=UNITS,
                axis_labels=AXES,
                metadata=metadata,
            )
        layer.data = []
        layer.add(shapes, shape_type=shape_type, edge_width=0.004 * self.side_pm)
        layer.selected_data = set()
        layer.visible = True
        self._name(layer, name)
        layer.metadata.update(metadata)
        return layer

    def _show_titles(self, answer: Answer, height: float, about: Mapping[str, Any]) -> Steps[None]:
        texts = panel_titles(answer, self._limits())
        above = 0.5 * height + 0.5 * TITLE * HEADER * self.side_pm
        places = []
        for i in range(len(PANELS) + 2):
            y, x = self.centre(i, height)
            places.append((y - above, x))
        y, x = self._bar_centre(height)
        beside = x + 0.16 * self.side_pm
        places += [(y + share * height, beside) for share in (-0.47, 0.0, 0.47)]
        labels: Points | None = self._find("comparison labels")
        if labels is None:
            metadata = self._about("comparison labels", about, texts=texts)
            name, small = "comparison · labels", TITLE_SIZE * self.side_pm
            yield from labels_in_steps(self.viewer, name, texts, places, metadata, small)
            return
        labels.metadata.update(self._about("comparison labels", about, texts=texts))
        labels.data = np.array(places)
        write_labels(labels, texts)
        yield

    def _limits(self) -> float:
        return float(self.maps[MEASURED].contrast_limits[1])

    def _follow_limits(self, _event: object = None) -> None:
        """Triangles and words keep to the colours of the maps."""
        triangles, labels = self._find("triangles"), self._find("comparison labels")
        if triangles is not None and triangles.visible:
            self._colour_triangles(triangles)
        if labels is not None and MEASURED in self.maps:
            unit = shown_strain_unit(note(self.maps[MEASURED])["component"])[1]
            texts = [*note(labels)["texts"][:-3], *bar_labels(self._limits(), unit)]
            write_labels(labels, texts)


def _rounded(limit: float) -> float:
    """The next round number: its colour bar has readable ends."""
    power = 10.0 ** np.floor(np.log10(limit))
    return float(power * next(r for r in ROUND_LIMITS if r >= limit / power - 1e-9))
