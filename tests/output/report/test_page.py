"""The page: valid, whole in itself, accessible, and its downloads are the tables."""

import base64
import gzip
import re
from html.parser import HTMLParser

import pytest
from report_stage import BAD_NAME, results_folder

from napari_defectstrain.output.report import make_report, report_html
from napari_defectstrain.output.report.page import anchor

VOID = {"meta", "img", "col", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Every element with its attributes; complains of tags that don't match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, (tag, self.open[-3:])

    def handle_data(self, data):
        self.words.append(data)

    def of(self, tag):
        """Attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return results_folder(tmp_path_factory.mktemp("run") / "out")


@pytest.fixture(scope="module")
def text(folder):
    return report_html(make_report(folder))


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def content_of(attributes):
    """Name and bytes of a download."""
    head, _, packed = attributes["href"].partition(";base64,")
    content = base64.b64decode(packed, validate=True)
    name = attributes["download"]
    if head == "data:application/gzip":
        return name.removesuffix(".gz"), gzip.decompress(content)
    assert head == "data:text/csv"
    return name, content


def test_the_page_is_html_with_unique_names_and_links_that_lead_somewhere(text, page):
    assert text.startswith("<!DOCTYPE html>")
    assert page.of("html") == [{"lang": "en"}]
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    links = [a["href"][1:] for a in page.of("a") if a["href"].startswith("#")]
    labels = [a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a]
    assert links and labels and {*links, *labels} <= set(names)


def test_no_request_leaves_the_page(text, page):
    policy = page.of("meta")[1]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert policy["content"].startswith("default-src 'none'; img-src data:")
    kinds = {kind for kind, _ in page.elements}
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & kinds
    assert all(a["src"].startswith("data:image/") for a in page.of("img"))
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert "url(" not in style and "@import" not in style
    # what may be clicked: parts of the page, files in it, papers
    starts = ("#", "data:", "https://doi.org/10.")
    assert all(a["href"].startswith(starts) for a in page.of("a"))
    loading = ("src", "srcset", "poster", "background", "action", "data")
    others = [a for t, a in page.elements if t != "img" and set(loading) & set(a)]
    assert others == []


def test_every_figure_says_what_it_shows_and_every_table_has_heads(page):
    alts = [a["alt"] for a in page.of("img")]
    assert len(alts) == 5
    assert all(len(alt) > 30 for alt in alts)
    assert len(set(alts)) == len(alts)
    assert all(a.get("scope") in ("col", "row") for a in page.of("th"))
    assert len(page.of("table")) == len(page.of("thead"))
    scrolled = [a for a in page.of("div") if a.get("class") == "scroll"]
    assert len(scrolled) == len(page.of("table"))
    assert all(a["role"] == "region" and a["aria-label"] for a in scrolled)


def test_verdicts_need_no_colour_and_have_contrast(text, page):
    verdicts = [a for a in page.of("td") if "verdict" in a.get("class", "")]
    assert len(verdicts) == 14
    for name in ("v-met", "v-in-doubt", "v-not-met", "v-not-given"):
        colour = re.search(rf"\.{name} {{ color: #(\w+)", text)[1]
        assert contrast(colour) >= 4.5
    for name in ("ink", "soft", "link"):
        assert contrast(re.search(rf"--{name}: #(\w+)", text)[1]) >= 4.5
    said = " ".join(page.words)
    assert all(f"{word}" in said for word in ("✓", "!", "?", "met", "in doubt", "not given"))


def contrast(colour):
    """Against white, by WCAG 2."""
    colour = "".join(2 * c for c in colour) if len(colour) == 3 else colour
    channels = [int(colour[k : k + 2], 16) / 255 for k in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 1.05 / (light + 0.05)


def test_names_and_notes_of_files_are_text(text, page):
    assert "<script" not in text
    said = " ".join(page.words)
    assert "<script>alert(1)</script>" in said
    assert BAD_NAME in said
    saved = [a["download"] for a in page.of("a") if "download" in a]
    assert f"{BAD_NAME}.sites.csv" in saved


def test_downloads_are_the_tables(folder, page):
    held = dict(content_of(a) for a in page.of("a") if "download" in a)
    for name in ("spacings.csv", "populations.csv", "budget.csv", f"{BAD_NAME}.sites.csv"):
        assert held[name] == (folder / name).read_bytes()
    assert held["spacings.drawn.csv"] == (folder / "figures" / "spacings.csv").read_bytes()
    # each is there once: further figures point to it
    saved = [a["download"] for a in page.of("a") if "download" in a]
    assert len(saved) == len(set(saved))


def test_maps_can_be_had_as_tables(page):
    held = dict(content_of(a) for a in page.of("a") if "download" in a)
    strain = held["strain_SV.csv"].decode().splitlines()
    assert strain[0].startswith("x_pm,y_pm,exx,eyy,exy,rotation,dilation,sigma exx")
    assert len(strain) == 1 + 10 * 11  # the first row of pixels was empty
    assert strain[1].startswith("-100,-100,0.01,0.02,0.03,0.04,0.05,0.001")
    average = held["averages.csv"].decode().splitlines()
    assert average[:2] == ["x_pm,y_pm,average SV", "-100,-100,110"]
    assert average[-1] == "100,100,10"


def test_the_same_results_give_the_same_page(folder, text):
    assert report_html(make_report(folder)) == text


def test_no_path_of_the_machine_is_told(folder, text):
    assert str(folder.parent) not in text


def test_anchors_tell_names_apart():
    names = ["a b", "a-b", "a_b", "a.b", "ä"]
    assert len({anchor(name) for name in names}) == len(names)
