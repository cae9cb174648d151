"""Damaged files: does every one end in an image or in one line?

    python benchmarks/fuzz_files.py --files 2000 --detect 100 --seed 0

Small files of every format are damaged by flipped bits, cuts, overwritten numbers of their headers,
swapped and doubled pieces, and pieces of one another; each is read in a process of its own with
limits on time and memory. Files that can still be read are taken through the whole detection. The
seed of a file is printed where it failed, and makes the same file again:

    python benchmarks/fuzz_files.py --only SEED

Failures are: a traceback other than DefectStrainError, more than `--seconds`, more memory than
`--gigabytes` (which an unchecked size asks for), a crash of the process.
"""

import argparse
import multiprocessing
import os
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from microscope_files import write_dm, write_emd, write_mrc, write_ser, write_velox

from napari_defectstrain.crystal.region_files import read_regions
from napari_defectstrain.crystal.structure_files import read_structure
from napari_defectstrain.io.files import read_images, write_tiff
from napari_defectstrain.types import DefectStrainError

HEADER_BYTES = 4096
NUMBERS = (0, 1, -1, 2, 3, 4, 7, 8, 15, 16, 18, 20, 21, 100, 1000, 65535, 10**6, 2**31 - 1, 2**31)
NUMBERS += (2**32 - 1, 2**40, 2**62, 2**63 - 1)
SIDE = 96
"""Side of the seed images [px]: small, so that most flips hit what matters."""


