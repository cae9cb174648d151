import shutil
from pathlib import Path

import numpy as np
import pytest
from study_stage import columns, moved, picture, small_study

from napari_defectstrain import CalibratedImage, create_study, open_study
from napari_defectstrain.io import companion_file, write_tiff
from napari_defectstrain.study import folder
from napari_defectstrain.types import DefectStrainError


def test_study_and_images_can_be_moved_together(tmp_path):
    (tmp_path / "here").mkdir()
    with small_study(tmp_path / "here"):
        pass
    (tmp_path / "here").rename(tmp_path / "there")
    with open_study(tmp_path / "there" / "small.defectstrain") as again:
        images, _ = again.load_images()
        assert len(images) == 2
        assert all(state == "there" for state, _ in again.states(trust_times=False).values())
    # or the study alone: then where they lay counts
    shutil.move(tmp_path / "there", tmp_path / "here")
    (tmp_path / "desk" / "deep").mkdir(parents=True)
    shutil.move(tmp_path / "here" / "small.defectstrain", tmp_path / "desk" / "deep")
    with open_study(tmp_path / "desk" / "deep" / "small") as third:
        assert len(third.load_images()[0]) == 2


def test_a_moved_image_is_asked_about_and_taken(tmp_path):
    with small_study(tmp_path) as study:
        (tmp_path / "archive").mkdir()
        (tmp_path / "image_1.tif").rename(tmp_path / "archive" / "other_name.tif")
        (file, found), *more = study.find_missing([tmp_path / "archive"]).items()
        assert not more
        assert found.name == "other_name.tif"
        match = "is gone, moved or renamed; the same file lies at .*other_name.tif"
        with pytest.raises(DefectStrainError, match=match):
            study.load_images(["image_1"])
        with pytest.raises(DefectStrainError, match="got another content"):
            study.relocate(file, tmp_path / "image_0.tif")
        study.relocate(file, found)
        assert study.load_images(["image_1"])[0][0].name == "image_1"
        assert study.has_sites("image_1")
        assert "moved" in study.history()[-1].content


def test_a_changed_image_is_refused_until_it_is_accepted(tmp_path):
    with small_study(tmp_path) as study:
        picture(tmp_path / "image_0.tif", seed=9)
        with pytest.raises(DefectStrainError, match="was changed since it was taken into"):
            study.load_images()
        (file,) = [f for f, (state, _) in study.states(False).items() if state == "changed"]
        study.accept_changed(file)
        assert len(study.load_images()[0]) == 2
        told = study.history()[-1].content["changed"]
        assert told["from"] == file.sha256
        picture(tmp_path / "image_0.tif", seed=9, side=96)
        (file,) = [f for f, (state, _) in study.states(False).items() if state == "changed"]
        with pytest.raises(DefectStrainError, match="expected those of the study; remove"):
            study.accept_changed(file)


def test_an_image_that_may_not_be_read_is_not_said_to_be_changed(tmp_path, monkeypatch):
    with small_study(tmp_path) as study:
        image, opened = tmp_path / "image_1.tif", Path.open

        def refused(path, *given, **more):
            if path.name == image.name:  # root may read everything, so that chmod is no test
                raise PermissionError(13, "Permission denied", str(path))
            return opened(path, *given, **more)

        monkeypatch.setattr(Path, "open", refused)
        with pytest.raises(DefectStrainError, match="image_1.tif: can.t be read: Perm"):
            study.load_images(["image_1"])


def test_copies_survive_their_originals(tmp_path):
    paths = [picture(tmp_path / "a.tif", 0), picture(tmp_path / "b.tif", 1)]
    with create_study(tmp_path / "s", images=paths, copy=True) as study:
        before = [image.data for image in study.load_images()[0]]
        for path in paths:
            path.unlink()
        after = [image.data for image in study.load_images()[0]]
        np.testing.assert_array_equal(before, after)
        assert sorted(p.name for p in (study.path / "images").iterdir()) == ["a.tif", "b.tif"]


def test_the_same_file_is_taken_once(tmp_path):
    with small_study(tmp_path) as study:
        shutil.copy(tmp_path / "image_0.tif", tmp_path / "again.tif")
        assert study.add_images([tmp_path / "again.tif"]) == ()
        assert study.notes == ["again.tif: is in the study already"]
        assert len(study.images) == 2


