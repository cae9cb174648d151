"""What a run writes of its columns."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from small_alloy import simulated, true_sites

from napari_defectstrain.crystal.pattern_counts import PatternConfig
from napari_defectstrain.crystal.populations import population_table
from napari_defectstrain.io.out_folder import writing_into
from napari_defectstrain.output.results import RUN_FILE, planned_files, write_detections
from napari_defectstrain.pipeline.runs import RunConfig, RunResult


@pytest.mark.parametrize("weighed", [True, False])
def test_weights_are_drawn_where_columns_were_weighed(tmp_path, weighed):
    made = simulated(size=200)
    sites = true_sites(made)
    if weighed:
        sigma = np.full(len(sites), 0.03)
        weight = np.array([1.0, 0.7, 1.05, 1.4, 0.35, 0.0, 2.0])[sites.class_index]
        sites = replace(sites, weight=weight, weight_sigma=sigma)
    table = population_table(["alloy"], [sites], sites.class_names)
    result = RunResult(RunConfig(), (made.image,), (sites,), table, None)
    with writing_into(tmp_path / "out", "detect", RUN_FILE) as folder:
        write_detections(result, folder, ("png", "svg"))
    drawn = tmp_path / "out" / "figures" / "weights.png"
    assert drawn.is_file() == weighed
    assert drawn.with_suffix(".svg").is_file() == weighed
    assert "figures/weights.png" in planned_files(["a"], result.material)


def test_what_says_whether_defects_lie_at_random_is_written(tmp_path):
    made = simulated(size=256)
    sites = true_sites(made)
    table = population_table(["alloy"], [sites], sites.class_names)
    config = RunConfig().replace(patterns=PatternConfig(simulations=99))
    result = RunResult(config, (made.image,), (sites,), table, None)
    out = tmp_path / "out"
    with writing_into(out, "detect", RUN_FILE) as folder:
        write_detections(result, folder)
    planned = planned_files(["a"], result.material)
    for name in ("pair_correlation", "clusters", "nearest_defects"):
        assert set(pd.read_csv(out / f"{name}.csv")["image"]) == {"alloy", "all"}
        assert f"{name}.csv" in planned
    for name in ("populations", "pair_correlation", "clusters"):
        assert (out / "figures" / f"{name}.png").is_file()
        assert f"figures/{name}.png" in planned
