"""What the documentation site has beside docs/*.md, for MkDocs (see mkdocs.yml).

`on_files` adds pages: those that lie elsewhere in the repository, and the public names of every
room with their docstrings. `on_page_markdown` turns links into the repository into links between
pages. `on_post_build` refuses a site that would load anything from the network.
"""

from __future__ import annotations

import ast
import posixpath
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "napari_defectstrain"

ELSEWHERE = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "sample_data/README.md": "sample-data.md",
    "sample_data/reference_structures.md": "reference-structures.md",
}
"""Pages that don't lie in docs/: where they lie, and what they are called in the site."""

EXAMPLES = {
    "quickstart.py": "strain.png",
    "known.py": "gallery_known.png",
    "one_class.py": "gallery_one_class.png",
    "crowded.py": "gallery_crowded.png",
    "against_truth.py": "gallery_against_truth.png",
    "study_resumed.py": "gallery_study_resumed.png",
    "at_random.py": "gallery_at_random.png",
    "far_field.py": "gallery_far_field.png",
    "spectra.py": "gallery_spectra.png",
    "dose.py": "gallery_dose.png",
    "demo.py": "nine_regions.png",
    "open_question.py": "theory_fig5.png",
}
"""Scripts of examples/ in the order in which they are read, each with a picture of docs/images."""

WITHOUT_NAMES = ("cli", "widgets")
"""Rooms that are used by command and window, not by Python."""

LINK = re.compile(r"(!?\[[^\]]*\])\(([^)\s]+)\)")
FENCE = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)
LOADED = {
    "audio": "src",
    "embed": "src",
    "iframe": "src",
    "img": "src",
    "link": "href",
    "script": "src",
    "source": "src",
    "video": "src",
}
"""What a browser loads by itself, by element and attribute."""


def rooms() -> list[str]:
    """The rooms whose public names have a page, from the ground up."""
    order = tomllib.loads((ROOT / "docs" / "rooms.toml").read_text(encoding="utf-8"))["rooms"]
    return [room for room in order if room and room not in WITHOUT_NAMES]


