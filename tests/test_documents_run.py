"""Every snippet and command of the documents runs, on small stand-ins for the reader's files."""

import contextlib
import fnmatch
import glob
import re
import shlex
import shutil
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import ase.io
import distributed
import numpy as np
import pytest
from documents_stage import ROOT, blocks, commands, lines_of
from microscope_files import write_dm
from small_alloy import QUICK, simulated, true_sites

import napari_defectstrain as nds
from napari_defectstrain import detect
from napari_defectstrain.cli.main import main
from napari_defectstrain.detect.network.config import NetworkConfig, TrainConfig
from napari_defectstrain.io import write_json
from napari_defectstrain.output.figures import files as figure_files
from napari_defectstrain.pipeline import Work
from napari_defectstrain.simulate import samples
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.changing import knock_on, simulate_changes
from napari_defectstrain.simulate.dataset import SimulationConfig, simulate_image
from napari_defectstrain.simulate.samples import write_simulated
from napari_defectstrain.simulate.structure import CrystalConfig

PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "sample_data").glob("*.md")),
    ROOT / "CONTRIBUTING.md",
]

NOT_RUN = {
    "pip install *": "needs the network; test_package.py installs wheel and sdist",
    "napari": "a window; the tests of the widgets open it",
    "make *": "what a developer does, and the workflows",
    ".venv/bin/pre-commit install": "changes the repository's hooks; `make lint` does the same",
    "dask scheduler": "a process without an end; a cluster in this process stands for it",
    "dask worker *": "the same",
    "python benchmarks/*": "minutes to hours; test_benchmarks.py runs parts of them",
    "DEFECTSTRAIN_REAL_IMAGES=*": "needs images that are no part of the project",
    "from dask_jobqueue import *": "needs dask-jobqueue, and SLURM",
    '{"network": *': "an excerpt of a file of settings",
    "defectstrain teach *": "needs a study full of corrections; tests/cli/test_teaching.py",
    "defectstrain run * --taught *": "needs what that leaves; the same tests",
}
"""Lines of blocks that no test runs, and why; of a block of Python the first."""

CHEAPER = {
    "run": "--config quick.json",
    "detect": "--config quick.json",
    "watch": "--config quick.json --idle 0.2 --settle 0 --every 0.1",
    "selftest": "--config quick.json --trial shifted --strains 0,3 --windows 3",
    "audit": "--columns 30",
    "imitate": "--config quick.json",
}
"""What is added to a command: network and judge work as they do, the rest is quick."""

IN_PLACE = {
    "region_*.dm4": "region_1.dm4 region_2.dm4",
    "region_*.tif --out results --material MoS2": "mos2.tif --out results --material MoS2",
    "--repeat 200": "--repeat 2",
    "tcp://node1:8786": "SCHEDULER",
    "jobs=4": "jobs=1",
    "nine_regions_*.tif": "nine_regions_[12].tif",
    "train --config mx2": "train --config tiny.json",
    "train --config imitated/training.json": "train --config tiny.json",
    "train --out FILE": "train --config tiny.json --out made.safetensors",
    "simulate --out DIR": "simulate --out DIR --size 128",
    "--images 3": "--images 1 --size 128",
    "[IMAGE...]": "region_1.tif",
    "IMAGE...": "region_1.tif region_2.tif",
    "merge RESULTS...": "merge monday tuesday",
    "series FILE...": "series dose_series.tif",
    "FILE...": "signal_1.npy signal_2.npy",
    "export DIR": "export results",
    "--truth DIR": "--truth truth",
    "-o DIR": "-o made",
    "--out DIR": "--out made",
    "--class NAME": "--class SV",
    "PRED_DIR TRUTH_DIR": "results truth",
    "watch FOLDER": "watch session",
    "report FOLDER": "report results",
    "RESULTS": "results",
    "selftest RUN": "selftest results",
    "status S": "status alloy",
    "--study S": "--study alloy",
    "flake.defectstrain": "alloy",
}
"""What stands for the reader's files, and for what would take long; in this order."""

MADE_BEFORE = {
    "defectstrain run region_1.tif region_2.tif --out results": ("results",),
    "defectstrain run region_1.tif --out monday": ("monday",),
    "defectstrain run region_2.tif --out tuesday": ("tuesday",),
    "defectstrain detect region_1.tif region_2.tif --out found": ("found",),
    "defectstrain run region_1.dm4 region_2.dm4 --study alloy": ("alloy",),
}
"""Commands, and what of theirs a page may start from."""

