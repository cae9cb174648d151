"""``defectstrain selftest``: its options, and what it writes."""

import numpy as np
import pandas as pd
import pytest
from small_alloy import QUICK, simulated, true_sites

from napari_defectstrain.cli.main import main
from napari_defectstrain.output.figures import files as figure_files
from napari_defectstrain.output.selftest import selftest_text, write_selftest
from napari_defectstrain.pipeline import chain
from napari_defectstrain.pipeline.selftest import TABLE, SelfTest, SelfTestConfig


def made() -> SelfTest:
    image = simulated(seed=1, size=256)
    found = chain.detect([image.image], QUICK, sites=[true_sites(image)])
    rows = [
        ("shifted", "known_1", 7, "spacing of the W triangle", "%", 0.0, 0.1, 0.1, 0.1, 1.0),
        ("shifted", "known_1", 7, "outward displacement", "pm", -9.1, -9.0, 0.2, 0.2, 0.5),
        ("simulated", "SV", 9, "spacing of the W triangle", "%", -4.8, -4.9, 0.1, 0.1, -1.0),
        ("simulated", "SV", 9, "outward displacement", "pm", -9.1, np.nan, 0.2, 0.2, np.nan),
    ]
    return SelfTest(pd.DataFrame(rows, columns=TABLE), found, ("one lost",))


def test_table_figure_and_settings_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(figure_files, "DPI", 50)
    test = made()
    assert write_selftest(test, SelfTestConfig(), tmp_path / "out") == []
    out = tmp_path / "out"
    assert (out / "figures" / "selftest.png").is_file()
    back = pd.read_csv(out / "selftest.csv")
    assert list(back.columns) == TABLE
    assert back["pull"].tolist()[:3] == [1.0, 0.5, -1.0]
    assert '"one lost"' in (out / "selftest.json").read_text()
    assert "simulated: 1 pulls, root mean square 1.00" in selftest_text(test)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--strains", "a,b"], "expected numbers in %"),
        (["--strains", "0,40"], "strains"),
        (["--windows", "1"], "windows"),
        (["--results", "nowhere"], "expected the folder of a run"),
    ],
)
def test_mistakes_are_said_before_any_work(tmp_path, capsys, options, message):
    out = ["--out", str(tmp_path / "out")]
    assert main(["selftest", "image.tif", *out, *options]) == 2
    assert message in capsys.readouterr().err


def test_two_runs_are_not_taken_for_one(tmp_path, capsys):
    for more in ([str(tmp_path / "b")], ["--results", str(tmp_path / "b")]):
        for name in ("a", "b"):
            (tmp_path / name).mkdir(exist_ok=True)
        words = ["selftest", str(tmp_path / "a"), *more, "--out", str(tmp_path / "out")]
        assert main(words) == 2
        assert "selftest: got 2 folders" in capsys.readouterr().err
