"""Studies measured: what is found, kept, carried over; numbers that don't depend on the way."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from small_alloy import QUICK, simulated, true_sites
from study_stage import moved, reclassed, without

from napari_defectstrain import create_study, open_study, run_study
from napari_defectstrain.crystal import label_regions
from napari_defectstrain.detect import Detection, bundled_weights
from napari_defectstrain.detect.finding import predict
from napari_defectstrain.failures import Failures
from napari_defectstrain.io import read_sites
from napari_defectstrain.io.out_folder import writing_into
from napari_defectstrain.judge.identity import (
    AGREES,
    DOUBTFUL,
    IDENTITY_PREFIX,
    REFUSED,
    Identity,
    ImageVerdict,
)
from napari_defectstrain.materials import WSE2
from napari_defectstrain.output import export_results
from napari_defectstrain.output.report import make_report
from napari_defectstrain.output.report.checklist import reviewer_checks
from napari_defectstrain.output.report.folder import read_results
from napari_defectstrain.output.results import write_detections, write_run
from napari_defectstrain.output.studies import find_answers
from napari_defectstrain.pipeline import detect, fitness, load_images
from napari_defectstrain.simulate.samples import write_simulated
from napari_defectstrain.study import WeightsRecord
from napari_defectstrain.study import weights as study_weights
from napari_defectstrain.study.comparing import compare_weights
from napari_defectstrain.types import DefectStrainError

pytestmark = pytest.mark.slow
CONFIG = QUICK.replace(judge=QUICK.judge.replace(enabled=False), force_material=True)
SEEDS = {"one": 1, "two": 2}
SIZE = 256


class Network:
    """Stands for the network: it sees the truth, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.sha256 = "a" * 64
        self.swaps = 0

    def __call__(self, image, config, progress=None):
        self.asked.append(image.name)
        sites = true_sites(simulated(seed=SEEDS[image.name.split("_")[0]], size=SIZE))
        index = sites.class_index.copy()
        index[np.flatnonzero(index == 1)[: self.swaps]] = 4  # takes some X2 for vacancies
        p = np.eye(len(sites.class_names))[index] * 0.9 + 0.1 / len(sites.class_names)
        sites = replace(sites, class_index=index, probabilities=p)
        sites = replace(sites, source=np.full(len(sites), "model", dtype="<U6"))
        return Detection(sites, 20.74, self.sha256, config.material, ("a warning",), (1.0,) * 7)


@pytest.fixture
def network(monkeypatch):
    known = Network()
    monkeypatch.setattr(predict, "detect_columns", known)

    def configured(config):
        name = "other" if config.detect.weights else "bundled"
        return WeightsRecord(name, ("b" if config.detect.weights else "a") * 64)

    monkeypatch.setattr(study_weights, "configured_weights", configured)
    monkeypatch.setattr("napari_defectstrain.study.comparing.configured_weights", configured)
    return known


@pytest.fixture
def study(tmp_path):
    """A study of one image, nothing found yet."""
    write_simulated(simulated(seed=1, size=SIZE, name="one"), tmp_path.joinpath)
    with create_study(tmp_path / "s", CONFIG, [tmp_path / "one.tif"]) as study:
        yield study


def other_weights(study):
    """The same weights in another file: its header, JSON after its length, ends in spaces."""
    path = study.path.parent / "other.safetensors"
    known = bundled_weights("WSe2").read_bytes()
    end = 8 + int.from_bytes(known[:8], "little")
    path.write_bytes(end.to_bytes(8, "little") + known[8:end] + 8 * b" " + known[end:])
    return str(path)


def with_second_image(study):
    folder = study.path.parent
    write_simulated(simulated(seed=2, size=SIZE, name="two"), folder.joinpath)
    study.add_images([folder / "two.tif"])


def tables(study):
    return {p.name: p.read_bytes() for p in study.results.glob("*.csv")}


