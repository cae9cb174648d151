"""How docs/benchmarks.md is brought up to date."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def run_all():
    spec = importlib.util.spec_from_file_location("run_all", BENCHMARKS / "run_all.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_benchmark_is_there_with_its_place_in_the_document(run_all) -> None:
    document = run_all.DOCUMENT.read_text(encoding="utf-8")
    for name, (script, _) in run_all.BENCHMARKS.items():
        assert (BENCHMARKS / script[0]).is_file()
        changed = run_all.with_section(document, name, "other figures")
        assert f"<!-- begin {name} -->\nother figures\n<!-- end {name} -->" in changed
        # and nothing else is touched
        assert run_all.with_section(changed, name, "") == run_all.with_section(document, name, "")


def test_tables_are_taken_out_of_what_is_printed(run_all) -> None:
    printed = "a line\n| a | b |\n| --- | --- |\n| 1 | 2 |  \n\nmore\n\n| c |\n| --- |\n"
    assert run_all.tables_in(printed) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n\n| c |\n| --- |"
    between = "| a |\n| --- |\n| 1 |\n    where time went\n| 2 |\n"
    assert run_all.tables_in(between) == "| a |\n| --- |\n| 1 |\n| 2 |"


def test_a_section_that_is_missing_is_said(run_all) -> None:
    with pytest.raises(SystemExit, match="no markers of whole-run"):
        run_all.with_section("# Benchmarks\n", "whole-run", "figures")


def test_figures_come_with_command_machine_and_date(run_all, tmp_path, monkeypatch) -> None:
    (tmp_path / "bench.py").write_text("import sys\nprint('|', *sys.argv[1:], '|')\n")
    monkeypatch.setattr(run_all, "FOLDER", tmp_path)
    monkeypatch.setattr(run_all, "BENCHMARKS", {"one": (["bench.py", "--n", "3"], ["--short"])})
    document = tmp_path / "benchmarks.md"
    document.write_text("before\n<!-- begin one -->\nold\n<!-- end one -->\nafter\n")
    monkeypatch.setattr(run_all, "DOCUMENT", document)
    monkeypatch.setattr(sys, "argv", ["run_all.py", "--quick"])
    run_all.main()
    text = document.read_text()
    assert text.startswith("before\n<!-- begin one -->\n`python benchmarks/bench.py --n 3 --short`")
    assert " cores of " in text
    assert text.endswith("\n\n| --n 3 --short |\n<!-- end one -->\nafter\n")
