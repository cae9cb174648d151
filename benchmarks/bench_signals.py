"""Stop commands at random times by signals, and look at what they leave.

``python benchmarks/bench_signals.py [--signals 40] [--seed N]`` starts ``run``, ``detect``,
``train`` and ``simulate`` on tiny inputs, in new folders and with ``--force`` over finished
results, and sends SIGINT, SIGTERM or SIGKILL. After each it checks that

* nothing but SIGKILL ends in anything else than one line and the exit code of the signal,
* no ``run.json`` (or other manifest) stands beside files that aren't those it lists, by their hash,
  unless the folder is marked as unfinished,
* weights of an earlier training don't pass for those of the stopped one,
* after the next run into the folder no temporary file and no mark is left.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

EARLIEST_S = 0.4
"""Before this the interpreter itself is starting, and no program of Python's can help it [s]."""


@dataclass(frozen=True)
class Job:
    """A command, its output and the manifest in it."""

    name: str
    arguments: tuple[str, ...]
    out: Path
    manifest: str | None
    quickly: tuple[str, ...] = ()
    """Arguments of the next run into the same folder, which need not be as long."""

    def command(self, *more: str) -> list[str]:
        program = [sys.executable, "-m", "napari_defectstrain"]
        return [*program, self.name, *self.arguments, "--out", str(self.out), *more]

    def next_run(self) -> list[str]:
        name = "detect" if self.manifest == "run.json" else self.name
        return [*self.command()[:3], name, *self.quickly, "--out", str(self.out), "--force"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=int, default=40)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    rng = random.Random(seed)
    print(f"seed {seed}")
    complaints: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        jobs = prepare(Path(name))
        whole = {job.name: finished(job, Path(name) / f"whole_{job.name}") for job in jobs}
        stopped = 0
        for i in range(options.signals):
            job, force = jobs[i % len(jobs)], i % 8 >= 4
            # SIGKILL is half of them: it is the one that nothing can be done about
            signum = (signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGTERM)[i // 8 % 4]
            folder, seconds = whole[job.name]
            found, hit = once(job, force, signum, rng.uniform(EARLIEST_S, seconds), folder)
            stopped += hit
            what = f"{i + 1:3d} {job.name:8s} {'--force' if force else '       '} {signum.name}"
            print(f"{what} {'stopped' if hit else 'had ended'}: {'; '.join(found) or 'ok'}")
            complaints += [f"{what}: {text}" for text in found]
    print(f"{options.signals} signals, {stopped} before the end, {len(complaints)} complaints")
    return 1 if complaints else 0


def prepare(folder: Path) -> list[Job]:
    """Tiny inputs: an image with its true columns, settings that make every stage quick."""
    images = folder / "images"
    simulate = Job(
        "simulate",
        ("--images", "6", "--size", "200"),
        folder / "simulated",
        "simulation.json",
        ("--images", "1", "--size", "64"),
    )
    made = subprocess.run(
        [*simulate.command()[:4], "--size", "320", "--seed", "1", "--out", str(images)],
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    stem = "simulated_1"
    shutil.copy(images / f"{stem}.truth.csv", images / f"{stem}.sites.csv")
    quick = {
        "average": {"window_nm": 2.0},
        "columns": {"model": "gaussian", "compare": False},
        "bootstrap": 10,
    }
    (folder / "quick.json").write_text(json.dumps(quick))
    tiny = {
        "network": {"features": [4, 4, 8, 8, 8]},
        "batch": 2,
        "window_px": 48,
        "steps": 12,
        "steps_per_epoch": 2,
        "validation_windows": 2,
        "calibration_windows": 3,
        "workers": 2,
    }
    (folder / "tiny.json").write_text(json.dumps(tiny))
    image = str(images / f"{stem}.tif")
    given = ("--config", str(folder / "quick.json"), "--sites", str(images))
    (folder / "weights").mkdir()
    tables = (image, "--sites", str(images))
    weights = folder / "weights" / "w.safetensors"
    training = ("--config", str(folder / "tiny.json"))
    return [
        Job("run", (image, *given), folder / "run", "run.json", tables),
        Job("detect", (image,), folder / "detect", "run.json", tables),
        Job("train", training, weights, None, (*training, "--steps", "2")),
        simulate,
    ]


def finished(job: Job, keep: Path) -> tuple[Path, float]:
    """A copy of what the command leaves when it isn't stopped, and how long it takes [s]."""
    start = time.monotonic()
    done = subprocess.run(job.command(), capture_output=True, text=True)
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    shutil.move(place(job), keep)
    print(f"{job.name}: {seconds:.1f} s")
    return keep, seconds


def place(job: Job) -> Path:
    """The folder that a command writes into."""
    return job.out if job.manifest else job.out.parent


def once(
    job: Job, force: bool, signum: signal.Signals, delay_s: float, whole: Path
) -> tuple[list[str], bool]:
    """Start, stop and repeat a command; what is wrong, and whether it was stopped."""
    folder = place(job)
    shutil.rmtree(folder, ignore_errors=True)
    before = {}
    if force:
        shutil.copytree(whole, folder)
        before = hashes(folder)
    elif not job.manifest:
        folder.mkdir()
    arguments = job.command("--force") if force else job.command()
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    time.sleep(delay_s)
    if signum is signal.SIGINT and process.poll() is None:
        os.killpg(process.pid, signum)  # Ctrl-C reaches the workers of a training too
    else:
        process.send_signal(signum)
    _, said = process.communicate(timeout=300)
    hit = process.returncode != 0
    found = complaints_of(said, process.returncode, signum, hit) + stale(job, folder, before)
    again = subprocess.run(job.next_run(), capture_output=True, text=True, timeout=300)
    if again.returncode:
        found.append(f"can't be repeated: {again.stderr.strip()}")
    left = [p.name for p in folder.rglob("*") if ".part" in p.name or "unfinished" in p.name]
    left += [p.name for p in folder.rglob("*.earlier")]
    if left:
        found.append(f"left over: {', '.join(left)}")
    found += stale(job, folder, {})
    return found, hit


def complaints_of(said: str, code: int, signum: signal.Signals, hit: bool) -> list[str]:
    """What is wrong with the end of a process."""
    if not hit:
        return []
    if signum is signal.SIGKILL:
        return [] if code == -signum else [f"exit code {code}: {said.strip()}"]
    errors = [line for line in said.splitlines() if "warning:" not in line]
    found = [] if code == 128 + signum else [f"exit code {code}"]
    if len(errors) != 1 or "stopped" not in errors[0]:
        found.append(f"said {said.strip()!r}")
    return found


def stale(job: Job, folder: Path, before: dict[str, str]) -> list[str]:
    """What pretends to belong together and doesn't."""
    if job.manifest is None:
        # of an earlier training nothing may keep its name but what the stop came before
        now = hashes(folder)
        same = [name for name in ("w.safetensors", "w.safetensors.checkpoint") if name in now]
        kept = [name for name in same if before.get(name) == now[name]]
        return [f"old {', '.join(kept)}"] if len(kept) == 1 else []
    path = folder / job.manifest
    if not path.exists() or list(folder.glob("*.unfinished.json")):
        return []
    manifest = json.loads(path.read_text())
    now = hashes(folder)
    return [
        f"{job.manifest} lists another {name}"
        for name, known in manifest["sha256"].items()
        if now.get(name) != known
    ]


def hashes(folder: Path) -> dict[str, str]:
    """Hash of every file, by its path in the folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
