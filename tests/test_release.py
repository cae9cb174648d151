"""What a release is made with says the same thing everywhere: bounds, pins, versions, systems."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import napari_defectstrain

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file(), reason="needs the source tree"
)


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements(lines: list[str]) -> dict[str, Requirement]:
    found = [Requirement(line) for line in lines]
    return {canonicalize_name(one.name): one for one in found}


def pins(name: str) -> dict[str, list[Version]]:
    """Versions of each package in a file of constraints; several where they differ by system."""
    found: dict[str, list[Version]] = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            package, version = line.split(";")[0].strip().split("==")
            found.setdefault(canonicalize_name(package), []).append(Version(version))
    return found


def test_the_oldest_dependencies_are_the_lower_bounds(project):
    needed, oldest = requirements(project["dependencies"]), pins("constraints-oldest.txt")
    assert list(oldest) == list(needed)
    for name, requirement in needed.items():
        (bound,) = requirement.specifier
        assert bound.operator == ">="
        (pin,) = oldest[name]
        # the first release at or above the bound: ">=2024.7" is met by 2024.7.2 first
        low = Version(bound.version).release
        assert pin.release[: len(low)] == low, name


def test_extras_ask_for_nothing_older_than_the_core_does(project):
    needed = requirements(project["dependencies"])
    for lines in project["optional-dependencies"].values():
        for name, requirement in requirements(lines).items():
            if name in needed:
                assert requirement.specifier == needed[name].specifier


def test_the_lock_holds_every_dependency_within_its_bounds(project):
    locked, extras = pins("constraints-lock.txt"), project["optional-dependencies"]
    wanted = [project["dependencies"], extras["gui"], extras["zarr"], extras["cluster"]]
    for lines in wanted:
        for name, requirement in requirements(lines).items():
            for version in locked[name]:
                assert version in requirement.specifier, f"{name}: run make lock"


def test_the_lock_has_the_versions_that_are_tested():
    tested, locked = pins("constraints.txt"), pins("constraints-lock.txt")
    shared = tested.keys() & locked.keys()
    assert {"torch", "napari"} <= shared
    assert {name: tested[name] for name in shared} == {name: locked[name] for name in shared}


def test_the_container_takes_the_torch_of_the_lock():
    (torch,) = pins("constraints-lock.txt")["torch"]
    assert f"ARG TORCH=torch=={torch}+cpu\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_citation_is_of_this_version_and_names_the_method(project):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == napari_defectstrain.__version__
    assert citation["license"] == project["license"]
    assert [list(author) for author in citation["authors"]] == [["name"]]
    (method,) = citation["references"]
    assert method["doi"] in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_changelog_has_a_heading_of_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(napari_defectstrain.__version__)}\b", text, re.MULTILINE)


@pytest.mark.skipif(
    importlib.util.find_spec("check_jsonschema") is None, reason="needs the extra dev"
)
@pytest.mark.parametrize(
    ("schema", "paths"),
    [("github-workflows", WORKFLOWS), ("citation-file-format", [ROOT / "CITATION.cff"])],
    ids=["workflows", "citation"],
)
def test_what_others_read_is_as_their_schemas_say(schema, paths):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run([*command, *map(str, paths)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_are_pinned_bounded_and_may_only_read(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 120
        assert "latest" not in str(job["runs-on"])
        for step in job["steps"]:
            assert {"run", "uses"} & set(step)
            assert re.fullmatch(r"[\w./-]+@v\d+\.\d+\.\d+", step.get("uses", "a/b@v1.2.3"))
            # what "make" is asked for is there
            for target in re.findall(r"make ([a-z -]+)", step.get("run", "")):
                makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
                assert all(f"\n{name}: " in makefile for name in target.split())


def test_three_systems_and_every_python_are_tested(project):
    tests = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    matrix = tests["jobs"]["tests"]["strategy"]["matrix"]
    assert [name.split("-")[0] for name in matrix["system"]] == ["ubuntu", "macos", "windows"]
    named = [re.fullmatch(r".*Python :: (3\.\d+)", line) for line in project["classifiers"]]
    assert matrix["python"] == [match[1] for match in named if match]
    low, high = (
        Version(part.version) for part in Requirement(f"x{project['requires-python']}").specifier
    )
    for python in matrix["python"]:
        assert min(low, high) <= Version(python) < max(low, high)


def test_prereleases_are_tried_every_week():
    workflow = yaml.safe_load(
        (ROOT / ".github/workflows/prereleases.yml").read_text(encoding="utf-8")
    )
    # YAML 1.1 reads the key "on" as true
    (schedule,) = workflow[True]["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", schedule["cron"])
    runs = [step.get("run", "") for step in workflow["jobs"]["tests"]["steps"]]
    assert any("--pre" in run and "constraints" not in run for run in runs)