BEFORE = {
    "README.md": "paths = ['region_1.tif', 'region_2.tif']",
    "cluster.md": "from napari_defectstrain import read_images\n"
    "images, config = read_images('region_1.tif') + read_images('region_2.tif'), QUICK",
    "conventions.md": "import napari_defectstrain as nds\n"
    "wide = QUICK.replace(average=QUICK.average.replace(window_nm=3.2))\n"
    "wide = wide.replace(columns=wide.columns.replace(fit_radius_pm=1600.0))\n"
    "result = nds.run(nds.load_images(['region_1.tif', 'region_2.tif'])[0], wide)",
    "file-formats.md": "import numpy\n"
    "from napari_defectstrain.io import write_tiff\n"
    "write_tiff('average_SV.tif', numpy.ones((40, 40), 'f4'), 10.03)",
    "simulate-my-image.md": "import napari_defectstrain as nds\n"
    "result = nds.run(nds.load_images(['my_image.tif'])[0], QUICK)",
    "evaluation.md": "import napari_defectstrain as nds\n"
    "(image,), pixel_size_pm = nds.read_images('region_1.tif'), 20.74\n"
    "truth_sites = judged_sites = TRUTH",
}
"""What a reader has when he comes to the snippets of a page."""

SIZE = 320
TRUTH = true_sites(simulated(1, size=SIZE, fractions=(0.04, 0.03, 0.04, 0.015)))


@pytest.fixture(scope="module")
def kept() -> dict[str, object]:
    """Results of stages, by the keys that `--resume` has: no image is worked on twice."""
    return {}


@pytest.fixture(autouse=True)
def quick(monkeypatch, kept):
    """Stages that are kept, pictures that aren't drawn, samples and trainings that are small."""
    monkeypatch.setattr(Work, "_key", lambda self, stage, given: stage.key(given))
    get, put = Work._kept, Work._keep

    def kept_value(self, stage, key):
        return (True, kept[key]) if key in kept else get(self, stage, key)

    def keep(self, stage, key, value):
        kept[key] = value
        put(self, stage, key, value)

    monkeypatch.setattr(Work, "_kept", kept_value)
    monkeypatch.setattr(Work, "_keep", keep)
    monkeypatch.setattr(figure_files, "save_figure", drawn_small)
    monkeypatch.setattr(nds, "RunConfig", QUICK.replace, raising=False)
    monkeypatch.setattr(detect, "TrainConfig", tiny_training, raising=False)
    at_full_size = samples.paper_like

    def small(rng, rotation_deg):
        config = at_full_size(rng, rotation_deg)
        return replace(config, scan=replace(config.scan, shape=(256, 256)))

    monkeypatch.setattr(samples, "paper_like", small)


def drawn_small(figure, path) -> None:
    """A grey picture of the figure's shape: drawing takes most of the time of a quick run."""
    width, height = (max(1, round(20 * inch)) for inch in figure.get_size_inches())
    figure_files.mpl.image.imsave(path, np.zeros((height, width)), format=path.suffix[1:], dpi=20)


