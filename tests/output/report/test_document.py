"""Reports as files: where they go, what is refused, pages of the PDF."""

import json
import re
import shutil

import pytest
from report_stage import png, results_folder

from napari_defectstrain.cli.main import main
from napari_defectstrain.output.figures.leaves import Leaves
from napari_defectstrain.output.report import make_report, write_document, write_report
from napari_defectstrain.output.report.blocks import Report, Section
from napari_defectstrain.output.report.document import is_report
from napari_defectstrain.types import DefectStrainError


@pytest.fixture
def folder(tmp_path):
    return results_folder(tmp_path / "out")


def pages(content):
    """Number of pages of a PDF."""
    return len(re.findall(rb"/Type /Page\b", content))


def test_the_command_writes_both(folder, tmp_path, capsys):
    out = [tmp_path / "r.html", tmp_path / "r.pdf"]
    assert main(["report", str(folder), *(f"--out={path}" for path in out)]) == 0
    assert capsys.readouterr().out.split() == [w for p in out for w in ("report", "in", str(p))]
    assert (
        out[0].read_text(encoding="utf-8").endswith("</html>\n") or "</html>" in out[0].read_text()
    )
    content = out[1].read_bytes()
    assert content.startswith(b"%PDF")
    assert pages(content) >= 4
    assert b"/Subtype /Type0" in content  # Type 42: text stays text
    assert b"/FontFile2" in content
    assert b"Strain of single-atom defects in WSe2" in content


def test_a_study_is_read_where_its_results_are(folder, tmp_path):
    study = tmp_path / "mine.defectstrain"
    study.mkdir()
    shutil.move(folder, study / "results")
    assert write_report(study) == study / "results" / "report.html"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("report.txt", r"got the ending \.txt, expected \.html or \.pdf"),
        ("report", "got the ending of none"),
        ("no/such/report.html", "make its folder first"),
    ],
)
def test_wrong_names_are_refused(folder, tmp_path, name, message):
    with pytest.raises(DefectStrainError, match=message):
        write_report(folder, tmp_path / name)


def test_folders_without_results_are_refused(tmp_path):
    with pytest.raises(DefectStrainError, match=r"got no run\.json, expected the folder of a run"):
        write_report(tmp_path)


def test_results_of_a_stopped_run_are_refused(folder):
    (folder / "run.unfinished.json").write_text('{"command": "run", "pid": 0, "host": "x"}')
    with pytest.raises(DefectStrainError, match="was stopped there"):
        write_report(folder)


def test_a_result_is_never_written_over(folder):
    about = json.loads((folder / "run.json").read_text())
    about["files"].append("page.html")
    (folder / "run.json").write_text(json.dumps(about))
    with pytest.raises(DefectStrainError, match="is a result itself"):
        write_report(folder, folder / "page.html")


@pytest.mark.parametrize("name", ["figures/averages.png", "strain_SV.tif", "average_SV.tif"])
def test_damaged_files_are_named(folder, name):
    (folder / name).write_bytes(b"no picture")
    with pytest.raises(DefectStrainError, match=f"{name}: can't be read"):
        make_report(folder)


def test_figures_in_pdf_alone_are_said_to_be_missing(folder):
    (folder / "figures" / "averages.png").rename(folder / "figures" / "averages.pdf")
    report = make_report(folder)
    assert "averages" not in {picture.name for picture in report.pictures}
    said = [item for block in report.blocks for item in getattr(block, "items", ())]
    assert any("PDF only" in text and "averages" in text for text in said)


def test_figures_in_svg_are_shown_in_the_page_and_named_in_print(folder, tmp_path):
    (folder / "figures" / "averages.png").unlink()
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>'
    (folder / "figures" / "averages.svg").write_text(svg)
    shown = {picture.name: picture for picture in make_report(folder).pictures}
    assert shown["averages"].src.startswith("data:image/svg+xml;base64,")
    section = Section("averages", "Averages", (shown["averages"],))
    write_document(Report("title", "", (section,)), tmp_path / "r.pdf")
    assert pages((tmp_path / "r.pdf").read_bytes()) == 1


def test_what_others_left_in_the_folder_is_shown(folder):
    (folder / "pair_correlation.csv").write_text("class,other,r_pm,g\nSV,SV,330,1.5\n")
    (folder / "rates.csv").write_text("class,rate\nSV,0.5\n")
    report = make_report(folder)
    sheets = {sheet.name: sheet for sheet in report.sheets}
    assert sheets["pair_correlation"].rows == (("SV", "SV", "330", "1.5"),)
    assert sheets["rates"].downloads[0].content == (folder / "rates.csv").read_bytes()
    assert "of_another" in {picture.name for picture in report.pictures}


def test_large_pictures_are_shown_smaller(folder):
    from PIL import Image

    side = 1600
    noise = Image.effect_noise((side, side), 80.0)
    noise.save(folder / "figures" / "averages.png")
    picture = next(p for p in make_report(folder).pictures if p.name == "averages")
    assert picture.mime == "image/webp"
    assert len(picture.content) < 0.5 * (folder / "figures" / "averages.png").stat().st_size
    assert picture.width_px == round(side * 140 / 300)
    assert "figures/averages.png" in picture.caption


def test_long_tables_go_on_on_the_next_page_with_their_heads(tmp_path):
    with Leaves(tmp_path / "a.pdf", "a title") as leaves:
        leaves.heading("heading")
        leaves.text("words " * 300)
        leaves.table("caption", ("a", "b"), [(str(k), "word " * 30) for k in range(60)])
        leaves.picture(png(), "caption", (6.0, 20.0))
        assert leaves.wrapped("word " * 3, 9.0, 10.0) == ["word word word"]
        assert all(len(line) < 20 for line in leaves.wrapped("x" * 200, 9.0, 1.0))
    assert pages((tmp_path / "a.pdf").read_bytes()) >= 4


def test_the_same_blocks_give_the_same_document(tmp_path):
    for name in ("a.pdf", "b.pdf"):
        with Leaves(tmp_path / name, "title") as leaves:
            leaves.text("text")
            leaves.picture(png(), "caption", (1.0, 1.0))
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


@pytest.mark.parametrize("name", ["thesis.html", "thesis.pdf"])
def test_only_reports_are_replaced(tmp_path, capsys, name):
    """Before the work."""
    path = tmp_path / name
    path.write_text("three years")
    assert main(["report", str(tmp_path), f"--out={path}"]) == 2
    assert "is there and is no report, expected another name" in capsys.readouterr().err
    assert path.read_text() == "three years"
    assert not is_report(tmp_path)
