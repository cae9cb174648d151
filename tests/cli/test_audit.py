"""``defectstrain audit`` draws, takes up labels, and asks truth."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from audit_stage import judged

from napari_defectstrain.cli.main import main
from napari_defectstrain.evaluation import read_audited
from napari_defectstrain.evaluation.audit import read_audit
from napari_defectstrain.io.files import sites_table


@pytest.fixture
def results(tmp_path):
    image, true = judged(8, "one")
    folder, truth = tmp_path / "results", tmp_path / "truth"
    folder.mkdir()
    truth.mkdir()
    sites_table(image.sites, image.pixel_size_pm).to_csv(folder / "one.sites.csv", index=False)
    record = {"name": "one", "shape": image.shape, "pixel_size_pm": image.pixel_size_pm}
    run = {"parameters": {"material": "WSe2"}, "images": [record]}
    (folder / "run.json").write_text(json.dumps(run))
    y, x = image.sites.position_px.T
    table = pd.DataFrame({"y_px": y, "x_px": x, "class": true})
    table.to_csv(truth / "one.truth.csv", index=False)
    return folder, truth


def test_draw_label_in_a_spreadsheet_and_score(results, capsys):
    folder, _ = results
    assert main(["audit", str(folder), "--columns", "60", "--seed", "3"]) == 0
    assert "0 of 60 columns labelled" in capsys.readouterr().out
    table = pd.read_csv(folder / "audit.csv", keep_default_na=False)
    table.loc[:39, "label"] = table.loc[:39, "found"]
    table.to_csv(folder / "audit.csv", index=False)
    assert main(["audit", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "40 of 60 columns labelled" in said
    assert "100 (" in said
    assert json.loads((folder / "audit.json").read_text())["labelled"] == 40
    # labels are not forgotten by the way
    assert main(["audit", str(folder), "--columns", "70"]) == 2
    assert read_audit(folder).labelled == 40
    assert main(["audit", str(folder), "--columns", "70", "--force"]) == 0
    assert read_audit(folder).labelled == 0


def test_truth_as_the_labeller_writes_nothing(results, capsys):
    folder, truth = results
    before = sorted(path.name for path in folder.iterdir())
    assert main(["audit", str(folder), "--truth", str(truth)]) == 0
    assert main(["audit", str(folder), "--truth", str(truth), "--repeat", "3"]) == 0
    said = capsys.readouterr().out
    assert "all columns, by truth" in said
    assert "3 audits of 100 columns" in said
    assert "expected_recall" in said
    assert sorted(path.name for path in folder.iterdir()) == before


def test_mistakes_end_in_one_line(results, tmp_path, capsys):
    folder, truth = results
    study = tmp_path / "S.defectstrain"
    study.mkdir()
    folder.rename(study / "results")
    assert main(["audit", str(study)]) == 0  # a study's results
    assert (study / "results" / "audit.csv").is_file()
    for words in (["audit", str(truth)], ["audit", str(study), "--repeat", "2"],
                  ["audit", str(study), "--truth", str(study)],
                  ["audit", str(study), "--truth", str(truth), "--repeat", "0"]):  # fmt: skip
        capsys.readouterr()
        assert main(words) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert np.isin("audit.json", [path.name for path in (study / "results").iterdir()])


def test_an_audit_of_other_classes_is_said(results, capsys):
    folder, _ = results
    assert main(["audit", str(folder), "--columns", "60", "--seed", "3"]) == 0
    table = pd.read_csv(folder / "audit.csv", keep_default_na=False)
    table["label"] = table["found"]
    table.to_csv(folder / "audit.csv", index=False)
    capsys.readouterr()
    assert main(["audit", str(folder)]) == 0
    assert capsys.readouterr().err == ""
    audited = read_audited(folder)
    image = audited.images[0]
    sites = image.sites

    def said(**changes) -> list[str]:
        changed = replace(image, sites=replace(sites, **changes))
        sites_table(changed.sites, image.pixel_size_pm).to_csv(
            folder / "one.sites.csv", index=False
        )
        assert main(["audit", str(folder)]) == 0
        return capsys.readouterr().err.splitlines()

    # a column that was drawn
    index = sites.class_index.copy()
    drawn = int(table["column"].iloc[0])
    index[drawn] = index[drawn] % 5 + 1
    (line,) = said(class_index=index)
    assert "one: 1 of the 60 columns drawn are of another class" in line
    # other weights, the same places
    (line,) = said(probabilities=0.9 * sites.probabilities + 0.1 / 7)
    assert "columns drawn are of another probability" in line
    # columns that weren't drawn
    index = sites.class_index.copy()
    other = np.setdiff1d(image.audited, table["column"])[:3]
    index[other] = index[other] % 5 + 1
    assert any(
        "when the audit was drawn: it judges those of before" in x for x in said(class_index=index)
    )


def test_a_copy_is_not_drawn_again(results, capsys):
    folder, _ = results
    once = sum(len(image.audited) for image in read_audited(folder).images)
    (folder / "two.sites.csv").write_bytes((folder / "one.sites.csv").read_bytes())
    run = json.loads((folder / "run.json").read_text())
    run["images"].append({**run["images"][0], "name": "two"})
    shared = {"first": "one", "second": "two", "matrix": [[1, 0, 0], [0, 1, 0]], "share": 1.0}
    run["overlaps"] = [shared]
    (folder / "run.json").write_text(json.dumps(run))
    assert sum(len(image.audited) for image in read_audited(folder).images) == once
    run["overlaps"] = [{**shared, "first": "elsewhere"}]
    (folder / "run.json").write_text(json.dumps(run))
    assert main(["audit", str(folder)]) == 2
    assert "is not what a run wrote" in capsys.readouterr().err