def seed_files(folder: Path, image: np.ndarray) -> list[Path]:
    """One good file of each format and kind."""
    stack = np.stack([image, np.roll(image, 3, 0), np.roll(image, 5, 1)])
    files = [
        write_dm(folder / "a.dm3", image),
        write_dm(folder / "b.dm4", image),
        write_dm(folder / "c.dm4", stack),
        write_ser(folder / "a_1.ser", stack, 2e-11),
        write_mrc(folder / "a.mrc", image, 0.2),
        write_emd(folder / "berkeley.emd", image, 0.02),
        write_velox(folder / "velox.emd", {"BF": image + 1, "HAADF": image}, 2e-11),
    ]
    write_tiff(folder / "own.tif", image, 20.0, {"beam_energy_kev": 80.0})
    tifffile.imwrite(folder / "plain.tif", image)
    tifffile.imwrite(folder / "lzw.tif", image, compression="lzw", predictor=True)
    tiles = {"tile": (32, 32), "compression": "zlib", "photometric": "minisblack"}
    tifffile.imwrite(folder / "tiles.tif", stack, **tiles)
    tifffile.imwrite(folder / "float16.tif", image.astype(np.float16))
    ome = {"axes": "CYX", "Channel": {"Name": ["BF", "HAADF"]}, "PhysicalSizeX": 0.02}
    ome |= {"PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.02, "PhysicalSizeYUnit": "nm"}
    tifffile.imwrite(folder / "a.ome.tif", stack[:2], metadata=ome)
    tifffile.imwrite(folder / "imagej.tif", stack, imagej=True, metadata={"axes": "TYX"})
    np.save(folder / "a.npy", image)
    np.save(folder / "half.npy", image.astype(np.float16))
    Image.fromarray(image.astype(np.uint8)).save(folder / "a.png")
    Image.fromarray(image).save(folder / "deep.png")
    files += sorted([*folder.glob("*.tif"), *folder.glob("*.npy"), *folder.glob("*.png")])
    labels = np.ones_like(image, dtype=np.uint8)
    labels[: SIDE // 3] = 2
    write_tiff(folder / "a.regions.tif", labels, 20.0, {"labels": {"1": "2H domain 1"}})
    return [*files, folder / "a.regions.tif", *structure_seeds(folder)]


def structure_seeds(folder: Path) -> list[Path]:
    """A supercell in several formats."""
    import ase.io
    from ase.build import mx2

    cell = mx2("WSe2", size=(3, 3, 1), vacuum=8.0)
    names = {"a.extxyz": "extxyz", "POSCAR": "vasp", "a.cif": "cif", "a.xsf": "xsf"}
    names |= {"a.gen": "gen", "geometry.in": "aims"}
    for name, kind in names.items():
        ase.io.write(folder / name, cell, format=kind)
    return [folder / name for name in names]


def mutate(raw: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """The file with one to four kinds of damage."""
    data = bytearray(raw)
    for _ in range(int(rng.integers(1, 5))):
        if not data:
            break
        kind = int(rng.integers(7))
        # Half of the damage in the header, where the sizes are.
        reach = len(data) if rng.random() < 0.5 else min(len(data), HEADER_BYTES)
        at = int(rng.integers(reach))
        if kind == 0:
            for _ in range(int(rng.integers(1, 9))):
                data[int(rng.integers(reach))] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del data[at:]
        elif kind in (2, 3):
            number = NUMBERS[int(rng.integers(len(NUMBERS)))]
            size = int(rng.choice([1, 2, 4, 8]))
            order = "big" if rng.random() < 0.5 else "little"
            piece = (number % 256**size).to_bytes(size, order)
            data[at : at + size] = piece
        elif kind == 4:
            length = int(rng.integers(1, 64))
            to = int(rng.integers(reach))
            data[to : to + length] = data[at : at + length]
        elif kind == 5:
            other = others[int(rng.integers(len(others)))]
            start = int(rng.integers(max(len(other), 1)))
            length = int(rng.integers(1, 2048))
            data[at : at + length] = other[start : start + length]
        else:
            text = struct.pack("<d", float(rng.choice([np.nan, np.inf, -1.0, 1e300])))
            data[at : at + 8] = text
    return bytes(data)


def make(seed: int, folder: Path, seeds: list[Path], raws: list[bytes]) -> Path:
    """The damaged file of a seed, always the same."""
    rng = np.random.default_rng(seed)
    index = int(rng.integers(len(seeds)))
    path = folder / f"{seed}_{seeds[index].name}"
    path.write_bytes(mutate(raws[index], raws, rng))
    return path


def read(path: Path) -> str:
    """What became of a file: ``read``, ``refused``; anything else is raised."""
    try:
        if path.name.endswith(".regions.tif"):
            read_regions(path)
        elif path.suffix in (".extxyz", ".cif", ".xsf", ".gen", ".in") or "POSCAR" in path.name:
            read_structure(path)
            return "structure read"
        else:
            read_images(path)
    except DefectStrainError as error:
        cause = error.__cause__
        if isinstance(cause, MemoryError):  # asked for before its size was checked
            raise cause from None
        if len(str(error)) > 1500:
            raise ValueError(f"an error of {len(str(error))} characters") from error
        return "refused"
    return "read"


def detect(path: Path) -> str:
    """The same through the command line."""
    from napari_defectstrain.cli.main import main

    with tempfile.TemporaryDirectory() as out:
        code = main(["detect", str(path), "--out", out, "--force"])
    if code not in (0, 2, 3):
        raise ValueError(f"exit code {code}")
    return f"exit {code}"


def _child(job, path: Path, gigabytes: float, report) -> None:
    # What is mapped already (libraries) is allowed on top.
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    sys.stderr = sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        outcome, text = job(path), ""
    except BaseException:  # noqa: BLE001
        outcome, text = "traceback", traceback.format_exc()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    report.send((outcome, text, grown))
    report.close()
    os._exit(0)


def guarded(job, path: Path, seconds: float, gigabytes: float) -> tuple[str, str, float, float]:
    """Outcome, traceback, MiB grown and seconds of a job in a forked process."""
    receive, send = multiprocessing.Pipe(duplex=False)
    start = time.monotonic()
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_child, args=(job, path, gigabytes, send))
    process.start()
    send.close()
    try:
        found = ("hang", f"more than {seconds} s", 0.0)
        if receive.poll(seconds):
            found = receive.recv()
    except EOFError:
        found = ("crash", "", 0.0)
    if found[0] == "hang":
        process.kill()
    process.join()
    if found[0] == "crash":
        found = ("crash", f"exit code {process.exitcode}", 0.0)
    return (*found, time.monotonic() - start)


def seed_image() -> np.ndarray:
    """A lattice of counts, so that a picture that survives is one to detect in."""
    from napari_defectstrain.simulate.dataset import SimulationConfig, simulate_image

    config = SimulationConfig()
    config = config.replace(scan=config.scan.replace(shape=(SIDE, SIDE), pixel_size_pm=20.0))
    return simulate_image(config, np.random.default_rng(0), "seed").counts.astype(np.uint16)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--detect", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the first file; the rest follow")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--only", type=int, help="one file, in this process")
    options = parser.parse_args()
    if options.detect:  # imported before the fork: a child's memory is what its file costs
        import napari_defectstrain.detect.finding.predict  # noqa: F401
        import napari_defectstrain.output.results  # noqa: F401
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as damaged:
        seeds = seed_files(Path(made), seed_image())
        raws = [path.read_bytes() for path in seeds]
        for path in seeds:
            if read(path) == "refused":
                raise SystemExit(f"{path.name}: a good file is refused")
        if options.only is not None:
            path = make(options.only, Path(damaged), seeds, raws)
            print(path.name)
            print(read(path))
            return 0
        outcomes, failures, slowest, largest = Counter(), [], (0.0, 0), (0.0, 0)
        readable: list[int] = []
        for seed in range(options.seed, options.seed + options.files):
            path = make(seed, Path(damaged), seeds, raws)
            outcome, text, grown, took = guarded(read, path, options.seconds, options.gigabytes)
            outcomes[outcome] += 1
            slowest, largest = max(slowest, (took, seed)), max(largest, (grown, seed))
            if outcome not in ("read", "refused", "structure read"):
                failures.append(seed)
                print(f"seed {seed}: {path.name}: {outcome}\n{text}", flush=True)
            if outcome == "read" and not path.name.endswith(".regions.tif"):
                readable.append(seed)
            path.unlink()
        print(f"seeds {options.seed}..{options.seed + options.files - 1}: {dict(outcomes)}")
        print(f"slowest {slowest[0]:.1f} s (seed {slowest[1]})")
        print(f"most memory {largest[0]:.0f} MiB (seed {largest[1]})", flush=True)
        outcomes = Counter()
        for seed in readable[: options.detect]:
            path = make(seed, Path(damaged), seeds, raws)
            # A detection takes its time and memory; what is looked for are tracebacks.
            outcome, text, _, took = guarded(detect, path, 10 * options.seconds, 8.0)
            outcomes[outcome] += 1
            if not outcome.startswith("exit"):
                failures.append(seed)
                print(f"seed {seed}: {path.name}: detect: {outcome}\n{text}", flush=True)
            path.unlink()
        print(f"detect: {dict(outcomes)}; failures: {failures or 'none'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
