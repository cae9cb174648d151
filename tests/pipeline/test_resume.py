"""A run that goes on where another stopped finds what an undisturbed one finds, bit for bit."""

from collections.abc import Callable

import numpy as np
import pytest
from small_alloy import QUICK, simulated, true_sites

from napari_defectstrain.io.content import content_key
from napari_defectstrain.io.stage_store import StageStore
from napari_defectstrain.pipeline import chain
from napari_defectstrain.pipeline.runs import RunResult
from napari_defectstrain.pipeline.work import Work
from napari_defectstrain.types import Cancelled, no_progress

CONFIG = QUICK.replace(average=QUICK.average.replace(crowded=True))


def ran(work: Work, progress: Callable[[float, str], None] = no_progress) -> RunResult:
    made = [simulated(seed=s, rotation_deg=20.0 * s, size=288) for s in (1, 2)]
    sites = [true_sites(one) for one in made]
    return chain.run([m.image for m in made], CONFIG, sites, progress, work=work)


def numbers(result: RunResult) -> str:
    """A hash of everything that was measured."""
    return content_key(
        result.sites,
        result.stacks,
        result.measurements,
        result.crowded_stacks,
        result.crowded,
        result.warnings,
        result.populations.to_dict("list"),
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[str, Work]:
    work = Work(StageStore(tmp_path_factory.mktemp("stages")))
    return numbers(ran(work)), work


def test_the_second_run_does_nothing_and_finds_the_same(undisturbed):
    expected, first = undisturbed
    assert first.done == {
        **{"calibrate": 2, "identify": 2, "divide": 2},
        **{"average": 1, "measure": 1, "columns of whole images": 2, "every defect": 1},
    }
    second = Work(first.store)
    assert numbers(ran(second)) == expected
    assert not second.done
    assert not second.store.damaged


def test_whatever_is_missing_or_damaged_is_done_again(undisturbed):
    expected, first = undisturbed
    entries = sorted(first.store.entries())
    rng = np.random.default_rng(2)
    gone, torn = (entries[i] for i in rng.choice(len(entries), 2, replace=False))
    gone.unlink()
    torn.write_bytes(torn.read_bytes()[:-100])
    work = Work(StageStore(first.store.folder))
    assert numbers(ran(work)) == expected
    assert sum(work.done.values()) == 2
    assert work.store.damaged == [torn]


@pytest.mark.slow
def test_a_run_stopped_anywhere_goes_on_to_the_same(undisturbed, tmp_path):
    expected, _ = undisturbed
    rng = np.random.default_rng(4)
    work = Work(StageStore(tmp_path))
    for stop in np.sort(rng.random(3)).tolist():

        def stopping(fraction: float, message: str, stop: float = stop) -> None:
            if fraction > stop:
                raise Cancelled

        with pytest.raises(Cancelled):
            ran(work, stopping)
    assert numbers(ran(work)) == expected
