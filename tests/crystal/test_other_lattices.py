"""Lattices of any kind are named, with their spacings."""

import numpy as np
import pytest

from napari_defectstrain.crystal.other_lattices import seen_lattice

SIDE = 200


def picture(
    basis: np.ndarray, second: float = 0.0, noise: float = 0.3, joined: int = 1
) -> np.ndarray:
    """Columns on a lattice of vectors (y, x) [px], a second kind in the middle of its cells."""
    rng = np.random.default_rng(5)
    side = SIDE * joined
    turn = np.deg2rad(11.0)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ basis
    index = np.mgrid[-40:41, -40:41].reshape(2, -1).T
    y, x = np.arange(side), np.arange(side)
    image = np.zeros((side, side))
    for shift, weight in ((0.0, 1.0), (0.5, second)):
        place = (index + shift) @ turned.T * joined + side / 2
        place = place[np.all((place > -20 * joined) & (place < side + 20 * joined), axis=1)]
        width = 2.4 * joined
        rows = np.exp(-((y - place[:, :1]) ** 2) / (2 * width**2))
        columns = np.exp(-((x - place[:, 1:]) ** 2) / (2 * width**2))
        image += weight * rows.T @ columns
    return image + rng.normal(0, noise, image.shape)


@pytest.mark.parametrize(
    ("kind", "basis", "spacing"),
    [
        ("square", np.eye(2) * 15.0, (15.0, 15.0)),
        ("rectangular", np.diag([13.0, 17.5]), (13.0, 17.5)),
        ("oblique", np.array([[14.0, 4.0], [0.0, 16.0]]), (14.0, 16.49)),
        ("hexagonal", 15.0 * np.array([[1.0, 0.5], [0.0, 0.866]]), (15.0, 15.0)),
    ],
)
def test_a_lattice_is_named_with_its_spacings(kind, basis, spacing):
    seen = seen_lattice(picture(basis))
    assert seen is not None and seen.kind == kind
    assert seen.spacing_px == pytest.approx(spacing, rel=0.02)


def test_a_square_lattice_is_one_with_another_kind_in_its_middle_and_on_fine_pixels():
    for second, joined in ((0.4, 1), (0.4, 3)):
        seen = seen_lattice(picture(np.eye(2) * 15.0, second, 0.3, joined))
        assert seen is not None and seen.kind == "square"
        assert seen.spacing_px == pytest.approx((15.0 * joined,) * 2, rel=0.02)


def test_noise_and_stripes_are_no_lattice():
    assert seen_lattice(np.random.default_rng(3).normal(size=(SIDE, SIDE))) is None
    assert seen_lattice(np.zeros((SIDE, SIDE))) is None
