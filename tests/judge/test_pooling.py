"""A run's classes: what is found is told on a scale of which the zero is right."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import csr_array, diags_array

from napari_defectstrain.judge import pooling
from napari_defectstrain.judge.mixture import ClassPrior, FurtherClass, best_model, improve
from napari_defectstrain.judge.open_classes import OpenMixture, WeighedColumns
from napari_defectstrain.judge.picture import WeightEquations
from napari_defectstrain.judge.pooling import (
    _above_empty,
    _chalcogens,
    _freed,
    _with_scale,
    classify,
    classify_run,
)
from napari_defectstrain.judge.solving import ImageEvidence
from napari_defectstrain.materials import CHALCOGEN_SITES, METAL_SITES, OpenClass


def found(sites: str, *weights: float) -> tuple[OpenClass, ...]:
    return tuple(OpenClass(sites, w, 0.01, 0.01, 0.001, 90.0) for w in weights)


def test_an_empty_site_weighs_nothing_and_the_metal_one():
    mixture = OpenMixture(np.array([1.0]), np.array([0.98]), found(METAL_SITES, 0.429, -0.086))
    mo, vacancy = _above_empty(mixture)
    assert vacancy.weight == pytest.approx(0.0)
    assert mo.weight == pytest.approx((0.429 + 0.086) / 1.086)


def test_without_empty_sites_weights_stay():
    mixture = OpenMixture(np.array([1.0]), np.array([0.98]), found(METAL_SITES, 0.43))
    assert [one.weight for one in _above_empty(mixture)] == [0.43]


def test_the_error_of_a_weight_is_the_scales_too():
    """S beside Se at .53 of W was said to weigh .565 +- .002."""
    means = np.array([0.73, 1.10, 1.45, 0.405, 0.01])
    mixture = OpenMixture(means, np.full(5, 0.1), found(CHALCOGEN_SITES, 0.45, 0.95))
    lighter, heavier = _with_scale(mixture, ClassPrior(heavier=1.95))
    # half of 2Se would be .36: where SV seems .045 too heavy weights beside it may be, too
    assert 0.035 < lighter.weight_sigma < 0.05
    assert 0.01 < heavier.weight_sigma < 0.03
    (mo,) = _above_empty(OpenMixture(np.array([1.0]), np.array([0.98]), found(METAL_SITES, 0.43)))
    assert mo.weight_sigma == pytest.approx(np.hypot(0.01, 0.025 * 0.57))


def drawn(means: list[float], shares: list[float], n: int = 5000) -> ImageEvidence:
    """Columns that share no light, half as many metals among them."""
    rng = np.random.default_rng(3)
    chalcogen = np.arange(n + n // 2) < n
    true = np.where(chalcogen, rng.choice(means, n + n // 2, p=shares), 1.0)
    sigma = np.full(len(true), 0.03)
    weight = true + sigma * rng.normal(size=len(true))
    network = np.tile([0.0, 0.88, 0.05, 0.02, 0.04, 0.01, 0.0], (len(true), 1))
    equations = WeightEquations(
        weight, np.zeros(len(true)), csr_array(diags_array(sigma**-2.0).tocsr())
    )
    return ImageEvidence(equations, ~chalcogen, chalcogen, network, weight, np.full(len(true), 0.5))


def test_what_vacancies_weigh_too_much_is_not_taken_from_classes_that_are_none():
    # relaxed metals make vacancies of either kind seem heavier; S beside Se relaxes nothing
    means, shares = [0.73, 1.1, 1.4, 0.375, 0.025, 0.46], [0.79, 0.05, 0.03, 0.06, 0.01, 0.06]
    run = classify_run([drawn(means, shares)], ClassPrior(heavier=1.9), (0.0, 0.0))
    (found,) = (c for c in run.open_classes if c.sites == CHALCOGEN_SITES)
    assert found.weight == pytest.approx(0.46, abs=0.01)
    assert found.share == pytest.approx(0.06, abs=0.01)


MEANS = [0.73, 1.1, 1.4, 0.36, 0.0, 0.46]
SHARES = [0.79, 0.05, 0.03, 0.06, 0.01, 0.06]
PUT_AS_VACANCIES = [0.0, 0.0, 0.0, 0.015, 0.015, -0.025]


def leaning(by_noise: float, at_its_own: float = 0.0) -> ImageEvidence:
    """Columns that nobody knew, and vacancies, with metals around them put for the mean of both.

    Places by the image alone scatter, and some of the weights' own noise is theirs.
    """
    evidence = drawn(MEANS, SHARES)
    equations = evidence.equations
    rng = np.random.default_rng(4)
    n = len(equations.weight)
    true = np.where(evidence.is_chalcogen, np.random.default_rng(3).choice(MEANS, n, p=SHARES), 1.0)
    class_of = np.abs(true[:, None] - MEANS).argmin(axis=1)
    shift = np.where(evidence.is_chalcogen, np.take(PUT_AS_VACANCIES, class_of), 0.0)
    lean = shift + by_noise * rng.normal(size=n) + at_its_own * (equations.weight - true)
    seen = replace(equations, weight=equations.weight + shift, lean=lean)
    return replace(evidence, equations=seen, guess=seen.weight)


def test_a_class_that_was_taken_for_vacancies_is_told_without_what_that_did_to_it():
    """S + Se of .454 was told as .429: the metals around it had been drawn in as around SV."""
    (one,) = (
        c
        for c in classify_run(
            [leaning(0.005, 0.1)], ClassPrior(heavier=1.9), (0.0, 0.0)
        ).open_classes
        if c.sites == CHALCOGEN_SITES
    )
    assert one.weight == pytest.approx(0.46, abs=0.01)
    assert one.share == pytest.approx(0.06, abs=0.01)
    evidence = leaning(0.005, 0.1)
    stiff = replace(evidence, equations=replace(evidence.equations, lean=None))
    told = classify_run([stiff], ClassPrior(heavier=1.9), (0.0, 0.0)).open_classes
    assert not [c for c in told if abs(c.weight - 0.46) < 0.02]


def test_places_by_the_image_alone_count_as_far_as_they_bring_no_noise():
    for noise, own, part in ((0.005, 0.1, 1.0), (0.03, 0.0, 0.0)):
        evidence = leaning(noise, own)
        (classes,) = classify([evidence], ClassPrior(heavier=1.9), (0.0, 0.0))
        freed = _freed(evidence, classes)
        left = np.median(freed.equations.lean / evidence.equations.lean)
        assert left == pytest.approx(1.0 - part, abs=0.1)
    assert _freed(None, classes) is None


def test_a_named_class_takes_its_columns_in_one_image():
    rng = np.random.default_rng(0)
    means, shares = [0.73, 1.06, 1.4, 0.36, 0.0, 0.55], [0.8, 0.05, 0.03, 0.06, 0.01, 0.05]
    index = rng.choice(6, 4000, p=shares)
    sigma = np.full(4000, 0.04)
    weight = np.take(means, index) + sigma * rng.normal(size=4000)
    # named 0.03 too heavy: where the search starts, not where it ends
    prior = ClassPrior(1.9, further=(FurtherClass(0.58, 0.01),))
    model = best_model(weight, sigma, prior)
    model = improve(model, weight, sigma, prior)
    assert model.mean[5] == pytest.approx(0.55, abs=0.01)
    assert model.share[6] == pytest.approx(0.05, abs=0.01)
    chance = model.posterior(weight, sigma)
    assert chance.shape == (4000, 7)
    given = np.array([0, 1, 2, 3, 4, -1, 5])[chance.argmax(axis=1)]
    assert (given == index).mean() > 0.97


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.15])
def test_a_class_that_was_found_weighs_more_where_all_chalcogens_do(factor):
    """Few columns of it in one image say little: the run does, on that image's own scale."""
    rng = np.random.default_rng(0)
    means = factor * np.array([0.7, 1.05, 1.4, 0.343, 0.0, 0.44])
    index = np.repeat(np.arange(6), [1500, 80, 60, 60, 10, 4])
    sigma = np.full(len(index), 0.03)
    weight = means[index] + sigma * rng.normal(size=len(index))
    found = FurtherClass(0.44, 0.01, 0.015)
    prior = ClassPrior(2.0, further=(found,), run_x2=0.7)
    assert prior.means(0.7 * factor)[5] == pytest.approx(means[5])
    model = improve(best_model(weight, sigma, prior), weight, sigma, prior)
    assert model.mean[5] == pytest.approx(means[5], abs=0.015)
    alone = ClassPrior(2.0, further=(found,))  # one that was named: as it was given
    assert alone.means(0.7 * factor)[5] == 0.44