def test_every_frame_of_a_stack_is_an_image(tmp_path):
    frames = np.random.default_rng(0).uniform(size=(3, 64, 64)).astype(np.float32)
    write_tiff(tmp_path / "stack.tif", frames, 12.0)
    with create_study(tmp_path / "s", images=[tmp_path / "stack.tif"]) as study:
        assert study.images == ("stack[0]", "stack[1]", "stack[2]")
        (image,), _ = study.load_images(["stack[1]"])
        np.testing.assert_array_equal(image.data, frames[1])
        study.set_sites("stack[1]", columns(9))
        with pytest.raises(DefectStrainError, match="got one of 3 images of stack.tif"):
            study.remove_image("stack[1]")
        with pytest.raises(DefectStrainError, match="got frames = True, expected False"):
            study.set_config(study.config.replace(frames=True))


def test_pixels_without_a_file_get_one(tmp_path):
    data = np.random.default_rng(1).uniform(size=(64, 64))
    with create_study(tmp_path / "s") as study:
        taken = study.add_pixels(CalibratedImage(data, 12.5, "from a layer", {"dwell_time_us": 2}))
        (found,), _ = study.load_images()
        assert found.name == taken.name == "from a layer"
        assert found.pixel_size_pm == 12.5
        assert found.metadata["dwell_time_us"] == 2
        np.testing.assert_allclose(found.data, data, rtol=1e-6)


def test_an_image_taken_out_leaves_its_files_behind(tmp_path):
    with small_study(tmp_path) as study:
        table = (study.path / "sites" / "image_0.sites.csv").read_bytes()
        study.remove_image("image_0")
        assert study.images == ("image_1",)
        assert not (study.path / "sites" / "image_0.sites.csv").exists()
        (kept,) = (study.path / "earlier").glob("image_0.*.sites.csv")
        assert kept.read_bytes() == table
        with pytest.raises(DefectStrainError, match="got no image image_0, expected one of"):
            study.sites("image_0")
    with open_study(study.path) as again:
        assert again.images == ("image_1",)


def test_a_file_that_is_no_image_is_left_out(tmp_path):
    (tmp_path / "notes.tif").write_text("no image")
    with create_study(tmp_path / "s") as study:
        with pytest.raises(DefectStrainError, match="notes.tif"):
            study.add_images([tmp_path / "notes.tif"])
        with pytest.raises(DefectStrainError, match="none.tif: can't be read"):
            study.add_images([tmp_path / "none.tif"])
        assert study.images == ()


def test_another_image_of_the_same_name_has_no_past(tmp_path):
    with small_study(tmp_path) as study:
        study.record("image_0", moved(study.sites("image_0"), 2))
        study.remove_image("image_0")
        (tmp_path / "image_0.tif").unlink()
        study.add_images([picture(tmp_path / "image_0.tif", seed=50)])
        assert study.images == ("image_1", "image_0")
        assert not study.has_sites("image_0")
        assert not study.has_regions("image_0")
        study.compact()
    with open_study(study.path) as again:
        assert not again.has_sites("image_0")
        again.set_sites("image_0", columns(9, seed=4))
        assert again.edited_columns("image_0") == 0
        assert len(again.sites("image_0")) == 9
    with open_study(study.path) as third:
        assert len(third.sites("image_0")) == 9
        assert len(third.history("image_0")) == 4  # the whole past is in the history


def test_a_copy_brings_the_file_of_its_metadata(tmp_path, monkeypatch):
    """An .emi names its .ser: both keep their names, or beam energy and dwell time are gone."""
    (tmp_path / "scan_1.ser").write_bytes(b"pixels")
    (tmp_path / "scan.emi").write_bytes(b"scan_1.ser: 80 kV")
    read = []

    def load(paths, *_):
        read.extend(paths)
        return [CalibratedImage(np.ones((8, 8)), 12.0, "scan_1")], ()

    monkeypatch.setattr(folder, "load_images", load)
    with create_study(tmp_path / "s", images=tmp_path / "scan_1.ser", copy=True) as study:
        (tmp_path / "scan_1.ser").unlink()
        study.load_images()
    copied = study.path / "images" / "scan_1" / "scan_1.ser"
    assert read[-1] == copied
    assert companion_file(copied).read_bytes() == b"scan_1.ser: 80 kV"
    with open_study(study.path) as study:
        assert study.files[0].copy == "scan_1/scan_1.ser"
