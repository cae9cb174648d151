"""The methods paragraph comes from the run's own parameters; its references are those it cites."""

import json
import re

import pytest
from report_stage import results_folder

from napari_defectstrain.output.report.folder import read_results
from napari_defectstrain.output.report.methods import methods_text


@pytest.fixture
def folder(tmp_path):
    return results_folder(tmp_path / "out")


def methods(folder):
    paragraphs, references = methods_text(read_results(folder))
    return "\n".join(paragraphs), references


def change(folder, path, value):
    about = json.loads((folder / "run.json").read_text())
    inner = about
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    (folder / "run.json").write_text(json.dumps(about))


def test_it_says_what_was_done(folder):
    text, _ = methods(folder)
    for words in (
        "2 ADF-STEM images of 2H-WSe2 (pixels of 20.00 pm; beam energy 80 keV; semi-angle 25 mrad",
        "dose 1.24 × 10⁷ e⁻/nm² an image",
        "2 shells (12 columns)",
        "300 SV, 5 DV",
        "400 defect-free windows (2Se)",
        "500 samples a class (seed 0)",
        "spacing 330.00 pm",
        "60 pm standard deviation",
        "1 further image was left out [SAY WHY]",
    ):
        assert words in text
    assert "[INNER ANGLE] to [OUTER ANGLE]" in text  # not in the files: to be filled in


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("parameters", "average", "shells"), 3, "3 shells (18 columns)"),
        (("parameters", "columns", "model"), "gaussian", "single two-dimensional Gaussians"),
        (("parameters", "strain", "smoothing_pm"), 45.0, "45 pm standard deviation"),
        (("parameters", "frames"), True, "Frames of one region were registered rigidly"),
        (("parameters", "seed"), 7, "(seed 7)"),
        (("weights_sha256",), None, "taken from tables [SAY HOW THEY WERE MADE]"),
    ],
)
def test_it_follows_the_parameters(folder, path, value, words):
    assert words not in methods(folder)[0]
    change(folder, path, value)
    assert words in methods(folder)[0]


def test_all_references_are_cited_and_all_citations_listed(folder):
    text, references = methods(folder)
    cited = {int(n) for one in re.findall(r"\[([\d, ]+)\]", text) for n in one.split(", ")}
    assert cited == set(range(1, len(references) + 1))
    assert "10.1021/acs.nanolett.0c00269" in references[0]
    assert all(re.search(r"doi:10\.\d{4}", reference) for reference in references)
