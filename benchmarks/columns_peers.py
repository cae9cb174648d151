"""Other programs' column fits, each run by a Python that has it, for `bench_columns.py`.

``python columns_peers.py NAME INPUT.npz OUTPUT.npz`` with NAME one of atomap, spotfitlm and
curve_fit. INPUT holds ``image``, ``start`` `(N, 2)` (y, x) and ``sigma``; OUTPUT gets ``position``
`(N, 2)`, ``cpu_s`` and ``wall_s``. Importing the program doesn't count.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable

import numpy as np

Array = np.ndarray
Fit = Callable[[Array, Array, float], Array]


def atomap() -> Fit:
    """`Sublattice.refine_atom_positions_using_2d_gaussian`, as its guide calls it."""
    from atomap.api import Sublattice

    def fit(image: Array, start: Array, sigma: float) -> Array:
        sublattice = Sublattice(start[:, ::-1], image=image)
        sublattice.find_nearest_neighbors()
        sublattice.refine_atom_positions_using_2d_gaussian(
            percent_to_nn=0.40, show_progressbar=False
        )
        return np.stack([sublattice.y_position, sublattice.x_position], axis=1)

    return fit


def spotfitlm() -> Fit:
    """`fit_symmetric_gaussian_mle`: one round Gaussian in a box each, Poisson likelihood, in C."""
    from scipy.spatial import cKDTree
    from spotfitlm import fit_symmetric_gaussian_mle

    def fit(image: Array, start: Array, sigma: float) -> Array:
        half = int(round(2.0 * sigma))
        centre = np.rint(start).astype(np.int64)
        # boxes that cross the border crash it
        whole = np.all((centre > half) & (centre < np.array(image.shape) - half - 1), axis=1)
        row, column = (np.ascontiguousarray(c) for c in centre[whole].T)
        table = fit_symmetric_gaussian_mle(image, (row, column), 2 * half + 1, sigma, 100)
        found = table[["y", "x"]].to_numpy()
        # who is who is told by place: some may be left out
        distance, index = cKDTree(found).query(start)
        return np.where((distance < 2.0 * sigma)[:, None], found[index], np.nan)

    return fit


def curve_fit() -> Fit:
    """A loop over scipy's `curve_fit`: seven parameters, unbounded, least squares."""
    from scipy.optimize import curve_fit as scipy_fit

    def gaussian(
        place: Array, a: float, y: float, x: float, c: float, yy: float, xy: float, xx: float
    ) -> Array:
        dy, dx = place[0] - y, place[1] - x
        return a * np.exp(-0.5 * (yy * dy * dy + 2 * xy * dy * dx + xx * dx * dx)) + c

    def fit(image: Array, start: Array, sigma: float) -> Array:
        half = int(round(2.0 * sigma))
        dy, dx = np.mgrid[-half : half + 1, -half : half + 1]
        found = np.full(start.shape, np.nan)
        for i, (y, x) in enumerate(np.rint(start).astype(int)):
            row, column = (dy + y).ravel(), (dx + x).ravel()
            inside = (row >= 0) & (row < image.shape[0]) & (column >= 0) & (column < image.shape[1])
            row, column = row[inside], column[inside]
            value = image[row, column]
            first = (np.ptp(value), *start[i], value.min(), sigma**-2, 0.0, sigma**-2)
            try:
                best = scipy_fit(gaussian, (row, column), value, first)[0]
            except RuntimeError:  # no convergence: no position
                continue
            found[i] = best[1:3]
        return found

    return fit


def main() -> None:
    """Fit all columns of the input."""
    warnings.filterwarnings("ignore")
    name, source, target = sys.argv[1:]
    fit = {"atomap": atomap, "spotfitlm": spotfitlm, "curve_fit": curve_fit}[name]()
    given = np.load(source)
    image, start, sigma = given["image"], given["start"], float(given["sigma"])
    wall, cpu = time.perf_counter(), time.process_time()
    position = fit(image, start, sigma)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    np.savez(target, position=position, cpu_s=cpu, wall_s=wall)


if __name__ == "__main__":
    main()