def test_classes_that_were_found_follow_each_image_of_a_run(monkeypatch):
    priors = []
    solve = pooling.solve_classes
    monkeypatch.setattr(
        pooling, "solve_classes", lambda e, p, *rest: priors.append(p) or solve(e, p, *rest)
    )
    run = classify_run([leaning(0.005, 0.1)], ClassPrior(heavier=1.9), (0.0, 0.0))
    assert run.prior.further and run.prior.run_x2 is not None
    (image,) = run.images
    assert run.prior.run_x2 == pytest.approx(image.model.mean[0], rel=0.02)
    assert priors[-1].run_x2 == run.prior.run_x2 and priors[0].run_x2 is None


@pytest.mark.parametrize(
    "means",
    [
        ((0.97, 0.75, 0.56), (0.93, 0.77, 0.52)),  # a lighter substituent: Se in MoTe2
        ((0.52, 0.70, 0.92), (0.50, 0.72, 0.90)),
    ],
)
def test_weights_of_all_images_are_put_onto_the_scale_of_the_run(monkeypatch, means):
    """Whether the substituent is heavier or lighter: classes of all images weigh the same then."""
    count = np.array([2000, 100, 40, 30, 10])
    known = []
    for x2, xy, y2 in means:
        mean = np.array([x2, xy, y2, 0.49 * x2, 0.0])
        role = np.repeat(np.arange(5), count)
        classes = SimpleNamespace(
            weight=mean[role],
            error=np.full(len(role), 0.02),
            chance=np.eye(6)[role],
            model=SimpleNamespace(mean=mean),
        )
        known.append((SimpleNamespace(is_chalcogen=np.ones(len(role), dtype=bool)), classes))
    found = []
    monkeypatch.setattr(WeighedColumns, "gathered", lambda *columns: found.append(columns))
    _chalcogens(known)
    ((weight, sigma),) = found
    one, other = weight.reshape(2, -1)
    for k, anchor in ((0, 0), (2000, 1), (2100, 2)):
        expected = np.mean([m[anchor] for m in means])
        assert [one[k], other[k]] == pytest.approx([expected] * 2, abs=1e-6)
    assert one[2140] == pytest.approx(other[2140], rel=0.04)  # V1, near halfway in both
    assert (sigma > 0).all()
