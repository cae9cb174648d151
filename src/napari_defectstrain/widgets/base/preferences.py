"""What holds for all widgets: colours of the classes, threads, width of figures, language.

Thresholds, device and formats of figures are controls of the widgets; their defaults are what those
remember. All of it lies in the settings file, under ``preferences`` and the widgets' own sections.
"""

from typing import Any

from ...progress import use_threads
from ...styles import CLASS_STYLE, FIGURE_WIDTHS_INCH, PALETTES, use_palette
from .settings import Settings

SECTION = "preferences"
OWN_WIDTHS = "each its own"
FIRST_PALETTE = next(iter(PALETTES))


def width_names() -> dict[str, float | None]:
    """Widths of figures by what people read [inch]."""
    one, two = FIGURE_WIDTHS_INCH
    return {OWN_WIDTHS: None, f"one column, {one:g} in": one, f"two columns, {two:g} in": two}


def preferred_width_inch() -> float | None:
    """The width that all figures shall have [inch]; None where each has its own."""
    return width_names().get(str(Settings(SECTION).get("figure_width", OWN_WIDTHS)))


def apply_preferences() -> None:
    """Let colours and threads be as they are kept; what makes no sense counts as default."""
    kept = Settings(SECTION).values()
    threads = kept.get("threads")
    use_threads(threads if isinstance(threads, int) and threads > 0 else None)
    try:
        use_palette(str(kept.get("palette", FIRST_PALETTE)), own_colours(kept))
    except ValueError:
        use_palette(FIRST_PALETTE)


def own_colours(kept: dict[str, Any]) -> dict[str, str]:
    """Colours of roles that the user chose beside the set."""
    found = kept.get("colours")
    own = found.items() if isinstance(found, dict) else ()
    return {role: str(colour) for role, colour in own if role in CLASS_STYLE}
