"""The scripts of the gallery run, on small images, and their pictures are small."""

import importlib
import sys

import pytest
from documents_stage import ROOT
from small_alloy import QUICK

WITHOUT_SETTINGS = {"known", "at_random", "dose"}
SIZES = {"known": 128, "spectra": 400, "study_resumed": 288, "against_truth": 256}
PICTURES = sorted((ROOT / "docs" / "images").glob("gallery_*.png"))

pytestmark = pytest.mark.skipif(not (ROOT / "examples").is_dir(), reason="needs the source tree")


def names() -> list[str]:
    return [picture.stem.removeprefix("gallery_") for picture in PICTURES]


def test_pictures_are_small_and_on_the_page():
    page = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    for picture in PICTURES:
        assert picture.stat().st_size < 100_000, picture.name
        assert f"](images/{picture.name})" in page
        assert f"`python examples/{picture.stem.removeprefix('gallery_')}.py`" in page


@pytest.mark.parametrize("name", names())
def test_scripts_fit_on_a_screen(name):
    text = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    assert text.count("\n") <= 60


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_scripts_run_and_draw(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [str(ROOT / "examples"), *sys.path])
    settings = {} if name in WITHOUT_SETTINGS else {"config": QUICK}
    if name == "dose":
        settings = {"frames": 6}
    picture = tmp_path / f"{name}.png"
    importlib.import_module(name).main(picture, SIZES.get(name, 320), **settings)
    assert picture.stat().st_size > 2000
    assert capsys.readouterr().out.strip()
