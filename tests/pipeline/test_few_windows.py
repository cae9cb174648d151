"""What columns of whole images tell of the probe where windows are few."""

from dataclasses import replace

import numpy as np
import pytest
from small_alloy import QUICK, SHARED_PROFILE, simulated, true_sites

from napari_defectstrain.columns.images import measure
from napari_defectstrain.columns.images.types import Aberrations
from napari_defectstrain.columns.probe_family import FOCUS_AMOUNT
from napari_defectstrain.io.plain_values import from_plain, to_plain
from napari_defectstrain.pipeline import chain, few_windows
from napari_defectstrain.pipeline.few_windows import with_probe
from napari_defectstrain.precision.class_fields import probe_by
from napari_defectstrain.types import CalibratedImage, ClassStack, KnownProbe, Sites


@pytest.fixture(scope="module")
def few() -> tuple[CalibratedImage, Sites, dict[str, ClassStack]]:
    made = simulated(seed=1, size=288)
    sites = true_sites(made)
    return made.image, sites, chain.average_classes([made.image], [sites], SHARED_PROFILE)


def test_few_windows_know_the_probe_of_their_image(few):
    _, _, stacks = few
    (probe,) = {stack.probe for stack in stacks.values()}
    assert probe is not None
    assert abs(probe.amount - FOCUS_AMOUNT) < 2 * probe.sigma  # simulated in focus
    assert 0.35 < probe.sigma < 0.55  # of 700 columns
    assert from_plain(*to_plain(stacks["2Se"])).probe == probe


def test_nothing_is_looked_for_where_windows_tell_or_nothing_asks(few, monkeypatch):
    image, sites, stacks = few
    bare = {name: replace(stack, probe=None) for name, stack in stacks.items()}

    def never(*_: object) -> None:
        raise AssertionError("the columns of the image were fitted")

    monkeypatch.setattr(few_windows, "columns_of_image", never)
    chain.average_classes([image], [sites], QUICK)  # single Gaussians learn no profile
    monkeypatch.setattr(few_windows, "LEAST_COLUMNS", 10**6)
    assert with_probe(bare, [image], [sites])["2Se"].probe is None
    monkeypatch.setattr(few_windows, "FEW", 10)
    monkeypatch.setattr(few_windows, "LEAST_COLUMNS", 0)
    assert with_probe(bare, [image], [sites])["2Se"].probe is None


def test_noise_does_not_tell_the_probe(few, monkeypatch):
    """Where nothing is foreseen, or instruments diverge, dirt is taken for aberrations."""
    image, sites, stacks = few
    monkeypatch.setattr(measure, "freed_of_noise", lambda *_: None)
    assert with_probe(stacks, [image], [sites])["2Se"].probe is None


def test_fewer_columns_are_less_sure(few, monkeypatch):
    """Images of 360 columns were taken to err like those of thousands: it was three times more."""
    image, sites, stacks = few
    whole = stacks["2Se"].probe
    monkeypatch.setattr(few_windows, "COLUMNS", 350)
    part = with_probe(stacks, [image], [sites])["2Se"].probe
    assert part.sigma > 1.3 * whole.sigma
    monkeypatch.setattr(few_windows, "ERROR_OF_COLUMNS", 0.0)
    sure = with_probe(stacks, [image], [sites])["2Se"].probe
    assert sure.sigma < 0.4


def test_a_part_of_a_large_image_tells_the_same(few, monkeypatch):
    image, sites, stacks = few
    whole = stacks["2Se"].probe
    fitted = []
    plain = few_windows.columns_of_image

    def watched(part, columns, *given, **asked):
        fitted.append((part.data.shape, columns))
        return plain(part, columns, *given, **asked)

    monkeypatch.setattr(few_windows, "columns_of_image", watched)
    monkeypatch.setattr(few_windows, "COLUMNS", 350)
    found = with_probe(stacks, [image], [sites])["2Se"].probe
    ((shape, columns),) = fitted
    assert np.prod(shape) < 0.6 * image.data.size
    assert ((columns.position_px >= -0.5) & (columns.position_px < np.array(shape) - 0.5)).all()
    assert abs(found.amount - whole.amount) < 2 * whole.sigma


def test_images_with_most_windows_are_asked_in_any_order(few, monkeypatch):
    image, sites, stacks = few
    told = {"a": 0.4, "b": -0.3, "c": 0.1, "d": 5.0}

    def by_name(image, *_):
        return Aberrations(told[image.name], 0.1, np.zeros((0, 2)))

    monkeypatch.setattr(few_windows, "_aberrations", by_name)
    stack = stacks["2Se"]
    index = np.repeat([0, 1, 2, 3], [6, 5, 5, 1])
    stack = replace(stack, windows=stack.windows[: len(index)], image_index=index)
    stack = replace(stack, included=np.ones(len(index), dtype=bool), image_keys=tuple("abcd"))
    probes = []
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        names = [replace(image, name="abcd"[i]) for i in order]
        place = np.argsort(order)
        given = replace(stack, image_index=place[index], image_keys=tuple("abcd"[i] for i in order))
        probes.append(with_probe({"2Se": given}, names, [sites] * 4)["2Se"].probe)
    assert probes[0] == probes[1]
    assert abs(probes[0].amount) < 0.2  # the fourth isn't asked


def test_the_error_holds_what_noise_does_not_tell():
    nothing = np.zeros((0, 2))
    alone = probe_by([Aberrations(-0.5, 0.05, nothing)])
    assert -0.5 < alone.amount < -0.45  # the family's own mean counts a little
    assert 0.25 < alone.sigma < 0.3
    far = probe_by([Aberrations(1.5, 0.05, nothing)])
    assert far.sigma == 1.0  # as little as is known of any probe
    alike = probe_by([Aberrations(-0.5, 0.05, nothing)] * 4)
    assert 0.12 < alike.sigma < alone.sigma
    unlike = probe_by([Aberrations(a, 0.05, nothing) for a in (-1.5, -0.5, 0.5)])
    assert unlike.sigma > alike.sigma
    assert isinstance(alone, KnownProbe)