def public_names(face: Path) -> list[str]:
    """The names that an ``__init__.pyi`` lists, by where they are defined.

    Parameters
    ----------
    face : Path

    Returns
    -------
    list of str
        Such as ``napari_defectstrain.io.files.read_images``.
    """
    package = ".".join(["napari_defectstrain", *face.parent.relative_to(SRC).parts])
    return [
        f"{package}.{node.module}.{alias.name}"
        for node in ast.parse(face.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]


def _docstring(package: Path) -> str:
    return ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or ""


def room_page(room: str) -> str:
    """The page of a room: its docstring, and every public name of it and of the rooms within."""
    faces = sorted((SRC / room).rglob("__init__.pyi"))
    # A name that a room hands on from a room within it is told once.
    names = dict.fromkeys(name for face in faces for name in public_names(face))
    constants = [name for name in names if _is_constant(name)]
    parts = [f"# {room}", _docstring(SRC / room)]
    parts += [f"::: {name}" for name in names if name not in constants]
    if constants:
        parts += ["## Constants", "\n".join(f"* `{name}`" for name in constants)]
    return "\n\n".join(parts) + "\n"


def _is_constant(name: str) -> bool:
    """Whether a name is in capitals: many are assigned by unpacking, and have no docstring."""
    return name.rpartition(".")[2].isupper()


def first_page() -> str:
    """The page of what ``import napari_defectstrain as nds`` offers, with the rooms below it."""
    names = public_names(SRC / "__init__.pyi")
    told = {
        name for room in rooms() for f in (SRC / room).rglob("*.pyi") for name in public_names(f)
    }
    lines = ["# Python", "", _docstring(SRC), "", "`import napari_defectstrain as nds` offers"]
    lines += ["", *(f"* [`nds.{name.rpartition('.')[2]}`][{name}]" for name in names), ""]
    lines += ["Everything else is in rooms, from the ground up:", ""]
    for room in rooms():
        title = _docstring(SRC / room).split("\n\n")[0].replace("\n", " ")
        lines.append(f"* [{room}]({room}.md): {title}")
    return "\n".join([*lines, "", *(f"::: {name}\n" for name in names if name not in told)])


def examples_page() -> str:
    """The scripts of examples/: what each says of itself, a picture, and the script."""
    parts = ["# Examples in Python", "They lie in `examples/` of the repository."]
    for name, picture in EXAMPLES.items():
        text = (ROOT / "examples" / name).read_text(encoding="utf-8")
        title, _, rest = (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")
        call, _, rest = rest.partition("\n\n")
        code = text.partition('"""\n\n')[2]
        parts += [f"## {name}", title, f"```\n{call}\n```", rest]
        parts += [f"![{title}](images/{picture})", f"```python\n{code}```"]
    return "\n\n".join(part for part in parts if part) + "\n"


def made_pages() -> dict[str, str]:
    """All pages that are not files of docs/, by their names in the site.

    Returns
    -------
    dict of str to str
        Markdown, links as they stand in the repository.
    """
    pages = {page: (ROOT / path).read_text(encoding="utf-8") for path, page in ELSEWHERE.items()}
    pages["examples.md"] = examples_page()
    pages["api/index.md"] = first_page()
    return {**pages, **{f"api/{room}.md": room_page(room) for room in rooms()}}


def site_target(target: str, source: str) -> str | None:
    """Where a link of the repository leads in the site.

    Parameters
    ----------
    target : str
        As written, such as ``docs/theory.md#references``.
    source : str
        The file that it stands in, from the root of the repository.

    Returns
    -------
    str or None
        Relative to the top of the site; None: to a file that the site doesn't have.
    """
    path, hash_sign, anchor = target.partition("#")
    if not path or "://" in target or target.startswith("mailto:"):
        return target
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if path in ELSEWHERE:
        return ELSEWHERE[path] + hash_sign + anchor
    if path.startswith("docs/") and not path.endswith((".py", ".toml")):
        return path.removeprefix("docs/") + hash_sign + anchor
    return None


def with_site_links(markdown: str, source: str) -> str:
    """A page of the top folder with its links as the site has them; other files lose theirs."""

    def changed(match: re.Match[str]) -> str:
        text, target = match.groups()
        found = site_target(target, source)
        return text.lstrip("!")[1:-1] if found is None else f"{text}({found})"

    # What stands between fences is code.
    parts = FENCE.split(markdown)
    return "".join(p if i % 2 else LINK.sub(changed, p) for i, p in enumerate(parts))


class _Loaded(HTMLParser):
    """Addresses that a page makes a browser load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get(LOADED.get(tag, "")) or ""
        if address.startswith(("http:", "https:", "//")):
            self.found.append(address)


def loaded_from_elsewhere(site: Path) -> list[str]:
    """What pages and style sheets of a built site would load from the network.

    Parameters
    ----------
    site : Path

    Returns
    -------
    list of str
        ``page: address``.
    """
    found = []
    for page in sorted(site.rglob("*.html")):
        parser = _Loaded()
        parser.feed(page.read_text(encoding="utf-8"))
        found += [f"{page.relative_to(site)}: {address}" for address in parser.found]
    for sheet in sorted(site.rglob("*.css")):
        text = sheet.read_text(encoding="utf-8")
        addresses = re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)", text)
        found += [f"{sheet.relative_to(site)}: {address}" for address in addresses]
    return found


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not files of docs/."""
    from mkdocs.structure.files import File

    for name, text in made_pages().items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn links into the repository into links between pages."""
    name = page.file.src_uri
    if name.startswith("api/") or name == "examples.md":
        return markdown
    source = {page: path for path, page in ELSEWHERE.items()}.get(name, f"docs/{name}")
    return with_site_links(markdown, source)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that would load anything from the network.

    Raises
    ------
    mkdocs.exceptions.PluginError
    """
    from mkdocs.exceptions import PluginError

    found = loaded_from_elsewhere(Path(config.site_dir))
    if found:
        raise PluginError("loaded from the network: " + ", ".join(found[:10]))
