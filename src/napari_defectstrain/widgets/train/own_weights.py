"""Weights of the user's own, handed to the detect widget wherever it is."""

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtWidgets import QApplication

from ..base.settings import Settings
from ..detect.widget import FROM_FILE, DetectWidget


def use_in_detect(weights: Path, materials: Sequence[str]) -> int:
    """Choose a weights file in every open detect widget, and in those opened later.

    Parameters
    ----------
    weights : Path
    materials : sequence of str
        What they were trained on: the first is chosen where another than these is.

    Returns
    -------
    int
        Number of detect widgets that are docked.
    """
    settings = Settings("detect")
    chosen: dict[str, str] = {"model": FROM_FILE, "weights": str(weights)}
    if settings.get("material") not in materials:
        chosen["material"] = materials[0]
    for key, value in chosen.items():
        settings.set(key, value)
    found = [w for w in QApplication.allWidgets() if isinstance(w, DetectWidget)]
    for widget in found:
        widget.weights.setText(str(weights))
        widget.model.setCurrentText(FROM_FILE)
        if widget.material.currentText() not in materials:
            if widget.material.findText(materials[0]) < 0:  # a material of the user's own
                widget.material.addItem(materials[0])
            widget.material.setCurrentText(materials[0])
    # One that was closed may still be waiting for its end, out of its dock.
    return sum(widget.parent() is not None for widget in found)
