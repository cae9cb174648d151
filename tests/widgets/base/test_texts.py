"""Texts: collected from the sources, translated, and shown."""

import pytest

from napari_defectstrain.widgets.base import texts
from napari_defectstrain.widgets.workbench import State, advice


def test_the_catalogue_is_up_to_date():
    written = texts.CATALOGUE.read_text(encoding="utf-8")
    assert written == texts.catalogue(), "run python -m napari_defectstrain.widgets.base.texts"


def test_only_literals_can_be_translated():
    with pytest.raises(TypeError, match="line 2: got tr\\(name\\), expected a literal"):
        texts.texts_in("name = 1\ntr(name)", "some.py")


@pytest.fixture
def backwards(tmp_path, monkeypatch):
    """A language in which every text stands between angles."""
    lines = texts.catalogue().splitlines()
    out = []
    for line in lines:
        if line == 'msgstr ""' and out[-1].startswith("msgid") and out[-1] != 'msgid ""':
            line = f'msgstr "‹{out[-1][7:-1]}›"'
        out.append(line)
    (tmp_path / "xx.po").write_text("\n".join(out), encoding="utf-8")
    monkeypatch.setattr(texts, "LOCALE", tmp_path)
    monkeypatch.setenv(texts.LANGUAGE_VARIABLE, "xx_YY")
    texts._translations.cache_clear()
    yield
    texts._translations.cache_clear()


def test_every_text_of_the_steps_can_be_translated(backwards):
    for state in (State(), State(images=1), State(images=2, searched=frozenset("a"))):
        for step in range(4):
            said = advice(state, step)
            for text in (said.text, *(label for label, _ in said.buttons)):
                assert text.startswith("‹") and text.endswith("›")


def test_what_is_not_translated_stays_english(monkeypatch):
    monkeypatch.setenv(texts.LANGUAGE_VARIABLE, "xx")
    assert texts.tr("Help") == "Help"


def test_quotes_and_lines_survive():
    text = 'a "quoted" \\ text\nin lines'
    entry = f'msgid "{texts._escaped(text)}"\nmsgstr "{texts._escaped(text[::-1])}"\n'
    assert texts.read_po(entry) == {text: text[::-1]}
