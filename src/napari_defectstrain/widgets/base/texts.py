"""What people read in the window, in their language: every text goes through `tr`.

Texts are written in English where they are used; ``python -m
napari_defectstrain.widgets.base.texts`` collects them from the sources into
``locale/napari_defectstrain.pot``. A translation is a copy of that file, ``locale/LANGUAGE.po``,
with its ``msgstr`` filled in. It is read as it is: nothing need be compiled. The language is that
of the environment variable, of the preferences, or of the system.
"""

import ast
import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from qtpy.QtCore import QLocale

from .settings import Settings

LANGUAGE_VARIABLE = "DEFECTSTRAIN_LANGUAGE"
"""Environment variable that names another language than the preferences."""
LOCALE = Path(__file__).parent / "locale"
CATALOGUE = LOCALE / "napari_defectstrain.pot"
_WIDGETS = Path(__file__).parents[1]
_HEAD = (
    "# Texts of napari-defectstrain's window: made by\n"
    "#   python -m napari_defectstrain.widgets.base.texts\n"
    'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n'
)
_ENTRY = re.compile(r'^msgid ((?:"(?:[^"\\]|\\.)*"\s*)+)msgstr ((?:"(?:[^"\\]|\\.)*"\s*)+)', re.M)
_PART = re.compile(r'"((?:[^"\\]|\\.)*)"')


def tr(text: str) -> str:
    """The text in the user's language; itself where it isn't translated.

    Parameters
    ----------
    text : str
        A literal, so that the catalogue can be made from the sources. Fill places with
        ``tr("{n} images").format(n=3)``, never before.
    """
    return translations(language()).get(text) or text


def language() -> str:
    """Code of the language, such as ``de`` or ``pt_BR``."""
    return os.environ.get(LANGUAGE_VARIABLE) or _chosen()


@cache
def _chosen() -> str:
    """By the preferences as they were when the first text was shown: no mixture of languages."""
    return str(Settings("preferences").get("language", "")) or QLocale.system().name()


def translations(code: str, folder: Path | None = None) -> dict[str, str]:
    """Texts in a language by their English; empty where there is no such file.

    A language without its country stands in where there is none for the country.
    """
    return _translations(code, LOCALE if folder is None else folder)


@cache
def _translations(code: str, folder: Path) -> dict[str, str]:
    for name in (code, code.partition("_")[0]):
        path = folder / f"{name}.po"
        if name and path.is_file():
            return read_po(path.read_text(encoding="utf-8"))
    return {}


def read_po(text: str) -> dict[str, str]:
    r"""Entries of a catalogue of gettext that are translated; contexts and plurals aren't used.

    >>> read_po('msgid "Open"\nmsgstr "Öffnen"\n')
    {'Open': 'Öffnen'}
    """
    found = {_joined(english): _joined(other) for english, other in _ENTRY.findall(text)}
    return {english: other for english, other in found.items() if english and other}


def catalogue(sources: Iterable[Path] | None = None) -> str:
    """The texts of all widgets with the modules that they are in: a template of gettext.

    Raises
    ------
    TypeError
        If `tr` is given something else than a literal: nobody could translate it.
    """
    where: dict[str, set[str]] = {}
    for path in sorted(_WIDGETS.rglob("*.py") if sources is None else sources):
        name = path.relative_to(_WIDGETS).as_posix() if sources is None else path.name
        for text in texts_in(path.read_text(encoding="utf-8"), name):
            where.setdefault(text, set()).add(name)
    entries = [
        f'#: {" ".join(sorted(names))}\nmsgid "{_escaped(text)}"\nmsgstr ""\n'
        for text, names in sorted(where.items())
    ]
    return "\n".join([_HEAD, *entries])


def texts_in(source: str, name: str = "") -> list[str]:
    """Arguments of `tr` in a module, in their order.

    >>> texts_in('show(tr("Open a file"))')
    ['Open a file']
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tr":
            argument = node.args[0] if node.args else None
            if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                raise TypeError(
                    f"{name}, line {node.lineno}: got {ast.unparse(node)}, expected a literal; "
                    "fill its places after tr"
                )
            found.append(argument.value)
    return found


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _joined(parts: str) -> str:
    text = "".join(_PART.findall(parts))
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t"}.get(m[1], m[1]), text)


if __name__ == "__main__":
    LOCALE.mkdir(exist_ok=True)
    CATALOGUE.write_text(catalogue(), encoding="utf-8")
    print(f"{CATALOGUE}: {catalogue().count('msgid') - 1} texts")
