"""The site of the documents: all pages in its contents, no dead link, commands that exist."""

import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from documents_stage import FENCED, ROOT, blocks, commands, text_of

from napari_defectstrain.cli.main import COMMANDS, build_parser

DOCUMENTS = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "sample_data").glob("*.md")),
]
SPAN = re.compile(r"`([^`]+)`")
BUILDERS = ("mkdocs", "material", "mkdocstrings_handlers")

pytestmark = pytest.mark.skipif(not (ROOT / "mkdocs.yml").is_file(), reason="needs the source tree")


def the_site() -> ModuleType:
    """docs/making/site_pages.py, which is no part of the package."""
    path = ROOT / "docs" / "making" / "site_pages.py"
    spec = importlib.util.spec_from_file_location("site_pages", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_contents(nav: object) -> Iterator[str]:
    """The pages that a part of the site's contents names."""
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from in_contents(part)


def without_code(text: str) -> str:
    """A document's text less its blocks and spans of code."""
    return SPAN.sub("", FENCED.sub("", text))


def on_the_web(heading: str) -> str:
    """The anchor of a heading where hosts of repositories show the file."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def in_the_site(heading: str) -> str:
    """Its anchor in the site (the rule of Python-Markdown)."""
    plain = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def headings(path: Path) -> list[str]:
    found = re.findall(r"^#+ (.*?) *$", FENCED.sub("", text_of(path)), re.MULTILINE)
    return [re.sub(r"`|\*|\[|\]\([^)]*\)", "", heading) for heading in found]


def dead_links(path: Path) -> list[str]:
    """Links of a document to files or headings that aren't there, on the web or in the site."""
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text_of(path))):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not (file.is_file() and file.is_relative_to(ROOT)):
            dead.append(target)
        elif anchor:
            told = headings(file)
            if not all(anchor in map(rule, told) for rule in (on_the_web, in_the_site)):
                dead.append(target)
    return dead


def parsed(command: str) -> None:
    """Parse a command as the program would, without doing it.

    Raises
    ------
    SystemExit
        It can't be understood.
    """
    words = shlex.split(re.sub(r"[\[\]]", "", command))[1:]
    build_parser(words).parse_args(words)


def unknown_words(command: str) -> list[str]:
    """Subcommands and options of a mention in the text that aren't any."""
    words = re.sub(r"[\[\]…]", " ", command).split()[1:]
    if words[0] == "--version":
        return []
    if words[0] not in COMMANDS:
        return words[:1]
    (subparsers,) = (a for a in build_parser(words)._actions if isinstance(a.choices, dict))
    known = {text for a in subparsers.choices[words[0]]._actions for text in a.option_strings}
    return [word for word in words if word.startswith("-") and word.split("=")[0] not in known]


def test_the_contents_name_every_page_once():
    site = the_site()
    contents = list(in_contents(yaml.safe_load(text_of(ROOT / "mkdocs.yml"))["nav"]))
    files = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert sorted(contents) == sorted({*files, *site.made_pages()})
    assert {f"api/{room}.md" for room in site.rooms()} < set(contents)


def test_pages_of_rooms_tell_all_public_names():
    site = the_site()
    page = site.room_page("io")
    assert "::: napari_defectstrain.io.files.read_images" in page
    assert "* `napari_defectstrain.io.files.SUFFIXES`" in page
    assert page.startswith("# io\n")
    first = site.first_page()
    for name in ("run", "RunConfig", "CalibratedImage"):
        assert f"`nds.{name}`" in first


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    assert dead_links(path) == []


def test_a_dead_link_would_be_found(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "# Top\n## Two · words\n[a](#top) [b](gone.md) [c](#no) ![d](no.png) [e](../page.md)\n"
        "[f](#two-words) `[g](code.md)`\n```\n[h](code.md)\n# no heading\n```\n[i](#no-heading)\n"
    )
    # f: one rule makes one hyphen of the dot between blanks, the other two
    expected = ["gone.md", "#no", "no.png", "../page.md", "#two-words", "#no-heading"]
    assert dead_links(page) == expected


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_blocks_can_be_understood(path, capsys):
    for command in commands(path):
        try:
            parsed(command)
        except SystemExit as end:  # 0: --version
            assert not end.code, f"{command}\n{capsys.readouterr().err}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_the_text_are_known(path):
    if path.name == "CHANGELOG.md":
        return  # tells of what was, too
    spans = [" ".join(span.split()) for span in SPAN.findall(FENCED.sub("", text_of(path)))]
    found = [span for span in spans if span.startswith("defectstrain ")]
    assert [(span, unknown_words(span)) for span in found if unknown_words(span)] == []