def tiny_training(**given: object) -> TrainConfig:
    """Settings of a training that ends within seconds."""
    tiny = TrainConfig(
        network=NetworkConfig(features=(4, 4, 8, 8, 8)),
        steps=2,
        batch=2,
        window_px=48,
        steps_per_epoch=2,
        validation_windows=1,
        calibration_windows=1,
        workers=0,
        device="cpu",
    )
    return tiny.replace(**given)


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    """A folder with all files that the pages name."""
    folder = tmp_path_factory.mktemp("desk")
    for name in ("truth", "images", "session"):
        (folder / name).mkdir()
    made = [
        simulated(i, size=SIZE, name=f"region_{i}", fractions=(0.04, 0.03, 0.04, 0.015))
        for i in (1, 2)
    ]
    rng = np.random.default_rng(0)
    for i, one in enumerate(made, 1):
        write_simulated(one, folder.joinpath)
        shutil.move(folder / f"{one.name}.truth.csv", folder / "truth")
        counts = np.asarray(one.counts, np.float32)
        write_dm(folder / f"{one.name}.dm4", counts, 0.02074)
        shutil.copy(folder / f"{one.name}.dm4", folder / "images")
        np.save(folder / f"signal_{i}.npy", rng.poisson(3, (SIZE // 2, SIZE // 2, 4)))
    shutil.copy(folder / "region_1.tif", folder / "images")
    shutil.copy(folder / "region_1.tif", folder / "session")
    for name in ("test.tif", "my_image.tif"):
        shutil.copy(folder / "region_1.tif", folder / name)
    shutil.copy(folder / "region_1.dm4", folder / "a.dm4")
    shutil.copy(folder / "region_2.dm4", folder / "new.dm4")
    np.save(folder / "region_1.npy", np.asarray(made[0].counts, float))
    write_others(folder)
    frames = rng.poisson(np.asarray(made[0].counts, float) / 2, (3, SIZE, SIZE))
    write_dm(folder / "stack.dm4", frames.astype(np.float32), 0.02074)
    write_json(folder / "quick.json", QUICK.to_dict())
    write_json(folder / "tiny.json", tiny_training().to_dict())
    bundled = files("napari_defectstrain.sample_data")
    for name in ("SV.vasp", "pristine.vasp", "DV.cif", "pristine.cif"):
        supercell = ase.io.read(str(bundled / f"{Path(name).stem}_9x9.extxyz"))
        ase.io.write(folder / name, supercell)
    return folder


def write_others(folder: Path) -> None:
    """An image of MoS2, and frames in which the beam knocks out Se."""
    rng = np.random.default_rng(1)
    at = ScanConfig(shape=(448, 448), pixel_size_pm=12.7, contamination=0.0)
    crystal = CrystalConfig(material="MoS2", fractions=(0.0, 0.0, 0.05, 0.01))
    config = SimulationConfig(crystal=crystal, scan=at)
    write_simulated(simulate_image(config, rng, "mos2"), folder.joinpath)
    at = ScanConfig(shape=(256, 256), pixel_size_pm=30.0, dose_e_per_nm2=3.9e6, frames=1)
    config = SimulationConfig(scan=replace(at, contamination=0.0, jitter_px=0.3))
    made = simulate_changes(config, rng, "dose_series", 6, knock_on(0.01))
    write_simulated(made.image, folder.joinpath)


@pytest.fixture
def here(desk, tmp_path, monkeypatch) -> Path:
    """A copy of that folder, and in it."""
    shutil.copytree(desk, tmp_path / "desk")
    monkeypatch.chdir(tmp_path / "desk")
    return tmp_path / "desk"


def as_run(line: str) -> list[str]:
    """The words of a command, with the stand-ins and what makes it quick."""
    for said, stands in IN_PLACE.items():
        line = re.sub(rf"(?<![\w/]){re.escape(said)}(?![\w.])", stands, line)
    words = shlex.split(line)[1:]
    found = [name for word in words for name in sorted(glob.glob(word)) or [word]]
    return found + shlex.split(CHEAPER.get(words[0], ""))


def do(line: str) -> None:
    """Run a command; what an earlier one of the page left in its folder goes first."""
    words = as_run(line)
    for option in {"--out", "-o"} & set(words):
        out = Path(words[words.index(option) + 1])
        if out.is_dir() and "--resume" not in words:
            shutil.rmtree(out)
    with contextlib.ExitStack() as stack:
        if "SCHEDULER" in words:
            settings = {"n_workers": 1, "processes": False, "dashboard_address": None}
            cluster = stack.enter_context(distributed.LocalCluster(protocol="tcp", **settings))
            words[words.index("SCHEDULER")] = cluster.scheduler_address
        try:
            code = main(words)
        except SystemExit as end:  # --version
            code = end.code
    assert not code, line


def needs_no_run(line: str) -> list[str]:
    """The patterns of `NOT_RUN` that a line matches."""
    return [pattern for pattern in NOT_RUN if fnmatch.fnmatchcase(line, pattern)]


def test_every_line_of_a_block_is_run_or_listed():
    unlisted, seen = [], set()
    for page in PAGES:
        for language, text in blocks(page):
            if language == "text":  # what the program says
                continue
            lines = [text.strip().split("\n")[0]] if language == "python" else lines_of(text)
            for line in lines:
                known = needs_no_run(line)
                seen.update(known)
                is_run = language == "python" or line.startswith("defectstrain ")
                if not (known or is_run):
                    unlisted.append(f"{page.name}: {line}")
    assert unlisted == []
    assert seen == set(NOT_RUN)


def prepare(page: Path) -> None:
    """What the commands of a page take as made."""
    text = "\n".join(" ".join(as_run(line)) for line in commands(page))
    for line, names in MADE_BEFORE.items():
        if any(re.search(rf"(?<!--out ){name}\b", text) for name in names):
            do(line)


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda page: page.name)
def test_what_a_page_says_runs(page, here):
    prepare(page)
    names = {"__name__": "__main__", "QUICK": QUICK, "TRUTH": TRUTH}
    exec(BEFORE.get(page.name, ""), names)
    for language, text in blocks(page):
        if language == "python" and not needs_no_run(text.strip().split("\n")[0]):
            if "create_study(" in text:  # not beside the one that the commands made
                shutil.rmtree("alloy.defectstrain", ignore_errors=True)
            for said in ("jobs=4", "nine_regions_*.tif"):
                text = text.replace(said, IN_PLACE[said])
            exec(compile(text, page.name, "exec"), names)
        for line in lines_of(text) if language != "python" else ():
            if line.startswith("defectstrain ") and not needs_no_run(line):
                do(line)
