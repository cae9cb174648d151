"""What the user last chose, remembered between starts: one small JSON file, a section a widget."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from platformdirs import user_config_dir
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QLineEdit, QSpinBox, QWidget

SETTINGS_VARIABLE = "DEFECTSTRAIN_SETTINGS"
"""Environment variable that names another settings file than the user's own."""


def settings_path() -> Path:
    """The settings file: that of the environment variable, else in the user's folder."""
    given = os.environ.get(SETTINGS_VARIABLE)
    return Path(given) if given else Path(user_config_dir("napari-defectstrain")) / "widgets.json"


class Settings:
    """Values of one section of the settings file; every change is written at once.

    A missing, unreadable or damaged file means defaults: settings are a convenience, and must
    never keep a widget from opening.

    Parameters
    ----------
    section : str
        Name of the widget.
    path : Path, optional
        The file; default `settings_path()`.
    """

    def __init__(self, section: str, path: Path | None = None) -> None:
        self.section = section
        self.path = path or settings_path()
        self._controls: dict[str, QWidget] = {}

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def get(self, key: str, default: Any = None) -> Any:
        """The stored value, or the default."""
        section = self._read().get(self.section)
        return section.get(key, default) if isinstance(section, dict) else default

    def set(self, key: str, value: Any) -> None:
        """Store a JSON value."""
        content = self._read()
        section = content.get(self.section)
        content[self.section] = {**(section if isinstance(section, dict) else {}), key: value}
        self._write(content)

    def _write(self, content: dict[str, Any]) -> None:
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
            temporary.replace(self.path)
        except OSError:
            # A read-only home must not stop the measurement; the choice is lost at the end.
            temporary.unlink(missing_ok=True)

    def forget(self, keys: Sequence[str]) -> None:
        """Take stored values away: their defaults hold again."""
        content = self._read()
        section = content.get(self.section)
        if isinstance(section, dict):
            content[self.section] = {k: v for k, v in section.items() if k not in keys}
            self._write(content)

    def values(self) -> dict[str, Any]:
        """All stored values of the section."""
        section = self._read().get(self.section)
        return dict(section) if isinstance(section, dict) else {}

    def apply(self) -> None:
        """Show the stored values in the controls that are remembered here."""
        for key, control in self._controls.items():
            stored = self.get(key)
            if stored is not None and stored != value_of(control):
                _access(control)[0](stored)

    def remember(self, key: str, control: QWidget) -> None:
        """Put the stored value into a control, and store what the user chooses from now on."""
        setter, changed = _access(control)
        self._controls[key] = control
        stored = self.get(key)
        if stored is not None:
            setter(stored)
        changed.connect(lambda *_: self.set(key, value_of(control)))


def value_of(control: QWidget) -> Any:
    """The JSON value that a control shows."""
    if isinstance(control, QCheckBox):
        return control.isChecked()
    if isinstance(control, QComboBox):
        return control.currentText()
    if isinstance(control, (QSpinBox, QDoubleSpinBox)):
        return control.value()
    if isinstance(control, QLineEdit):
        return control.text()
    raise TypeError(f"no setting can be read from a {type(control).__name__}")


def _access(control: QWidget) -> tuple[Callable[[Any], None], Any]:
    """How to set a control from a JSON value of perhaps the wrong type, and its signal."""
    if isinstance(control, QCheckBox):
        return lambda v: control.setChecked(v is True), control.toggled
    if isinstance(control, QComboBox):
        # setCurrentText ignores a text that the box doesn't offer.
        return lambda v: control.setCurrentText(str(v)), control.currentTextChanged
    if isinstance(control, QSpinBox):
        return lambda v: _set_number(control, v, int), control.valueChanged
    if isinstance(control, QDoubleSpinBox):
        return lambda v: _set_number(control, v, float), control.valueChanged
    if isinstance(control, QLineEdit):
        return lambda v: control.setText(str(v)), control.textChanged
    raise TypeError(f"no setting can be kept for a {type(control).__name__}")


def _set_number(control: QSpinBox | QDoubleSpinBox, value: Any, kind: type) -> None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        control.setValue(kind(value))