def test_a_second_run_changes_no_digit_and_measures_what_a_run_does(study, network):
    first = run_study(study, formats=())
    before = tables(study)
    assert network.asked == ["one"]
    assert {"spacings.csv", "populations.csv", "one.sites.csv"} <= set(before)
    study.close()
    with open_study(study.path) as again:
        second = run_study(again, formats=())
        assert again.edits_since_measured() == 0
        assert network.asked == ["one"]
        assert tables(study) == before
        assert second.weights_sha256 == first.weights_sha256 == "a" * 64
        assert second.overconfidence == (1.0,) * 7
        assert "a warning" in second.warnings
        # windows left out by hand stay out
        stack = second.stacks["2Se"]
        included = stack.included.copy()
        included[np.flatnonzero(included)[:2]] = False
        again.record_windows(stack, replace(stack, included=included), again.images)
        assert again.edits_since_measured() == 1
        third = run_study(again, formats=())
    assert third.measurements["2Se"].average.n == second.measurements["2Se"].average.n - 2
    assert set(third.stacks["2Se"].reason[stack.included & ~included]) == {"by hand"}
    written = export_results(study.results, study.path.parent / "exported", ["extxyz", "hspy"])
    assert {"columns_2Se.extxyz", "average_2Se.hspy"} <= {path.name for path in written}


def test_a_study_gives_the_tables_of_a_run_to_the_last_byte(study, network, tmp_path):
    with_second_image(study)
    study.set_config(CONFIG.replace(force_material=False))
    run_study(study, formats=(), detect_only=True)
    images, _ = load_images([tmp_path / "one.tif", tmp_path / "two.tif"])
    told = {"study": json.loads((study.results / "run.json").read_text())}

    def written(name, sites=None):
        found = detect(images, study.config, sites)
        with writing_into(tmp_path / name, "detect", "run.json") as folder:
            write_detections(found, folder, ())
            write_run(found, folder)
        told[name] = json.loads((tmp_path / name / "run.json").read_text())
        return {p.name: p.read_bytes() for p in (tmp_path / name).glob("*.csv")}

    assert tables(study) == written("run")
    # and it says the same of the material: nobody insisted on it
    assert told["study"]["identity"] == told["run"]["identity"]
    assert not told["study"]["identity"]["forced"]
    # and by the tables that the run wrote
    paths = [tmp_path / "run" / f"{name}.sites.csv" for name in study.images]
    assert tables(study) == written("again", [read_sites(p, WSE2.class_names) for p in paths])


def test_what_is_corrected_is_what_counts(study, network):
    run_study(study, formats=(), detect_only=True)
    name = study.images[0]
    row = int(np.flatnonzero(study.sites(name).class_name == "2Se")[0])
    corrected = reclassed(study.sites(name), row, "SV")
    study.record(name, corrected)
    assert study.edits_since_measured() == 1
    result = run_study(study, formats=(), detect_only=True)
    images, _ = study.load_images()
    directly = detect(images, study.config, [corrected], regions=result.regions)
    pd.testing.assert_frame_equal(result.populations, directly.populations)
    counts = result.populations.set_index(["image", "class"])["columns"]
    assert counts["one", "SV"] == int((corrected.class_name == "SV").sum())


