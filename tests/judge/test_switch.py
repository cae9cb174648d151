"""The judge in the chain: on unless it is switched off; weights travel with their columns."""

from dataclasses import replace

import numpy as np
import pytest
from judge_stage import SCAN, as_found, made

from napari_defectstrain.cli.main import _run_config, build_parser
from napari_defectstrain.detect.finding import predict
from napari_defectstrain.io.tables import read_sites, sites_table
from napari_defectstrain.judge.judging import JudgeConfig, Judgement
from napari_defectstrain.materials import OpenClass, get_material, with_classes
from napari_defectstrain.pipeline import by_image, chain
from napari_defectstrain.pipeline.chain import RunConfig, detect_images
from napari_defectstrain.types import DefectStrainError
from napari_defectstrain.widgets.layers.corrections import correct_sites


@pytest.fixture
def network(monkeypatch):
    """A network that mistakes three columns in ten."""
    sites = as_found(made(), 0.3)

    def detect_columns(image, config, progress):
        return predict.Detection(sites, SCAN.pixel_size_pm, "0", "WSe2", (), (1.0, 2.0))

    monkeypatch.setattr(predict, "detect_columns", detect_columns)
    return sites


@pytest.mark.slow
def test_the_chain_judges_what_the_network_found(network):
    found = detect_images([made().image], RunConfig())[0]
    assert found.sites.weight is not None
    assert (found.sites.class_index != network.class_index).sum() > 50
    assert found.overconfidence == ()  # the network's, which these probabilities aren't


def test_switched_off_the_networks_answer_stands(network):
    found = detect_images([made().image], RunConfig(judge=JudgeConfig(enabled=False)))[0]
    assert found.sites is network
    assert found.overconfidence == (1.0, 2.0)


def test_images_of_a_run_are_judged_together_and_what_they_share_is_said(network, monkeypatch):
    sixth = OpenClass("chalcogen", 0.52, 0.003, 0.031, 0.002, 480.0)
    judged = []

    def judge_weighed(sites, weighed, material, config):
        judged.append(len(weighed))
        return [Judgement(one, open_classes=(sixth,)) for one in sites]

    monkeypatch.setattr(by_image, "judge_weighed", judge_weighed)
    image = made().image
    found = chain.detect([image, replace(image, name="other")], RunConfig())
    assert judged == [2]
    assert found.open_classes == (sixth,)
    assert found.warnings.count(sixth.note) == 1
    assert "NAME=0.52" in sixth.note


def test_the_command_line_switches_it_off():
    command = ["run", "image.tif", "--out", "there"]
    assert _run_config(build_parser().parse_args(command)).judge.enabled
    config = _run_config(build_parser().parse_args([*command, "--no-judge"]))
    assert not config.judge.enabled
    assert RunConfig.from_dict(config.to_dict()) == config


def test_named_classes_are_part_of_the_material():
    command = ["run", "a.tif", "--out", "there", "--class", "SSe=.52", "--class", "Mo=0.4@metal"]
    options = build_parser().parse_args(command)
    config = _run_config(options)
    assert config.material == "WSe2 + SSe=0.52 + Mo=0.4@metal"
    assert RunConfig.from_dict(config.to_dict()) == config
    assert get_material(config.material).all_class_names[-2:] == ("SSe", "Mo@metal")
    with pytest.raises(DefectStrainError, match="SSe: got a class by weight and no judge"):
        chain.check_weights(config.replace(judge=JudgeConfig(enabled=False)))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("SSe", "expected NAME=WEIGHT"),
        ("SSe=heavy", "expected NAME=WEIGHT"),
        ("SSe=7", "a weight of -0.2 to 4"),
        ("sv=0.5", "got the name twice"),
        ("x=0.5", "the name that tables give to the substituted fraction"),
        ("../x=0.5", "expected NAME=WEIGHT"),
    ],
)
def test_classes_that_are_none_are_refused(given, match):
    with pytest.raises(DefectStrainError, match=match):
        with_classes("WSe2", [given])


def weighed():
    sites = as_found(made(), 0.0)
    weight = np.linspace(0.0, 1.5, len(sites)).round(6)
    weight[3] = np.nan
    return replace(sites, weight=weight, weight_sigma=np.full(len(sites), 0.04))


def test_weights_survive_the_table(tmp_path):
    sites = weighed()
    sites_table(sites, 20.0).to_csv(tmp_path / "a.csv", index=False)
    back = read_sites(tmp_path / "a.csv", sites.class_names)
    np.testing.assert_array_equal(back.weight, sites.weight)
    np.testing.assert_array_equal(back.weight_sigma, sites.weight_sigma)
    assert not back.extra
    plain = replace(sites, weight=None, weight_sigma=None)
    assert "weight" not in sites_table(plain, 20.0)


def test_a_weight_that_is_the_users_own_stays_as_it_stands(tmp_path):
    table = sites_table(weighed(), 20.0)
    table["weight"], table["weight_sigma"] = "heavy", "?"
    table.to_csv(tmp_path / "a.csv", index=False)
    back = read_sites(tmp_path / "a.csv", weighed().class_names)
    assert back.weight is None
    assert set(back.extra["weight"]) == {"heavy"}


def test_subsets_and_corrections_keep_weights_at_their_columns():
    sites = weighed()
    chosen = np.arange(len(sites)) % 2 == 0
    np.testing.assert_array_equal(sites.subset(chosen).weight, sites.weight[chosen])
    defects = np.flatnonzero(sites.class_index > 1)
    added = np.array([[2.0, 2.0]])
    corrected = correct_sites(
        sites,
        np.concatenate([sites.position_px[defects], added]),
        np.append(sites.class_index[defects], 6),
        np.append(np.zeros(len(defects), dtype=bool), True),
    )
    np.testing.assert_array_equal(corrected.weight[: len(sites)], sites.weight)
    assert len(corrected) == len(sites) or np.isnan(corrected.weight[-1])
