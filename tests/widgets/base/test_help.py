"""The *?* of the widgets: every page that is named is there, with its heading."""

import ast
from pathlib import Path

import pytest
from qtpy.QtWidgets import QToolButton

from napari_defectstrain.widgets.base import forms, help

ROOT = Path(__file__).parents[3]
WIDGETS = Path(forms.__file__).parents[1]


def pages():
    """Pages that the sources name: of panels, and of `help_button`."""
    found = set()
    for path in WIDGETS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "page":
                found.add(getattr(node.value, "value", None))
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "help_button":
                found.add(getattr(node.args[0], "value", None))
    return sorted(page for page in found if isinstance(page, str))


def headings(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return {help.heading_link(line.lstrip("#")) for line in lines if line.startswith("#")}


@pytest.mark.skipif(not (ROOT / "mkdocs.yml").is_file(), reason="needs the source tree")
@pytest.mark.parametrize("page", pages())
def test_every_page_and_heading_is_there(page):
    name, _, heading = page.partition("#")
    assert (ROOT / "docs" / name).is_file()
    assert not heading or heading in headings(ROOT / "docs" / name)


def test_panels_name_different_pages():
    assert len([page for page in pages() if page.startswith("widgets.md#")]) >= 5


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A source tree with a page, and no built site."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "mkdocs.yml").write_text("")
    text = "# One\n\n![a](b.png) words\n\n" + "more\n\n" * 80 + "## Two & three\n\nend\n"
    (tmp_path / "docs" / "page.md").write_text(text)
    (tmp_path / "docs" / "other.md").write_text("# Other\n")
    monkeypatch.setattr(help, "_SOURCE", tmp_path)
    monkeypatch.setattr(help, "_PACKAGE", tmp_path / "nowhere")
    return tmp_path


@pytest.fixture
def opened(monkeypatch):
    shown = []
    monkeypatch.setattr(help.QDesktopServices, "openUrl", lambda url: shown.append(url.toString()))
    return shown


def test_the_built_site_comes_first(source, opened):
    (source / "site").mkdir()
    (source / "site" / "page.html").write_text("")
    help.open_page("page.md#two-three")
    assert opened == [f"file://{source}/site/page.html#two-three"]


def test_the_text_is_shown_from_its_heading_on(source, opened, qtbot):
    window = help.PageWindow("page.md#two-three")
    qtbot.addWidget(window)
    window.show()
    assert window.text.textCursor().block().text() == "Two & three"
    assert "b.png" not in window.text.toMarkdown()
    window.follow("other.md")
    assert window.windowTitle() == "other.md"
    window.follow("https://example.org")
    assert opened == ["https://example.org"]


def test_the_address_of_the_metadata_comes_last(source, opened, monkeypatch):
    (source / "docs" / "page.md").unlink()

    class Metadata:
        def get_all(self, _):
            return ["Source, https://x", "Documentation, https://example.org/docs/"]

    monkeypatch.setattr(help, "metadata", lambda _: Metadata())
    help.open_page("page.md#two")
    assert opened == ["https://example.org/docs/page.html#two"]


def test_without_any_of_them_it_says_so(source, opened, monkeypatch):
    (source / "docs" / "page.md").unlink()
    monkeypatch.setattr(help, "address_of", lambda _: None)
    told = []
    monkeypatch.setattr(help, "show_info", told.append)
    help.open_page("page.md")
    assert opened == []
    assert "page.md" in told[0]


def test_a_panel_has_its_button(make_napari_viewer, qtbot):
    panel = forms.Panel(make_napari_viewer(), "any", "Run", "Runs")
    qtbot.addWidget(panel)
    (button,) = panel.findChildren(QToolButton, "help")
    assert button.property("page") == "widgets.md"
