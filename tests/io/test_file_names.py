"""Names of outputs that every system can write, and names of inputs as systems give them."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from microscope_files import write_velox

from napari_defectstrain.cli.main import main
from napari_defectstrain.io.file_names import (
    MAX_STEM_BYTES,
    distinct_names,
    expand_wildcards,
    output_stems,
    printable,
    safe_stem,
)
from napari_defectstrain.io.files import atomic_path, read_images, write_json, write_tiff
from napari_defectstrain.pipeline.loading import load_images
from napari_defectstrain.types import DefectStrainError

ODD = [
    *("HAADF 1/2", "a\\b", "c:d", "e*f", "g?h", 'i"j', "k<l>m", "n|o"),
    *("line\nbreak", "tab\t", "nul\0", "bell\x07", "del\x7f", "\x85", "\u202egpj.exe"),
    *("\udce9", "\ud800", "e\u0301", "", " ", ".", "..", "...", "a.", "b ", ".hidden"),
    *("CON", "con.sites", "Nul", "COM1", "lpt9", "aux.", "x" * 500, "é" * 200, "日" * 200),
]


@pytest.mark.parametrize("name", ODD)
def test_every_stem_can_be_written_everywhere(tmp_path, name):
    stem = safe_stem(name)
    assert stem and stem == safe_stem(stem)
    assert not set(stem) & set('/\\:*?"<>|') and stem.isprintable()
    assert len(stem.encode("utf-8")) <= MAX_STEM_BYTES + 1
    assert stem[-1] not in ". " and stem[0] not in ". "
    assert stem.split(".")[0].lower() not in {"con", "nul", "com1", "lpt9", "aux"}
    (tmp_path / f"detections_{stem}.regions.csv").write_text("")


@pytest.mark.parametrize(
    "name", ["a", "Exp-001_5 (2) [HAADF]", "µ=é", "日本", "a.b.c", "HAADF·sum"]
)
def test_good_names_stay_what_they_are(name):
    assert safe_stem(name) == name


def test_stems_are_distinct_whatever_they_were():
    assert output_stems(["a/b", "a:b", "A_B", "c"]) == ["a_b", "a_b_2", "A_B_3", "c"]
    assert distinct_names(["a", "b", "A", "a_2"]) == ["a", "b", "A_2", "a_2_2"]
    stems = output_stems(ODD)
    assert len({stem.casefold() for stem in stems}) == len(ODD)


def test_titles_with_slashes_are_safe_before_any_computing(tmp_path, rng):
    images = {"HAADF 1/2": rng.poisson(50, (40, 48)).astype(np.uint16)}
    path = write_velox(tmp_path / "a.emd", {**images, "BF": images["HAADF 1/2"]}, 2e-11)
    assert read_images(path)[0].name == "a[HAADF 1/2]"  # as people see it
    (image,), _ = load_images([path, path][:1])
    assert image.name == "a[HAADF 1_2]"


def test_wildcards_that_the_shell_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.tif", "a.tif", "c.png", "d[1].tif"):
        Path(name).touch()
    assert expand_wildcards([Path("*.tif")]) == [Path("a.tif"), Path("b.tif"), Path("d[1].tif")]
    assert expand_wildcards([Path("d[1].tif"), Path("?.png")]) == [Path("d[1].tif"), Path("c.png")]
    assert expand_wildcards([Path("gone[1].tif")]) == [Path("gone[1].tif")]
    with pytest.raises(DefectStrainError, match="a pattern that no file matches"):
        expand_wildcards([Path("*.dm3")])


def test_wildcards_on_the_command_line(tmp_path, capsys):
    (tmp_path / "a.npy").write_bytes(b"no image")
    out = str(tmp_path / "out")
    assert main(["detect", str(tmp_path / "*.npy"), "--out", out]) in (2, 3)
    assert "a.npy" in capsys.readouterr().err
    assert main(["detect", str(tmp_path / "*.dm3"), "--out", out]) == 2
    assert "no file matches" in capsys.readouterr().err


def test_bytes_that_are_no_text_are_taken_as_latin_1(tmp_path):
    assert printable("caf\udce9") == "café"
    write_json(tmp_path / "a.json", {"path": Path("caf\udce9.tif")})
    assert "café.tif" in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_an_error_about_such_a_name_can_be_printed(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.tif"
    with open(path, "wb") as stream:
        stream.write(b"no image")
    command = [sys.executable, "-m", "napari_defectstrain", "detect", path, "--out", "out"]
    found = subprocess.run(command, capture_output=True, cwd=tmp_path, check=False)
    assert found.returncode in (2, 3)
    assert "café.tif" in found.stderr.decode("utf-8")
    assert b"Traceback" not in found.stderr


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "choose another folder, or close the file"),
        (errno.EROFS, "choose another folder"),
        (errno.ENOENT, "make its folder first"),
        (errno.ENAMETOOLONG, "choose another name"),
        (errno.EINVAL, "choose another name"),
        (errno.EISDIR, "a folder has this name"),
        (errno.EIO, "choose another folder"),
    ],
)
def test_the_advice_fits_the_error(tmp_path, number, advice):
    match = f"can't be written: {os.strerror(number)}; {advice}"
    with pytest.raises(DefectStrainError, match=match) as caught, atomic_path(tmp_path / "a"):
        raise OSError(number, os.strerror(number))
    assert ("free some space" in str(caught.value)) == (number == errno.ENOSPC)


def test_a_name_that_no_system_takes(tmp_path):
    with pytest.raises(DefectStrainError, match="choose another name"):
        write_json(tmp_path / "a\0b.json", {})
    with pytest.raises(DefectStrainError, match="choose another name"):
        write_json(tmp_path / ("x" * 300), {})


def test_one_path_alone_is_no_list_of_characters(tmp_path, rng):
    path = tmp_path / "a.tif"
    write_tiff(path, rng.uniform(0, 1, (64, 64)).astype(np.float32), 12.0)
    images, _ = load_images(str(path))
    assert [image.name for image in images] == ["a"]