def test_wrong_commands_would_be_found(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(
        "```\ndefectstrain run a.tif --out r     what it does\ndefectstrain run a.tif --ouch r\n"
        "defectstrain plan test \\\n  --class SV  # why\n```\n"
    )
    found = commands(page)
    assert found == [
        "defectstrain run a.tif --out r",
        "defectstrain run a.tif --ouch r",
        "defectstrain plan test --class SV",
    ]
    parsed(found[0])
    with pytest.raises(SystemExit, match="2"):
        parsed(found[1])
    assert "--ouch" in capsys.readouterr().err
    assert unknown_words("defectstrain rum") == ["rum"]
    assert unknown_words("defectstrain run [--outt DIR]") == ["--outt"]
    assert unknown_words("defectstrain run [--out DIR]") == []


def test_the_documents_have_commands():
    assert sum(len(commands(path)) for path in DOCUMENTS) >= 30


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_python_in_blocks_is_python(path):
    for language, text in blocks(path):
        if language == "python":
            ast.parse(text)
        else:  # what is Python says so, and is checked
            assert not re.search(r"^(import|from) \w", text, re.MULTILINE), text


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_targets_and_scripts_that_are_named_are_there(path):
    targets = re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE)
    # spans and the lines of blocks
    text = text_of(path)
    said = [*SPAN.findall(FENCED.sub("", text)), *"\n".join(b for _, b in blocks(path)).split("\n")]
    for words in (line.split() for line in said if path.name != "CHANGELOG.md"):
        if words[:1] == ["make"] and len(words) > 1 and re.fullmatch("[a-z-]+", words[1]):
            assert words[1] in targets
        scripts = [w for w in words if re.fullmatch(r"(benchmarks|docs|examples)/\w+\.py", w)]
        assert [script for script in scripts if not (ROOT / script).is_file()] == []


def words_of_the_window() -> str:
    """Every text in the sources of the widgets and in the manifest."""
    texts = [text_of(ROOT / "src" / "napari_defectstrain" / "napari.yaml")]
    for path in sorted((ROOT / "src" / "napari_defectstrain" / "widgets").rglob("*.py")):
        for node in ast.walk(ast.parse(text_of(path))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def not_in_the_window(text: str, window: str) -> list[str]:
    """Controls that a page names (*Like this*, with a capital) and no widget has."""
    found = re.findall(r"(?<![*\w])\*([A-Z][^*]*)\*(?!\*)", without_code(text))
    parts = [part for name in found for part in " ".join(name.split()).split(" > ")]
    napari = {"File", "Open", "Open Sample", "Plugins", "Save Selected Layers", "Limits."}
    return [part for part in parts if part not in napari and part not in window]


def test_pages_name_controls_that_are_there():
    window = words_of_the_window()
    for name in ("tutorial", "my-files", "calibrate", "correct", "my-dft"):
        assert not_in_the_window(text_of(ROOT / "docs" / f"{name}.md"), window) == []
    text = "*File > Open*, *Detect\ncolumns*, **Bold**, `*Code*`, *small*, *No such button*"
    assert not_in_the_window(text, window) == ["No such button"]


def test_all_examples_are_on_their_page():
    site = the_site()
    assert set(site.EXAMPLES) == {path.name for path in (ROOT / "examples").glob("*.py")}
    page = site.examples_page()
    assert "```\npython examples/quickstart.py IMAGE...\n```" in page
    for picture in site.EXAMPLES.values():
        assert f"](images/{picture})" in page
        assert (ROOT / "docs" / "images" / picture).is_file()


def test_links_of_pages_that_lie_elsewhere():
    site = the_site()
    assert site.site_target("docs/theory.md#references", "README.md") == "theory.md#references"
    assert site.site_target("../CONTRIBUTING.md", "docs/theory.md") == "contributing.md"
    assert site.site_target("#here", "CONTRIBUTING.md") == "#here"
    assert site.site_target("https://doi.org/1", "CONTRIBUTING.md") == "https://doi.org/1"
    assert site.site_target("LICENSE", "README.md") is None
    text = "[a](docs/a.md) [licence](LICENSE)\n```\n[b](docs/b.md)\n```\n"
    expected = "[a](a.md) licence\n```\n[b](docs/b.md)\n```\n"
    assert site.with_site_links(text, "CONTRIBUTING.md") == expected


def test_what_needs_the_network_would_be_found(tmp_path):
    site = the_site()
    (tmp_path / "good.html").write_text(
        '<a href="https://doi.org/1">x</a><img src="a.png"><script src="b.js"></script>'
    )
    assert site.loaded_from_elsewhere(tmp_path) == []
    (tmp_path / "bad.html").write_text(
        '<script src="https://cdn.example/x.js"></script><link href="//fonts.example/f.css">'
    )
    (tmp_path / "bad.css").write_text(
        "@import 'https://a.example/b.css'; .a {background: url(c.svg)}"
    )
    assert site.loaded_from_elsewhere(tmp_path) == [
        "bad.html: https://cdn.example/x.js",
        "bad.html: //fonts.example/f.css",
        "bad.css: https://a.example/b.css",
    ]


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in BUILDERS), reason="needs the extra docs"
)
def test_the_site_is_built_without_a_warning_and_without_the_network(tmp_path):
    nowhere = "http://127.0.0.1:9"
    environment = {**os.environ, "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    contents = in_contents(yaml.safe_load(text_of(ROOT / "mkdocs.yml"))["nav"])
    assert not [p for p in contents if not (tmp_path / p).with_suffix(".html").is_file()]
    assert not list(tmp_path.rglob("*.py")) + list(tmp_path.rglob("*.toml"))
    pages = {path.stem: text_of(path) for path in (tmp_path / "api").glob("*.html")}
    assert 'id="napari_defectstrain.io.files.read_images"' in pages["io"]
    for name, page in pages.items():  # examples are code, in a section of their own
        assert "&gt;&gt;&gt;" not in re.sub(r"<pre>.*?</pre>", "", page, flags=re.DOTALL), name
