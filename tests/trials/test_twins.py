"""A twin has the image's profile, noise and contamination, and relaxations that are known."""

import numpy as np
import pytest
from small_alloy import true_sites

from napari_defectstrain.averages.patches import find_patches
from napari_defectstrain.columns.images.measure import fit_image_columns
from napari_defectstrain.crystal.lattice import nearest_sites
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulationConfig, simulate_image
from napari_defectstrain.simulate.structure import CrystalConfig
from napari_defectstrain.trials.twins import likeness, make_twin

A_PM = 330.0


@pytest.fixture(scope="module")
def pair():
    config = SimulationConfig(
        crystal=CrystalConfig(fractions=(0.02, 0.01, 0.03, 0.01)),
        scan=ScanConfig(shape=(320, 320), rotation_deg=8.0, jitter_px=0.9, contamination=0.3),
    )
    made = simulate_image(config, np.random.default_rng(5))
    sites = true_sites(made)
    fit = fit_image_columns(made.image, sites.position_px)
    (patch,) = find_patches([made.image], [sites], A_PM)
    changes = (0.02, 0.04, -0.1, -0.15)
    domain = [(patch.lattice, patch.member)]
    twin, position = make_twin(made.image, sites, fit, domain, changes, np.random.default_rng(1))
    return made, sites, fit, twin, position


def test_its_columns_are_as_wide_and_its_noise_as_strong(pair):
    made, sites, fit, twin, position = pair
    again = fit_image_columns(twin, position)
    a_px = A_PM / 20.74
    # of a small image the profile's tails are hardly known: its width is told by the reflections
    first = 2 / (np.sqrt(3) * A_PM)
    damping = []
    for f in (fit, again):
        one, two = (f.profile.transfer(np.array([k]), np.zeros(1))[0] for k in (first, 2 * first))
        damping.append(two / one)
    assert damping[1] == pytest.approx(damping[0], rel=0.1)
    like = [likeness(i, f, a_px) for i, f in ((made.image, fit), (twin, again))]
    noise = [np.mean(o.strength * o.variance(o.parts.background)) for o in like]
    assert noise[1] == pytest.approx(noise[0], rel=0.1)
    assert like[1].parts.line_px == pytest.approx(like[0].parts.line_px, rel=0.35)
    slow = [o.parts.background.ravel() for o in like]
    assert np.corrcoef(slow)[0, 1] > 0.95


def test_its_metals_lie_where_the_relaxation_puts_them(pair):
    made, sites, fit, twin, position = pair
    vacancy = np.flatnonzero(sites.class_index == 4)
    inner = np.all(np.abs(position[vacancy] - 159.5) < 120, axis=1)
    metal = np.flatnonzero(sites.class_index == 0)
    spacing = []
    for v in vacancy[inner]:
        near = metal[np.argsort(np.hypot(*(position[metal] - position[v]).T))[:3]]
        corner = position[near] * 20.74
        spacing.append(np.linalg.norm(corner - np.roll(corner, 1, axis=0), axis=1).mean())
    # others' fields and the scan's shear scatter about it
    assert np.mean(spacing) == pytest.approx(A_PM * 0.9, rel=0.01)
    again = fit_image_columns(twin, position)
    rest = (again.position_px - position)[again.measured] * 20.74
    assert np.abs(rest.mean(axis=0)).max() < 1.5


def test_the_same_seed_gives_the_same_twin(pair):
    made, sites, fit, twin, _ = pair
    (patch,) = find_patches([made.image], [sites], A_PM)
    domain = [(patch.lattice, patch.member)]
    one, _ = make_twin(
        made.image, sites, fit, domain, (0.02, 0.04, -0.1, -0.15), np.random.default_rng(1)
    )
    np.testing.assert_array_equal(one.data, twin.data)


def test_nothing_of_the_image_s_own_relaxation_is_left_in_it(pair):
    made, sites, fit, _, _ = pair
    (patch,) = find_patches([made.image], [sites], A_PM)
    domain = [(patch.lattice, patch.member)]
    rng = np.random.default_rng(1)
    _, position = make_twin(made.image, sites, fit, domain, (0.0, 0.0, 0.0, 0.0), rng)
    outward = {"own": [], "twin": []}
    inner = np.all(np.abs(position - 159.5) < 110, axis=1)
    for v in np.flatnonzero((sites.class_index == 4) & inner):
        offset = patch.lattice.to_pm(position) - patch.lattice.to_pm(position[v])
        distance = np.hypot(*offset.T)
        # metals at 1.15 and 1.53 a: a smoothing that follows defects takes their field for the
        # lattice's distortion there, half a picometre of three
        near = (sites.class_index == 0) & (distance > 1.1 * A_PM) & (distance < 1.6 * A_PM)
        for name, place in (("own", made.position_px), ("twin", position)):
            at = patch.lattice.to_pm(place[near]) - patch.lattice.to_pm(place[v])
            ideal, _ = nearest_sites(at, A_PM)
            outward[name].append(((at - ideal) * ideal).sum(axis=1).mean() / 450)
    assert np.mean(outward["own"]) < -2.5
    assert abs(np.mean(outward["twin"])) < 0.25
