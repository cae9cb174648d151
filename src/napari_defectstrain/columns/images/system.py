"""The normal equations of all columns of an image and its background."""

from __future__ import annotations

import numpy as np
from scipy.sparse import bsr_array, csc_array, csr_array, eye_array
from scipy.sparse.linalg import splu

from ...types import BoolArray, FloatArray, IntArray
from .background import SplineSurface
from .derivatives import Information

MAX_STEPS = 60
CAVITY_ROUNDS = 4
CAVITY_TOLERANCE = 1e-3
RIDGE = 1e-6
MOST_LOST = (0.9, 0.7, 0.4, 0.0)


class NormalEquations:
    """Normal equations, solved by conjugate gradients.

    Parameters
    ----------
    information : Information
    surface : SplineSurface
    cells : array
        `SplineSurface.gather` of the pixels' weights.
    position : array, `(N, 2)`
        (y, x) of the columns [px].
    empty : array of bool, `(N,)`
        Columns whose positions are held.
    damping : array, `(N, 3)`
        Added to the information of each column's weight, y and x (Levenberg).
    tail, ring : float
        Parts of a column's light beyond the patch that information is summed over, and between
        that and the one that pixels are projected on, see `_beyond_patches`.
    most_lost : float
        How much of what columns take of the background's information may be taken out: less where
        equations like these (their `most_lost`) stand no more.
    """

    def __init__(
        self,
        information: Information,
        surface: SplineSurface,
        cells: FloatArray,
        position: FloatArray,
        empty: BoolArray,
        damping: FloatArray,
        tail: float = 0.0,
        ring: float = 0.0,
        most_lost: float = MOST_LOST[0],
    ) -> None:
        self.surface = surface
        self._tail, self._ring, self._splines = tail, ring, surface.at(position)
        self.n = len(position)
        self.held = np.repeat(empty[:, None], 3, axis=1)
        self.held[:, 0] = False
        block, first, second, pair = held_blocks(information, empty)
        block[:, np.arange(3), np.arange(3)] += damping
        inverse = inverse_of(block)
        every = np.arange(self.n + 1)
        self._inverse = bsr_array((inverse, every[:-1], every), shape=(3 * self.n, 3 * self.n))
        self._matrix = _block_matrix(block, first, second, pair)
        coupling = np.where(self.held[..., None], 0.0, information.coupling)
        n, _, m = coupling.shape
        self._coupling = csr_array(
            (
                coupling.ravel(),
                np.repeat(information.spline, 3, axis=0).ravel(),
                np.arange(3 * n + 1) * m,
            ),
            shape=(3 * n, surface.size[0] * surface.size[1]),
        )
        self._coupling.eliminate_zeros()  # splines that end before a patch begins
        self._coupled = self._coupling.T
        self._background = self._ridged(surface.normal(cells))
        # what is left of the background's information when each column's own is eliminated
        level = coupling.sum(axis=2)  # the splines' sum is 1
        lost = np.einsum("na,nab,nb->n", level, inverse, level)
        taken = surface.gather_points(position, lost)
        # columns that overlap share what they take: nowhere may it be more than there is
        share = surface.within(taken) / np.maximum(surface.within(cells), 1e-300)
        taken /= max(float(share.max()), 1.0)
        for most in (m for m in MOST_LOST if m <= most_lost):
            self.most_lost = most
            reduced = csc_array(self._ridged(surface.normal(cells - most * taken)))
            self._reduced = splu(reduced, diag_pivot_thresh=0.0, options={"SymmetricMode": True})
            if self._reduced.U.diagonal().min() > 0:  # positive definite
                break

    def _ridged(self, matrix: csc_array) -> csc_array:
        ridge = RIDGE * float(matrix.diagonal().max())
        return csc_array(matrix + ridge * eye_array(matrix.shape[0], format="csc"))

    def solve(
        self,
        columns: FloatArray,
        background: FloatArray,
        tolerance: float,
        near: tuple[FloatArray, FloatArray] | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """Solutions for right-hand sides.

        Parameters
        ----------
        columns : array, `(N, 3, m)`
            Of weight, y and x of each column.
        background : array, `(ny, nx, m)`
        tolerance : float
            Of the norm that the preconditioner defines.
        near : tuple of arrays, optional
            Solutions of equations much like these, to begin with.

        Returns
        -------
        columns, background : arrays
            Of the same shapes; zero for positions that are held.
        """
        m = columns.shape[-1]
        right = self._flat(self._on_patches(columns, background), background)
        if near is not None:
            near = near[0], near[1] + self._beyond_patches(near[0])
        solution = self._solve(right, tolerance, None if near is None else self._flat(*near))
        n = 3 * self.n
        found = solution[:n].reshape(-1, 3, m)
        background = solution[n:].reshape(*self.surface.size, m)
        return found, background - self._beyond_patches(found)

    def _beyond_patches(self, columns: FloatArray) -> FloatArray:
        """The background that light of columns makes beyond their patches, `(ny, nx, m)`.

        The information of columns, `(N, 3, m)`, knows of their patches alone. What lies beyond is
        as smooth as the background, which is found as if it were a part of it: left there, it
        would be counted twice, and weights, background and profile would swing for ever.
        """
        by, bx = self._splines
        each = [by.T @ (weight[:, None] * bx) for weight in self._tail * columns[:, 0].T]
        return np.stack([self.surface.nearest(one) for one in each], axis=-1)

    def _on_patches(self, columns: FloatArray, background: FloatArray) -> FloatArray:
        """Right-hand sides of columns as the patches of information would have them."""
        by, bx = self._splines
        smooth = [self.surface.nearest(one) for one in np.moveaxis(background, -1, 0)]
        ring = np.stack([np.einsum("ni,ni->n", by @ one, bx) for one in smooth], axis=-1)
        result = columns.copy()
        result[:, 0] -= self._ring * ring
        return result

    def _flat(self, columns: FloatArray, background: FloatArray) -> FloatArray:
        """Both as vectors, `(3N + B, m)`, with zeros for positions that are held."""
        m = columns.shape[-1]
        held = np.where(self.held[..., None], 0.0, columns)
        return np.concatenate([held.reshape(-1, m), background.reshape(-1, m)])

    def _times(self, vector: FloatArray, pulled: FloatArray) -> FloatArray:
        """The normal matrix times vectors `(3N + B, m)`.

        `pulled` is the coupling times their backgrounds, `(3N, m)`.
        """
        columns, surface = vector[: 3 * self.n], vector[3 * self.n :]
        return np.concatenate(
            [self._matrix @ columns + pulled, self._coupled @ columns + self._background @ surface]
        )

    def _precondition(self, vector: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Solution without the coupling of columns to each other; coupling times its background."""
        columns, surface = vector[: 3 * self.n], vector[3 * self.n :]
        alone = self._inverse @ columns
        surface = self._reduced.solve(surface - self._coupled @ alone)
        pulled = self._coupling @ surface
        moved = alone - self._inverse @ pulled
        return np.concatenate([moved, surface]), pulled

    def _solve(self, right: FloatArray, tolerance: float, near: FloatArray | None) -> FloatArray:
        """Preconditioned conjugate gradients, all right-hand sides side by side."""
        solution = np.zeros_like(right)
        residual = right.copy()
        towards, pulled = self._precondition(residual)
        size = np.einsum("im,im->m", residual, towards)
        goal = tolerance**2 * size
        if near is not None:
            solution = near.copy()
            residual -= self._times(near, self._coupling @ near[3 * self.n :])
            towards, pulled = self._precondition(residual)
            size = np.einsum("im,im->m", residual, towards)
        direction = towards.copy()
        for _ in range(MAX_STEPS):
            if np.all(size <= goal):
                break
            image = self._times(direction, pulled)
            bend = np.einsum("im,im->m", direction, image)
            length = np.where(bend > 0, size / np.where(bend > 0, bend, 1.0), 0.0)
            solution += length * direction
            residual -= length * image
            towards, pulled_there = self._precondition(residual)
            new = np.einsum("im,im->m", residual, towards)
            kept = np.where(size > 0, new / np.maximum(size, 1e-300), 0)
            direction = towards + kept * direction
            pulled = pulled_there + kept * pulled
            size = new
        return solution


def held_blocks(
    information: Information, empty: BoolArray
) -> tuple[FloatArray, IntArray, IntArray, FloatArray]:
    """Blocks and pairs with the positions of empty columns held; no block is singular."""
    block = information.block.copy()
    pair = information.pair.copy()
    block[empty, 1:, :] = 0.0
    block[empty, :, 1:] = 0.0
    diagonal = np.einsum("nii->ni", block)
    typical = np.median(diagonal[~empty], axis=0) if np.any(~empty) else np.ones(3)
    diagonal += 1e-9 * np.where(typical > 0, typical, 1.0)
    diagonal[empty, 1:] = 1.0
    pair[empty[information.first], 1:, :] = 0.0
    pair[empty[information.second], :, 1:] = 0.0
    return block, information.first, information.second, pair


def _block_matrix(
    block: FloatArray, first: IntArray, second: IntArray, pair: FloatArray
) -> bsr_array:
    n = len(block)
    row = np.concatenate([np.arange(n), first, second])
    column = np.concatenate([np.arange(n), second, first])
    data = np.concatenate([block, pair, pair.swapaxes(1, 2)])
    number = np.arange(1.0, len(row) + 1.0)  # none is zero
    sorted_ = csr_array((number, (row, column)), shape=(n, n))
    order = sorted_.data.astype(np.intp) - 1
    return bsr_array((data[order], sorted_.indices, sorted_.indptr), shape=(3 * n, 3 * n))


def marginal_covariance(information: Information, empty: BoolArray) -> FloatArray:
    """Covariance of each column's weight, y and x, whatever its neighbours' are, `(N, 3, 3)`.

    Blocks of the inverse of the whole information by the cavity method: what a column says of its
    neighbour is its own block less what its other neighbours say of it (Gaussian belief
    propagation; Weiss & Freeman 2001, doi:10.1162/089976601750541769, eq. 13-14). Exact where no
    ring of neighbours closes, and to about a per cent in a lattice, whose rings are long.
    """
    block, first, second, pair = held_blocks(information, empty)
    n, e = len(block), len(first)
    source = np.concatenate([first, second])
    target = np.concatenate([second, first])
    coupling = np.concatenate([pair, pair.swapaxes(1, 2)])  # rows source, columns target
    back = np.concatenate([np.arange(e, 2 * e), np.arange(e)])
    message = np.zeros((2 * e, 3, 3))
    for _ in range(CAVITY_ROUNDS if e else 0):
        cavity = _reduced(block, target, message)[source] + message[back]
        proposal = coupling.swapaxes(1, 2) @ inverse_of(cavity) @ coupling
        before = message
        message = np.where(_positive(cavity)[:, None, None], proposal, message)
        change = np.abs(np.einsum("eii->ei", message - before))
        if np.all(change <= CAVITY_TOLERANCE * np.einsum("nii->ni", block)[target]):
            break
    left = _reduced(block, target, message)
    covariance = inverse_of(np.where(_positive(left)[:, None, None], left, block))
    doubtful = np.flatnonzero(~_positive(left))
    if len(doubtful):
        matrix = _block_matrix(block, first, second, pair)
        for j in doubtful:
            covariance[j] = _local_covariance(matrix, int(j))
    return np.asarray(covariance.reshape(n, 3, 3))


def _local_covariance(matrix: bsr_array, column: int) -> FloatArray:
    """Block of the inverse of what a column and two rings of neighbours say; NaN if singular."""
    near = {column}
    for _ in range(2):
        near |= {int(k) for j in near for k in matrix.indices[slice(*matrix.indptr[j : j + 2])]}
    index = np.array([column, *sorted(near - {column})])
    rows = (3 * index[:, None] + np.arange(3)).ravel()
    dense = matrix.tocsr()[rows][:, rows].toarray()
    value, vector = np.linalg.eigh(dense)
    if value[0] <= 1e-12 * value[-1]:
        return np.full((3, 3), np.nan)
    return np.asarray((vector[:3] / value) @ vector[:3].T)


def _reduced(block: FloatArray, target: FloatArray, message: FloatArray) -> FloatArray:
    reduced = block.copy()
    flat = reduced.reshape(len(block), 9)
    for k in range(9):
        flat[:, k] -= np.bincount(target, message[:, k // 3, k % 3], minlength=len(block))
    return reduced


def inverse_of(block: FloatArray) -> FloatArray:
    """Inverses of symmetric 3 x 3 matrices, `(N, 3, 3)`, by their cofactors."""
    a, b, c = block[:, 0, 0], block[:, 0, 1], block[:, 0, 2]
    d, e, f = block[:, 1, 1], block[:, 1, 2], block[:, 2, 2]
    aa, ab, ac = d * f - e * e, c * e - b * f, b * e - c * d
    dd, de, ff = a * f - c * c, b * c - a * e, a * d - b * b
    determinant = a * aa + b * ab + c * ac
    rows = np.stack([aa, ab, ac, ab, dd, de, ac, de, ff], axis=-1).reshape(-1, 3, 3)
    return np.asarray(rows / determinant[:, None, None])


def _positive(block: FloatArray) -> BoolArray:
    """Whether symmetric 3 x 3 matrices are positive definite."""
    one = block[:, 0, 0]
    two = one * block[:, 1, 1] - block[:, 0, 1] ** 2
    inner = block[:, 0, 1] * block[:, 1, 2] - block[:, 0, 2] * block[:, 1, 1]
    cross = block[:, 0, 1] * block[:, 0, 2] - block[:, 0, 0] * block[:, 1, 2]
    whole = block[:, 0, 2] * inner + block[:, 1, 2] * cross + block[:, 2, 2] * two
    return np.asarray((one > 0) & (two > 0) & (whole > 0))
