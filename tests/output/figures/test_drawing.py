"""Figures that other processes draw are those that this one draws."""

import pickle
import threading

import numpy as np
import pytest
from figure_stage import spacing

from napari_defectstrain.io.out_folder import writing_into
from napari_defectstrain.materials import WSE2
from napari_defectstrain.output.figures.drawing import Drawing, drawn_meanwhile, write_drawings
from napari_defectstrain.output.figures.precision import spacing_figure
from napari_defectstrain.pipeline.work import Outcome, outcome_of
from napari_defectstrain.styles import figure_width


class FarAway:
    """Workers to whom everything is sent, and whose answers come in another order."""

    def __init__(self):
        self.sent = 0

    def outcomes(self, function, calls):
        for i in reversed(list(calls)):
            self.sent += 1
            there, given = pickle.loads(pickle.dumps((function, calls[i])))
            yield i, pickle.loads(pickle.dumps(outcome_of(there, given)))


class Broken:
    """Workers that answer with an error."""

    def outcomes(self, function, calls):
        yield from ((i, Outcome(error=OSError("gone"))) for i in calls)


def drawings(rng):
    """Three histograms, the last of them of much that would have to be sent."""
    given = [
        ({"SV": rng.normal(314.0, 5.0, 30)}, {"SV": spacing("SV", 314.0, 0.3, rng)}, WSE2)
        for _ in range(3)
    ]
    return [Drawing(f"no {i}", spacing_figure, one, small=i < 2) for i, one in enumerate(given)]


def written(path, asked, workers):
    with writing_into(path, "run", "run.json") as folder, figure_width(3.3):
        write_drawings(asked, folder, ("png", "svg"), "figures", workers)
        order = list(folder.files)
    return [file.relative_to(path) for file in order], [file.read_bytes() for file in order]


def test_who_draws_makes_no_difference(tmp_path, rng):
    asked = drawings(rng)
    workers = FarAway()
    here = written(tmp_path / "here", asked, None)
    there = written(tmp_path / "there", asked, workers)
    assert here == there
    assert len(here[0]) == 9  # a picture of each kind and the data
    assert workers.sent == 2


def test_an_error_elsewhere_is_one_here(tmp_path, rng):
    with pytest.raises(OSError, match="gone"):
        written(tmp_path, drawings(rng), Broken())


def test_data_are_those_of_the_plots(tmp_path, rng):
    files, content = written(tmp_path, drawings(rng)[:1], None)
    assert [file.name for file in files] == ["no 0.png", "no 0.svg", "no 0.csv"]
    assert b"step" in content[2] and np.all([len(c) > 500 for c in content])


class Waiting(FarAway):
    """Workers that answer when they are allowed to."""

    def __init__(self):
        super().__init__()
        self.allowed = threading.Event()

    def outcomes(self, function, calls):
        assert self.allowed.wait(30)
        yield from super().outcomes(function, calls)


def test_work_goes_on_while_others_draw(tmp_path, rng):
    asked, workers = drawings(rng), Waiting()
    here = written(tmp_path / "here", asked, None)
    path = tmp_path / "meanwhile"
    with writing_into(path, "run", "run.json") as folder, figure_width(3.3):
        with drawn_meanwhile(asked, folder, ("png", "svg"), "figures", workers):
            assert not folder.files  # nothing is drawn yet, and the block runs
            workers.allowed.set()
        order = list(folder.files)
    assert ([f.relative_to(path) for f in order], [f.read_bytes() for f in order]) == here


def test_nothing_is_written_after_an_error_in_the_block(tmp_path, rng):
    workers = Waiting()
    before = set(threading.enumerate())
    with (
        pytest.raises(KeyboardInterrupt),
        writing_into(tmp_path, "run", "run.json") as folder,
        drawn_meanwhile(drawings(rng), folder, ("png",), "figures", workers),
    ):
        drawing = set(threading.enumerate()) - before
        raise KeyboardInterrupt
    workers.allowed.set()
    for thread in drawing:
        thread.join(30)
    assert drawing and not folder.files


def test_an_error_elsewhere_ends_the_block(tmp_path, rng):
    done = []
    with (
        pytest.raises(OSError, match="gone"),
        writing_into(tmp_path, "run", "run.json") as folder,
        drawn_meanwhile(drawings(rng), folder, ("png",), "figures", Broken()),
    ):
        done.append(True)
    assert done
