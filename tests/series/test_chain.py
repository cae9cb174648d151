"""From frames to rates, by the network and the judge, on a small field."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

from napari_defectstrain.cli.main import main
from napari_defectstrain.materials import ROLES, WSE2
from napari_defectstrain.series import (
    SeriesConfig,
    chain,
    changes_within,
    records,
    register_series,
    series_text,
)
from napari_defectstrain.series.rates import DOSE as DOSE_AXIS
from napari_defectstrain.series.rates import TIME, ChangedDose
from napari_defectstrain.series.settings import SeriesAxis
from napari_defectstrain.simulate import (
    SimulationConfig,
    knock_on,
    simulate_changes,
    write_simulated,
)
from napari_defectstrain.types import CalibratedImage, DefectStrainError

DOSE = 3e6


@pytest.fixture(scope="module")
def made():
    config = SimulationConfig()
    scan = config.scan.replace(
        shape=(224, 224), pixel_size_pm=36.0, dose_e_per_nm2=DOSE, frames=1, jitter_px=0.3
    )
    return simulate_changes(
        config.replace(scan=scan.replace(read_noise=0.12)),
        np.random.default_rng(7),
        "beam",
        8,
        knock_on(0.02),
        drift_px=(0.6, -0.4),
    )


@pytest.fixture(scope="module")
def written(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    write_simulated(made.image, lambda name: folder / name)
    out = folder / "out"
    arguments = ["series", str(folder / "beam.tif"), "--out", str(out), "--per-sum", "1"]
    assert main([*arguments, "--jitter", "off"]) == 0
    return out


@pytest.mark.slow
def test_rates_are_within_their_errors_and_links_are_true(made, written):
    rates = pd.read_csv(written / "rates.csv")
    true = made.rates(DOSE * 1e-6)
    for (before, after), rate in true.items():
        names = [WSE2.class_names[ROLES.index(role)] for role in (before, after)]
        row = rates[(rates["from"] == names[0]) & (rates["to"] == names[1])].iloc[0]
        assert row["low_per_1e6_e_nm2"] <= rate <= row["high_per_1e6_e_nm2"]
    atom = rates[rates["to"] == "one Se less"].iloc[0]
    # 1 barn is 1e-10 nm2
    assert atom["cross_section_barn"] == pytest.approx(atom["rate_per_1e6_e_nm2"] * 1e4)
    sites = pd.read_csv(written / "tracks.csv")
    drift = pd.read_csv(written / "beam.drift.csv")
    about = json.loads((written / "series.json").read_text())
    assert len(drift) == 8 and about["chain"]["sites"] > 350
    # the canvas begins where the last frame's field does
    offset = np.array([0.0, 0.0])
    place = made.image.position_px
    found = sites[["y_px", "x_px"]].to_numpy()
    shift = [np.median(cKDTree(place).query(found + o)[0]) for o in np.ndindex(8, 8)]
    offset = np.array(list(np.ndindex(8, 8))[int(np.argmin(shift))], dtype=float)
    near, which = cKDTree(place).query(found + offset)
    assert np.quantile(near, 0.99) < 3
    x2 = ROLES.index("X2")
    label = np.full(made.class_index.shape, -1)
    label[sites["frame_first"], which] = sites["track"]
    inner = np.all((place > 24) & (place < 200), axis=1)
    defect = (made.class_index != x2) & (made.class_index != 0) & inner
    links = defect[1:] & defect[:-1]
    told = (label[1:] >= 0) & (label[1:] == label[:-1])
    assert (told & links).sum() >= 0.98 * links.sum() > 200
    assert (told & inner & ~links).sum() <= 0.02 * links.sum()


@pytest.mark.slow
def test_tables_agree_with_each_other(written):
    series, events = (pd.read_csv(written / f"{n}.csv") for n in ("series", "events"))
    holes = pd.read_csv(written / "holes.csv")
    assert series["sum"].nunique() == 8 == len(holes)
    sv = series[series["class"] == "SV"]
    assert (sv["low"] <= sv["fraction"]).all() and (sv["fraction"] <= sv["high"]).all()
    assert (sv["crystal_low"] <= sv["low"]).all()
    assert sv["dose_e_per_nm2"].tolist() == pytest.approx([DOSE * (k + 0.5) for k in range(8)])
    rise = sv["columns"].iloc[-1] - sv["columns"].iloc[0]
    net = ((events["to"] == "SV").sum()) - ((events["from"] == "SV").sum())
    assert rise == pytest.approx(net, abs=2)
    assert set(events["kind"]) <= {"birth", "death", "change", "migration"}
    before = events["dose_e_per_nm2_low"] <= events["dose_e_per_nm2"]
    assert (before & (events["dose_e_per_nm2"] <= events["dose_e_per_nm2_high"])).all()
    assert (written / "figures" / "series.png").stat().st_size > 10_000
    changed = pd.read_csv(written / "changed_columns.csv")
    assert len(changed) > 20


@pytest.mark.slow
def test_frames_of_a_region_are_only_summed_and_warned_of(made, tmp_path, capsys):
    write_simulated(made.image, lambda name: tmp_path / name)
    out = tmp_path / "out"
    arguments = ["series", str(tmp_path / "beam.tif"), "--out", str(out), "--kind", "frames"]
    assert main([*arguments, "--jitter", "off", "--exclude", "7"]) == 0
    said = capsys.readouterr()
    assert "columns changed while the 8 frames were taken" in said.err
    assert "1 left out" in said.out
    assert (out / "beam.tif").is_file() and not (out / "rates.csv").exists()
    assert json.loads((out / "series.json").read_text())["left_out"] == [7]


def test_sums_say_which_of_them_mix_before_and_after(made):
    images = [CalibratedImage(f.astype(float), 36.0, "beam") for f in made.image.counts]
    registered = register_series(images, chain.RunConfig(series=_rigid()))
    groups = [np.arange(4), np.arange(4, 8)]
    (text,) = changes_within(registered.changed, groups)
    assert "of 2 sums differ by more than noise" in text and "sum 1 (frames 0 to 3)" in text
    # a change between the two sums is in neither
    assert registered.changed is not None
    between = registered.changed.frame == 4
    told = sum(int(n) for n in re.findall(r"frames \d+ to \d+\): (\d+)", text))
    assert told == (~between).sum()
    assert changes_within(registered.changed, [np.array([t]) for t in range(8)]) == ()


def test_the_time_of_a_frame_that_is_given_is_that_of_its_drift_too(made):
    metadata = {"dwell_time_us": 1.0}
    images = [CalibratedImage(f.astype(float), 36.0, "beam", metadata) for f in made.image.counts]
    run = chain.RunConfig(series=_rigid())
    result = chain.analyse_series(images[:3], SeriesConfig(kind="frames", frame_time_s=2.0), run)
    assert result.registered.drift["time_s"].tolist() == [1.0, 3.0, 5.0]  # middles


def _rigid():
    from napari_defectstrain.frames import FrameConfig

    return FrameConfig(jitter="off")


def test_what_makes_no_series_is_refused(made, tmp_path, capsys):
    with pytest.raises(DefectStrainError, match=r"got 1 frame\(s\)"):
        register_series([CalibratedImage(np.zeros((64, 64)), 30.0)], chain.RunConfig())
    with pytest.raises(DefectStrainError, match="a dose of a frame and a current"):
        SeriesConfig(dose_e_per_nm2=1e6, current_pa=30.0)
    with pytest.raises(DefectStrainError, match="leave frames out|which would leave"):
        SeriesConfig(per_sum=2, step=3)
    assert main(["series", "x.tif", "--out", str(tmp_path), "--exclude", "a"]) == 2
    assert "--exclude: got 'a', expected numbers of frames" in capsys.readouterr().err


def test_without_histories_the_text_is_short(made):
    images = [CalibratedImage(f.astype(float), 36.0, "beam") for f in made.image.counts[:3]]
    run = chain.RunConfig(series=_rigid())
    result = chain.analyse_series(images, SeriesConfig(kind="frames"), run, "few")
    assert series_text(result) == "few: 3 frames, 0 left out"
    assert result.histories is None


def test_frames_of_unlike_contrast_and_few_sums_are_said():
    good = SimpleNamespace(gain=np.array([0.4, 1.0, 1.2, 0.1]), bad=np.array([False] * 3 + [True]))
    (note,) = chain._unequal(good, SeriesAxis(DOSE_AXIS, 4.0, 4e6, None))
    assert note.startswith("frame 2 has 3.0 times the contrast of frame 0")
    assert "4e+06 e-/nm2 for each" in note
    assert not chain._unequal(good, SeriesAxis(TIME, 2.0, 4e6, 2.0))
    alike = SimpleNamespace(gain=np.array([0.9, 1.0, 1.2]), bad=np.zeros(3, dtype=bool))
    assert not chain._unequal(alike, SeriesAxis(DOSE_AXIS, 4.0, 4e6, None))
    sliding = [np.arange(k, k + 4) for k in range(0, 9, 2)]
    assert chain._without_common_frames(sliding) == 3
    assert chain._without_common_frames(sliding[::2]) == 3


def test_a_fraction_that_never_changes_is_said_so():
    one = ChangedDose(0.9, np.inf, 12.0, np.inf, True, 0.86)
    found = SimpleNamespace(changed_dose=one, axis=SeriesAxis(DOSE_AXIS, 4.0, 4e6, None))
    text = records._changed_text(found)
    assert "never, by these rates: 86 %" in text and "more than 12 1e6 e-/nm2" in text
    none = SimpleNamespace(changed_dose=replace(one, most=0.0), axis=found.axis)
    assert "none changed" in records._changed_text(none)