def test_the_report_says_who_corrected_what_and_when(study, network):
    run_study(study, formats=(), detect_only=True)
    assert not (study.results / "edits.csv").exists()  # nobody did
    name = study.images[0]
    rows = np.flatnonzero(study.sites(name).class_name == "2Se")[:3]
    for row in rows[:2]:
        study.record(name, reclassed(study.sites(name), int(row), "SV"), user="anna")
    study.record(name, without(study.sites(name), int(rows[2])), user="ben")
    study.record(name, moved(study.sites(name), 5, (0.25, 0.0)), user="ben")
    labels = study.regions(name).labels.copy()
    labels[:20] = 0
    study.set_regions(name, label_regions(labels, None), user="ben")
    run_study(study, formats=(), detect_only=True)
    table = pd.read_csv(study.results / "edits.csv")
    told = [tuple(row) for row in table[["user", "what", "change", "from", "to"]].fillna("").values]
    assert told[:3] == [
        ("anna", "columns", "class", "2Se", "SV"),
        ("anna", "columns", "class", "2Se", "SV"),
        ("ben", "columns", "removed", "2Se", ""),
    ]
    assert told[3][2] == "moved"
    y, _, _ = told[3][4].partition(",")
    assert float(y) - float(told[3][3].partition(",")[0]) == pytest.approx(0.25, abs=0.011)
    assert told[4][:3] == ("ben", "regions", "replaced")
    assert table["column"][:3].tolist() == rows.tolist()
    report = make_report(study.path)
    (section,) = (part for part in report.sections if part.name == "by-hand")
    summary = next(block for block in section.blocks if block.name == "edits_summary")
    today = str(table["when"][0])[:10]
    assert ("columns", "2Se → SV", "anna", today, "1", "2") in summary.rows
    history = next(block for block in section.blocks if block.name == "edits")
    assert history.folded
    assert len(history.rows) == 5
    assert history.downloads[0].content == (study.results / "edits.csv").read_bytes()
    checks = {check.subject: check.reason for check in reviewer_checks(read_results(study.path))}
    assert "edited by anna, ben" in checks["Corrected by hand"]


def test_corrections_are_kept_when_an_image_comes(study, network):
    images, _ = study.load_images()
    find_answers(study, images, Failures(strict=True))
    name = study.images[0]
    row = int(np.flatnonzero(study.sites(name).class_name == "2Se")[0])
    where = study.sites(name).position_px[row]
    study.record(name, reclassed(study.sites(name), row, "DV"))
    with_second_image(study)
    run_study(study, formats=(), detect_only=True)
    assert network.asked == ["one", "two"]  # what was found before is kept
    found = study.sites(name)
    (k,) = np.flatnonzero(found.source == "manual")
    assert found.class_name[k] == "DV"
    assert np.hypot(*(found.position_px[k] - where)) < 1e-3


def test_other_weights_change_nothing_unasked(study, network):
    run_study(study, formats=(), detect_only=True)
    name = study.images[0]
    before = study.model_sites(name)
    study.set_config(CONFIG.replace(detect=CONFIG.detect.replace(weights=other_weights(study))))
    network.sha256, network.swaps = "b" * 64, 3
    run_study(study, formats=(), detect_only=True)  # nothing is missing: the old answers count
    assert network.asked == ["one"]
    np.testing.assert_array_equal(study.model_sites(name).class_index, before.class_index)
    with_second_image(study)
    with pytest.raises(DefectStrainError, match="got weights other .* expected those of the study"):
        run_study(study, formats=(), detect_only=True)
    run_study(study, formats=(), detect_only=True, new_weights=True)
    assert study.weights.name == "other"
    assert (study.model_sites(name).class_index != before.class_index).sum() == 3


def test_an_image_that_fails_now_is_not_measured_by_its_old_answer(study, network, monkeypatch):
    with_second_image(study)
    run_study(study, formats=(), detect_only=True)
    assert study.images == ("one", "two")
    find = predict.detect_columns

    fails = ["one", "two"]

    def failing(image, config, progress=None):
        if image.name.split("_")[0] in fails:
            raise DefectStrainError("out of memory")
        return find(image, config, progress)

    monkeypatch.setattr(predict, "detect_columns", failing)
    study.set_config(CONFIG.replace(detect=CONFIG.detect.replace(weights=other_weights(study))))
    network.sha256 = "b" * 64
    with pytest.raises(DefectStrainError, match="out of memory"):
        run_study(study, (), None, Failures(), new_weights=True, detect_only=True)
    assert study.weights.sha256 == "a" * 64  # no answer is of the new ones
    fails.remove("one")
    failures = Failures()
    found = run_study(study, (), None, failures, new_weights=True, detect_only=True)
    assert [image.name for image in found.images] == ["one"]
    assert [one.name for one in failures.found] == ["two"]
    assert not (study.results / "two.sites.csv").exists()
    assert study.has_sites("two")  # what was corrected in it is still known


