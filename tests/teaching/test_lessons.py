import numpy as np
import pytest

from napari_defectstrain.evaluation import UNKNOWN, Truth
from napari_defectstrain.materials import WSE2
from napari_defectstrain.study import create_study
from napari_defectstrain.teaching import lesson_of_table, lessons_of_study
from napari_defectstrain.teaching.lessons import AROUND, corrected_places, in_tiles
from napari_defectstrain.types import CalibratedImage, DefectStrainError, Sites

PIXEL_PM = 20.0


def some_sites(n=8, spacing=18.0):
    y, x = np.mgrid[:n, :n].reshape(2, -1) * spacing + 9.0
    index = np.where(np.arange(n * n) % 2, 1, 0)
    return Sites(
        np.stack([y, x], axis=1),
        np.eye(7)[index],
        index,
        WSE2.class_names,
        np.full(n * n, "model"),
    )


def with_class(sites, i, name):
    index = sites.class_index.copy()
    index[i] = sites.class_names.index(name)
    source = sites.source.astype("<U8")
    source[i] = "manual"
    return Sites(sites.position_px, np.eye(7)[index], index, sites.class_names, source)


@pytest.fixture
def study(tmp_path):
    made = create_study(tmp_path / "taught")
    rng = np.random.default_rng(0)
    for name in ("one", "two", "three"):
        image = CalibratedImage(rng.normal(size=(144, 144)).astype(np.float32), PIXEL_PM, name=name)
        made.add_pixels(image)
        made.set_sites(name, some_sites())
    yield made
    made.close()


def test_places_of_changed_added_and_removed_columns():
    before = some_sites()
    after = with_class(before, 9, "SV")
    kept = np.arange(len(before)) != 20
    places = corrected_places(before, after.subset(kept))
    expected = before.position_px[[9, 20]]
    np.testing.assert_allclose(places[np.argsort(places[:, 0])], expected)
    assert len(corrected_places(before, before)) == 0


def test_only_what_lies_around_a_correction_was_looked_at(study):
    study.record("two", with_class(some_sites(), 9, "SV"))
    (lesson,), _ = lessons_of_study(study)
    assert lesson.name == "two" and lesson.corrections == 1 and not lesson.whole
    place = some_sites().position_px[9]
    away = np.hypot(*(lesson.position_px - place).T)
    reach = AROUND * WSE2.lattice_pm / PIXEL_PM
    # half a pixel's diagonal is as far as pixels blur the rim
    assert lesson.known[away < reach - 1].all()
    assert not lesson.known[away > reach + 1].any()
    assert lesson.class_index[9] == WSE2.class_names.index("SV")


def test_an_image_that_is_done_is_known_as_a_whole_even_without_corrections(study):
    study.record("two", with_class(some_sites(), 9, "SV"))
    lessons, _ = lessons_of_study(study, done=["three"])
    assert [one.name for one in lessons] == ["two", "three"]
    assert [one.whole for one in lessons] == [False, True]
    assert lessons[1].known.all() and lessons[1].corrections == 0


def test_nothing_to_learn_and_unknown_images_are_refused(study):
    with pytest.raises(DefectStrainError, match="got no corrections"):
        lessons_of_study(study)
    with pytest.raises(DefectStrainError, match="four: got no image"):
        lessons_of_study(study, done=["four"])


def test_tables_without_classes_teach_nothing():
    image = CalibratedImage(np.zeros((64, 64), dtype=np.float32), PIXEL_PM, name="a")
    truth = Truth(np.ones((2, 2)), np.array([0, UNKNOWN]), np.array(["", ""]), ())
    with pytest.raises(DefectStrainError, match="columns without a class"):
        lesson_of_table(image, truth)


def test_tiles_share_an_image_between_them_and_overlap_nowhere(study):
    lessons, _ = lessons_of_study(study, done=["one"])
    parts = in_tiles(lessons[0], 2)
    looked = np.stack([part.looked for part in parts])
    assert (looked.sum(axis=0) == 1).all()
    assert all(0.4 < part.looked.mean() < 0.6 for part in parts)
    # spread: every quarter of the image has some of both
    assert all(part.looked[:72, :72].any() and part.looked[72:, 72:].any() for part in parts)
