"""The reviewer's checklist: value, verdict and why; what isn't known is said to be unknown."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from audit_stage import judged
from report_stage import results_folder
from study_stage import reclassed, small_study

from napari_defectstrain.cli.main import main
from napari_defectstrain.evaluation import draw_audit, read_audited, write_audit
from napari_defectstrain.io.files import sites_table, write_json, write_table
from napari_defectstrain.output.report import make_report
from napari_defectstrain.output.report.checklist import reviewer_checks
from napari_defectstrain.output.report.folder import read_results
from napari_defectstrain.types import DefectStrainError


@pytest.fixture
def folder(tmp_path):
    return results_folder(tmp_path / "out")


def checks(folder):
    return {check.subject: check for check in reviewer_checks(read_results(folder))}


def change(folder, **values):
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_the_list_of_a_run(folder):
    found = checks(folder)
    verdicts = {subject: check.verdict for subject, check in found.items()}
    assert verdicts == {
        "Dose": "met",
        "Beam energy and angles": "not given",  # the detector's angles
        "Calibration": "met",
        "Material": "met",
        "Purity": "met",
        "Isolation": "met",
        "N": "in doubt",
        "Floor of the precision": "met",
        "Error budget": "in doubt",
        "Halves of the data": "met",
        "Corrected by hand": "met",
        "Audit by a person": "not given",
        "Images left out": "in doubt",
        "Files as written": "met",
    }
    assert found["Dose"].value == "1.24 × 10⁷ e⁻/nm² an image"
    said = "from the file; differs from the lattice by −0.25 %"
    assert found["Calibration"].value.startswith(said)
    assert "registration can't be told: DV" in found["N"].reason
    assert "DV registration" in found["Error budget"].reason
    assert found["Error budget"].value.startswith("SV −5.00 ± 0.06 ± 0.08 %")
    assert found["Corrected by hand"].value == "2 of 8 columns"
    assert all(check.reason for check in found.values())


def test_what_no_file_says_is_not_given(folder):
    about = json.loads((folder / "run.json").read_text())
    images = [{**image, "conditions": {}, "metadata": {}} for image in about["images"]]
    change(folder, images=images, identity=None)
    found = checks(folder)
    for subject in ("Dose", "Beam energy and angles", "Calibration", "Material"):
        assert found[subject].verdict == "not given"
    images[0]["conditions"] = {"dose": 1e7}
    change(folder, images=images)
    assert checks(folder)["Dose"].verdict == "in doubt"  # of one image only


@pytest.mark.parametrize(
    ("column", "values", "subject", "verdict"),
    [
        ("purity", [0.999, 0.9, 0.99], "Purity", "in doubt"),
        ("purity", [0.999, 0.6, 0.99], "Purity", "not met"),
        ("floor_pm", [0.05, 0.5, 0.1], "Floor of the precision", "not met"),
        ("windows_needed", [250, 900, None], "Floor of the precision", "in doubt"),
        ("sigma_total", [0.0, 0.04, 0.005], "Error budget", "in doubt"),
    ],
)
def test_poor_numbers_are_called_so(folder, column, values, subject, verdict):
    table = pd.read_csv(folder / "spacings.csv")
    table[column] = values
    table.to_csv(folder / "spacings.csv", index=False)
    found = checks(folder)
    assert found[subject].verdict == verdict
    assert found["Files as written"].verdict == "in doubt"
    assert "spacings.csv" in found["Files as written"].reason


def test_conditions_out_of_range_are_in_doubt(folder):
    one = {"image": "second", "quantity": "dose", "unit": "e-/nm2", "value": 1.24e7}
    change(folder, out_of_range=[{**one, "low": 1e8, "high": 1e9, "made": "the network was"}])
    assert checks(folder)["Dose"].verdict == "in doubt"
    assert "outside of what the network was made for" in checks(folder)["Dose"].reason


def test_a_wrong_scale_is_in_doubt(folder):
    about = json.loads((folder / "run.json").read_text())
    about["images"][0]["metadata"]["pixel_size_by_lattice_pm"] = 20.8
    change(folder, images=about["images"])
    assert checks(folder)["Calibration"].verdict == "in doubt"
    about["images"][0]["calibration"] = "lattice"
    change(folder, images=about["images"])
    assert "assumed lattice constant" in checks(folder)["Calibration"].reason


def test_an_audit_is_taken_up(folder):
    score = {"class": "SV", "found": 540, "labelled": 40, "precision": 0.98}
    audit = {"columns": 100, "labelled": 60, "unsure": 2, "scores": [score]}
    (folder / "audit.json").write_text(json.dumps(audit))
    assert checks(folder)["Audit by a person"].verdict == "in doubt"
    (folder / "audit.json").write_text(json.dumps({**audit, "labelled": 100}))
    assert checks(folder)["Audit by a person"].verdict == "met"
    assert checks(folder)["Audit by a person"].value == "100 of 100 columns labelled blind"
    (sheet,) = (s for s in make_report(folder).sheets if s.name == "audit_scores")
    assert sheet.rows[0][:4] == ("SV", "540", "40", "0.980 (– to –)")
    (folder / "audit.json").write_text("[")
    with pytest.raises(DefectStrainError, match="got no JSON object, expected an audit"):
        checks(folder)


def test_a_detection_alone_has_no_verdict_on_averages(folder):
    for name in ("spacings.csv", "budget.csv", "half_sets.csv", "displacement.csv"):
        (folder / name).unlink()
    assert "Purity" not in checks(folder)
    assert checks(folder)["Dose"].verdict == "met"


def test_an_audit_of_other_classes_is_in_doubt(tmp_path):
    image, _ = judged(8, "one")
    write_table(tmp_path / "one.sites.csv", sites_table(image.sites, image.pixel_size_pm))
    record = {"name": "one", "shape": image.shape, "pixel_size_pm": image.pixel_size_pm}
    write_json(tmp_path / "run.json", {"parameters": {"material": "WSe2"}, "images": [record]})
    audit = draw_audit(read_audited(tmp_path).images)
    labelled = audit.table.assign(label=audit.table["found"])
    write_audit(replace(audit, table=labelled), tmp_path)
    assert checks(tmp_path)["Audit by a person"].verdict == "met"
    index = np.where(image.sites.class_index == 4, 1, image.sites.class_index)
    other = replace(image.sites, class_index=index)
    write_table(tmp_path / "one.sites.csv", sites_table(other, image.pixel_size_pm))
    check = checks(tmp_path)["Audit by a person"]
    assert check.verdict == "in doubt"
    assert "it judges columns of before (one:" in check.reason


def test_results_that_corrections_left_behind_are_in_doubt(tmp_path, capsys):
    with small_study(tmp_path, 1) as study:
        study.results.mkdir()
        results_folder(study.results)
        study.note_measured(study.images)
        assert read_results(study.path).notes == ()
        assert checks(study.path)["Files as written"].verdict == "met"
        study.record("image_0", reclassed(study.sites("image_0"), 2, "DV"))
    (said,) = read_results(study.path).notes
    assert "1 edit since these results were written" in said
    check = checks(study.path)["Files as written"]
    assert (check.verdict, check.reason) == ("in doubt", "the study was edited since: run it again")
    for command in ("report", "export"):
        main([command, str(study.path), "--out", str(tmp_path / "page.html")])
        assert "1 edit since these results were written" in capsys.readouterr().err