def test_a_study_refuses_what_a_run_of_its_images_refuses(study, network, tmp_path, monkeypatch):
    """What images say together turns when one of them has gone: pooled anew, not let pass."""

    def judged(evidence, material, forced=False, told=False):
        names = [one.name for one in evidence]
        alone = REFUSED if "two" not in names and not forced else DOUBTFUL
        verdicts = [
            ImageVerdict(n, alone if n == "one" else refuses, f"{IDENTITY_PREFIX}{n}: {names}")
            for n in names
        ]
        return Identity(material.name, tuple(verdicts), tuple(evidence), forced=forced)

    monkeypatch.setattr(fitness, "judge_identity", judged)
    with_second_image(study)
    study.set_config(CONFIG.replace(force_material=False))
    paths = [tmp_path / "one.tif", tmp_path / "two.tif"]

    def both():
        """What a run and the study say of the material and of what is left out."""
        told = []
        for of_run in (True, False):
            failures = Failures()
            images, _ = load_images([path for path in paths if path.exists()])
            try:
                found = (
                    detect(images, study.config, failures=failures)
                    if of_run
                    else run_study(study, (), None, failures, detect_only=True)
                )
            except DefectStrainError as error:
                told.append(str(error))
            else:
                said = [w for w in found.warnings if w.startswith(IDENTITY_PREFIX)]
                told.append((found.identity.to_dict(), said, [f.name for f in failures.found]))
        return told

    for refuses in (AGREES, REFUSED):  # one that is refused has its say in what the rest is, too
        run, of_study = both()
        assert of_study == run
        assert run[0]["verdict"] == DOUBTFUL
        assert run[2] == (["two"] if refuses == REFUSED else [])
    refuses = AGREES
    paths[1].unlink()
    run, of_study = both()
    assert run.startswith(f"{IDENTITY_PREFIX}one: ['one']")
    assert run in of_study and "two" in of_study  # and that one is missing


def test_the_difference_that_other_weights_make_is_shown(study, network):
    run_study(study, formats=(), detect_only=True)
    name = study.images[0]
    network.swaps = 3
    row = int(np.flatnonzero(study.sites(name).class_index == 1)[0])
    study.record(name, reclassed(study.sites(name), row, "SV"))
    history = study.history()
    found = compare_weights(study, other_weights(study))
    assert found.changed == 3
    assert found.classes.loc["2Se", "SV"] == 3
    assert (found.by_hand, found.agree_by_hand) == (1, 1)
    table = found.populations.set_index("class")
    assert table.loc["SV", "columns_new"] - table.loc["SV", "columns_old"] == 3
    assert "3 of" in str(found)
    assert study.history() == history


def test_regions_of_a_hand_are_kept(study, network):
    run_study(study, formats=(), detect_only=True)
    name = study.images[0]
    regions = study.regions(name)
    labels = regions.labels.copy()
    labels[:60] = 0
    study.set_regions(name, replace(regions, labels=labels))
    with_second_image(study)
    found = run_study(study, formats=(), detect_only=True)
    assert study.regions_by(name) == "manual"
    np.testing.assert_array_equal(found.regions[0].labels, labels)


def test_an_empty_or_read_only_study_is_refused(study, tmp_path, network):
    second = open_study(study.path)
    with pytest.raises(DefectStrainError, match="read-only"):
        run_study(second, detect_only=True)
    with (
        create_study(tmp_path / "empty") as empty,
        pytest.raises(DefectStrainError, match="a study without images"),
    ):
        run_study(empty)
