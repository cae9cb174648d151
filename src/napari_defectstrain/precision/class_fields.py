"""Fields of all classes at once, from every column of whole images, isolated defects or not.

The displacement of a column from its ideal site is the sum of what all defects around it do (linear
superposition), slow distortion of the scan and noise:

``u(s) = sum over defects d of U_class(d)(s - d) + distortion(s) + noise``

U at the lattice sites around a defect, and an elastic tail beyond them, are the unknowns of one
sparse least-squares problem. Neither windows nor isolation enter, and about ten times as many
defects do; what it takes for granted is that displacements add. A column of doubtful class counts
for each by its probability. Errors are by bands of scan lines; what the profiles that columns were
fitted with may have done is handed on beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from ..averages.patches import Patch, find_patches
from ..averages.symmetry import symmetric_basis
from ..columns.images.measure import fit_image_columns
from ..columns.images.types import Aberrations, ImageColumnConfig, ImageColumns
from ..crystal.honeycomb import ideal_sites, index_columns
from ..crystal.regions import Regions
from ..judge import with_places_beyond
from ..materials import ROLES
from ..progress import shared_out, subprogress
from ..types import (
    METAL,
    OTHER,
    CalibratedImage,
    DefectStrainError,
    DisplacementField,
    FloatArray,
    IntArray,
    KnownProbe,
    Progress,
    Sites,
    no_progress,
)
from .field_equations import (
    ColumnDisplacements,
    FieldEquations,
    FieldSolution,
    scales_of,
    scatter_of,
    solve,
    usable_columns,
)
from .foreseen_columns import ForeseenColumns

RADIUS_PM = 1200.0
DISTORTION_NM = 4.0
PASSES = 3
LEAST_DEFECT = 0.5
"""Defects of a class, by their shares, from which it has a field of its own."""

FITTED = ImageColumnConfig(sampling_sigma=1.0)
"""Pixels of a sigma: at the paper's that is 48 pm, and a probe's information limit is just below
half a wave a pixel. Errors of places grow by 3 %, what they cost falls with the pixels."""

DOUBT = "averages of every defect may be off by more than their errors say"
_AT_A_TIME = 4
_MOST_PIXELS = 1 << 23  # of the images that are fitted at a time
OWN_ERROR = 0.25
"""Error of an image's amount of aberrations beyond noise, in simulations with jitter, grainy dirt
and tails: with and without noise and dirt images are told amounts that differ by 0.2 (rms of
twelve; 0.6 in the worst of 36)."""
COMMON_ERROR = 0.12
"""Error that the amounts of all images share: tails that no aperture makes (0 to 15 %) change what
is told by 0.08 (rms) from what the strains ask for, members of the family differ by 0.06, and noise
and jitter leave 0.05 (`columns.images.instruments`)."""
FAR, FAR_ERROR = 0.3, 1.0
"""Beyond so much of them the family's members are unlike each other (0.12 to 0.24), and probes that
are much out of focus are told 0.8 too little where 0.9 is told: this much more error a unit."""


@dataclass(frozen=True)
class SuperposedFields:
    """Class fields by linear superposition.

    Parameters
    ----------
    fields : mapping of class to DisplacementField
        With covariance; NaN at sites where no column was near any defect of the class.
    n_defects : mapping of class to float
        All that had a say: each column counts by its share.
    tail_pm2 : mapping of class to float
        B of the elastic tail beyond the sites [pm^2].
    residual_pm : mapping of class to float
        Robust standard deviation per axis of what is left, by the class of the column, all domains
        together [pm].
    n_columns : int
        Columns fitted.
    influence_pm : mapping of class to array, `(T, 2M)`
        Influence of each band on a field: their squares sum to its covariance [pm].
    profile_shift_pm : mapping of class to array, `(G, 2M)`
        What independent one-sigma errors of the images' profiles add to a field, the same errors
        for all classes [pm].
    notes : tuple of str
        Images whose columns' fit ended on the way.
    """

    fields: Mapping[str, DisplacementField]
    n_defects: Mapping[str, float]
    tail_pm2: Mapping[str, float]
    residual_pm: Mapping[str, float]
    n_columns: int
    influence_pm: Mapping[str, FloatArray]
    profile_shift_pm: Mapping[str, FloatArray]
    notes: tuple[str, ...] = ()


def superposed_fields(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    a_pm: float,
    regions: Sequence[Regions | None] | None = None,
    position_px: Sequence[FloatArray] | None = None,
    symmetric: bool = True,
    radius_pm: float = RADIUS_PM,
    fits: Sequence[ImageColumns] | None = None,
    band: Sequence[IntArray] | None = None,
    bands: int | None = None,
    progress: Progress = no_progress,
) -> SuperposedFields:
    """Fields of all classes from all columns of some images.

    Parameters
    ----------
    images, sites : sequences of equal length
    a_pm : float
        Lattice constant of the lattice frame [pm].
    regions : sequence of Regions or None, optional
        Of each image; without them an image is one domain.
    position_px : sequence of array `(N, 2)`, optional
        Fitted positions of the columns of each `Sites` (y, x) [px], NaN where there is none;
        by default `columns_of_image` measures them.
    symmetric : bool
        Whether fields have the symmetry of the site: a sixth of the unknowns.
    radius_pm : float
        Reach of a class's field [pm].
    fits : sequence of ImageColumns, optional
        What `columns_of_image` says of each image, where that is known.
    band : sequence of array of int `(N,)`, optional
        Cluster of each column of each `Sites` for the errors, counted over all images; -1 leaves a
        column out. By default bands of scan lines.
    bands : int, optional
        How many `band` counts: the last may be without a column.
    progress : Progress

    Columns count for each class by its probability.

    Raises
    ------
    DefectStrainError
        If an image shows no lattice, or no column is usable.
    """
    places, moves, notes = [], [], []
    domains = find_patches(images, sites, a_pm, regions)
    if position_px is None:
        if fits is None:
            fits = _fitted(images, sites, domains, a_pm, subprogress(progress, 0.0, 0.8))
        for image, fit in zip(images, fits, strict=True):
            notes += [f"{n}; {DOUBT}" for n in fit.notes(image.name)]
        for fit, (change, sigma) in zip(fits, _agreed([f.aberrations for f in fits]), strict=True):
            way = np.zeros_like(fit.position_px)
            if fit.aberrations is not None:
                way = fit.aberrations.moves_px
            places.append(fit.position_px + change * way)
            told = 0.0 if fit.aberrations is None else fit.aberrations.amount + change
            moves.append(np.stack([sigma * way, common_error(told) * way], axis=2))
    else:
        places = [np.asarray(p, dtype=float) for p in position_px]
        moves = [np.zeros((*p.shape, 2)) for p in places]
    fitted = [replace(c, position_px=p) for c, p in zip(sites, places, strict=True)]
    progress(0.8, "superposing fields")
    parts = []
    for patch in domains:
        columns, way = fitted[patch.image_index], moves[patch.image_index]
        start = sites[patch.image_index].position_px[patch.member]
        site, is_metal, _ = index_columns(start, patch.lattice)
        role = columns.role[patch.member]
        place = columns.position_px[patch.member]
        u = patch.lattice.to_pm(place) - site
        astray = (np.hypot(*u.T) > 0.25 * a_pm) | ((role == METAL) != is_metal)
        u[astray | (role == OTHER)] = np.nan
        ways, there = np.moveaxis(way[patch.member], 2, 0), patch.lattice.to_pm(start)
        moved = np.stack([patch.lattice.to_pm(start + one) - there for one in ways], axis=2)
        pixel = 1.0 / float(np.sqrt(np.linalg.det(patch.lattice.matrix)))
        share = np.where((role == METAL)[:, None], 0.0, columns.probabilities[patch.member])
        of_band = None if band is None else band[patch.image_index][patch.member]
        parts.append(
            ColumnDisplacements(
                start,
                site,
                u,
                role,
                pixel,
                share,
                of_band,
                moved,
                patch.image_index,
                _scan_directions(patch),
            )
        )
    names = sites[0].class_names if sites else ROLES
    if band is not None and bands is None:
        bands = 1 + max(int(b.max(initial=-1)) for b in band)
    fields = fit_class_fields(parts, names, a_pm, symmetric, radius_pm, bands=bands)
    return replace(fields, notes=tuple(notes))


def columns_of_image(
    image: CalibratedImage,
    sites: Sites,
    domains: Sequence[Patch],
    a_pm: float,
    progress: Progress = no_progress,
    errors: bool = True,
) -> ImageColumns:
    """All columns of an image, with the profile that those foreseen tell.

    Columns that the border cuts are fitted with them: nobody finds these, and left out they bend
    background and profile so far inwards that strains were .03 % off.

    Parameters
    ----------
    image : CalibratedImage
    sites : Sites
    domains : sequence of Patch
        Its own.
    a_pm : float
        Lattice constant of the lattice frame [pm].
    progress : Progress
    errors : bool
        Whether the covariance of each position is wanted: those of fields don't ask for it.

    Raises
    ------
    DefectStrainError
        If they can't be fitted.
    """
    foresee = ForeseenColumns(sites, domains, a_pm)
    start = np.concatenate([sites.position_px, _cut_by_border(image, sites, domains, a_pm)])
    fitted = fit_image_columns(
        image, start, FITTED, progress=progress, foresee=foresee, errors=errors
    )
    return fitted.first(len(sites))


def _cut_by_border(
    image: CalibratedImage, sites: Sites, domains: Sequence[Patch], a_pm: float
) -> FloatArray:
    """Places of columns at the border that the lattice goes on to and nobody found, `(K, 2)` [px].

    Those beyond it are no pixels' own.
    """
    if not domains:
        return np.zeros((0, 2))
    a_px = a_pm * float(np.sqrt(np.linalg.det(domains[0].lattice.matrix)))
    place = with_places_beyond(sites, image.data.shape, a_px).position_px[len(sites) :]
    last = np.array(image.data.shape) - 1.0
    return np.asarray(place[((place >= 0.0) & (place <= last)).all(axis=1)])


def at_a_time(images: Sequence[CalibratedImage]) -> int:
    """How many images to fit at a time: each takes some ten times its memory."""
    largest = max((image.data.size for image in images), default=1)
    return max(1, min(_AT_A_TIME, len(images), _MOST_PIXELS // largest))


def _fitted(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    domains: Sequence[Patch],
    a_pm: float,
    progress: Progress,
) -> list[ImageColumns]:
    """The columns of all images, some images at a time."""

    def fit(i: int) -> ImageColumns:
        mine = [patch for patch in domains if patch.image_index == i]
        return columns_of_image(images[i], sites[i], mine, a_pm, errors=False)

    if at_a_time(images) > 1:
        every = range(len(images))
        return shared_out(fit, every, progress=progress, message="fitting columns")
    fits = []
    for i, image in enumerate(images):
        progress(i / len(images), f"{image.name}: fitting columns")
        fits.append(fit(i))
    return fits


def _agreed(found: Sequence[Aberrations | None]) -> list[tuple[float, float]]:
    """By how much the amount of each image's aberrations is to change, and its error then.

    Images of one session are alike, and what a dirty one says of its probe may be far off. So
    each amount is drawn to the mean of all by how little it is known and by how little they differ.
    """
    known = [one for one in found if one is not None]
    if not known:
        return [(0.0, 0.0)] * len(found)
    amount = np.array([one.amount for one in known])
    variance = np.array([one.sigma**2 + OWN_ERROR**2 for one in known])
    between = _scatter_between(amount, variance) if len(amount) > 1 else 1.0
    weight = 1.0 / (variance + between)
    # the family itself is one more thing that is known of the mean
    mean = float(weight @ amount / (weight.sum() + 1.0))
    of_mean = 1.0 / (float(weight.sum()) + 1.0)
    result = []
    for one in found:
        if one is None:
            result.append((0.0, 0.0))
            continue
        own = one.sigma**2 + OWN_ERROR**2
        kept = between / (between + own)
        left = kept * own + (1.0 - kept) ** 2 * of_mean
        result.append((float((1.0 - kept) * (mean - one.amount)), float(np.sqrt(left))))
    return result


def _scatter_between(amount: FloatArray, variance: FloatArray) -> float:
    """Variance between amounts, `(N,)`, beyond their own; at most that of the family, 1.

    DerSimonian & Laird 1986, doi:10.1016/0197-2456(86)90046-2.
    """
    weight = 1.0 / variance
    mean = float(weight @ amount / weight.sum())
    surplus = float(weight @ (amount - mean) ** 2) - (len(amount) - 1)
    scale = float(weight.sum() - (weight**2).sum() / weight.sum())
    return min(max(surplus / scale, 0.0), 1.0)


def probe_by(found: Sequence[Aberrations]) -> KnownProbe:
    """What the columns of some images tell of the probe they share.

    Parameters
    ----------
    found : sequence of Aberrations
        Of each image, one at least.
    """
    amount = np.array([one.amount for one in found])
    variance = np.array([one.sigma**2 + OWN_ERROR**2 for one in found])
    between = _scatter_between(amount, variance) if len(found) > 1 else 0.0
    weight = 1.0 / (variance + between)
    # the family itself is one more thing that is known of it
    total = float(weight.sum()) + 1.0
    mean = float(weight @ amount) / total
    return KnownProbe(mean, min(float(np.hypot(total**-0.5, common_error(mean))), 1.0))


def common_error(amount: float) -> float:
    """Error that images share, of an amount of aberrations, in the family's standard deviations.

    Parameters
    ----------
    amount : float
        As it is told, likewise.
    """
    return COMMON_ERROR + FAR_ERROR * max(amount - FAR, 0.0)


def fit_class_fields(
    parts: Sequence[ColumnDisplacements],
    class_names: Sequence[str],
    a_pm: float,
    symmetric: bool = True,
    radius_pm: float = RADIUS_PM,
    distortion_nm: float = DISTORTION_NM,
    bands: int | None = None,
) -> SuperposedFields:
    """Class fields that fit the columns of all domains best.

    Least squares, weighted by the scatter of the columns of each class and of each domain along
    either axis, without columns that differ by more than 5 robust standard deviations of both. Slow
    distortion of each domain (affine, and cosines of half-waves down to `distortion_nm`), an offset
    of its chalcogen sublattice (tilt) and shifts of scan lines are fitted along. Errors by the
    sandwich with bands of scan lines as clusters.

    Parameters
    ----------
    parts : sequence of ColumnDisplacements
    class_names : sequence of str
        In the order of the roles.
    a_pm : float
        Lattice constant [pm].
    symmetric : bool
        Whether fields have the symmetry C3v.
    radius_pm, distortion_nm : float
        Reach of a field [pm]; shortest half-wave of the distortion [nm].
    bands : int, optional
        How many there are, where `ColumnDisplacements.band` counts them over all domains.

    Raises
    ------
    DefectStrainError
        If there is no defect, or fewer columns than unknowns.
    """
    use = [np.flatnonzero(usable_columns(part, a_pm)) for part in parts]
    count = _defects_with_a_say(parts, use, len(class_names), radius_pm)
    roles = np.flatnonzero(count >= LEAST_DEFECT).tolist()
    if not roles and any(len(rows) for rows in use):
        raise DefectStrainError(
            "superposition: got no defect in any domain, expected some of "
            f"{', '.join(class_names[2:OTHER])}; check the classes of the columns"
        )
    site, is_metal = ideal_sites(a_pm, radius_pm)
    basis = symmetric_basis(site) if symmetric else np.eye(2 * len(site))

    def equations_of(k: int) -> FieldEquations:
        part, rows = parts[k], use[k]
        return FieldEquations.of(part, roles, site, basis, radius_pm, a_pm, distortion_nm, rows)

    every = shared_out(equations_of, range(len(parts)))
    equations = [e for e in every if len(e.role)]
    if not equations:
        raise DefectStrainError(
            "superposition: got no column with a position and neighbours on all sides, expected "
            "a crystal; check that the columns could be fitted"
        )
    n_rows, n_unknown = sum(len(e.role) for e in equations), equations[0].design.shape[1]
    if n_rows < n_unknown:
        raise DefectStrainError(
            f"superposition: got {n_rows} columns for {n_unknown} unknowns, expected more; use "
            "more images, a smaller radius or symmetric fields"
        )
    for _ in range(PASSES - 1):
        equations = _reweighted(equations, solve(equations, errors=False), len(class_names))
    solved = solve(equations, bands)
    left = scatter_of(solved.left_pm, [e.role for e in equations], len(class_names))
    solution = solved.unknown
    fields, tail, influence, by_profile = {}, {}, {}, {}
    for k, role in enumerate(roles):
        own = slice(k * (basis.shape[1] + 1), (k + 1) * (basis.shape[1] + 1) - 1)
        name = class_names[role]
        u = (basis @ solution[own]).reshape(-1, 2)
        told = sum(abs(e.design[:, own]).sum(axis=0) for e in equations)
        u[((basis**2) @ (told == 0) > 1e-9).reshape(-1, 2).any(axis=1)] = np.nan
        on_field = solved.band_influence[:, own] @ basis.T
        spread = on_field.T @ on_field  # nowhere below zero
        fields[name] = DisplacementField(name, site, is_metal, u, spread)
        tail[name] = float(solution[own.stop])
        influence[name] = on_field
        by_profile[name] = solved.profile_shift[:, own] @ basis.T
    return SuperposedFields(
        fields,
        {class_names[role]: float(count[role]) for role in roles},
        tail,
        {class_names[r]: float(s) for r, s in enumerate(left) if np.isfinite(s)},
        sum(len(e.role) for e in equations),
        influence,
        by_profile,
    )


def _reweighted(
    equations: Sequence[FieldEquations], solved: FieldSolution, n_classes: int
) -> list[FieldEquations]:
    """Equations weighted by what a solution leaves, without columns that are outliers.

    Weights first: by the scatter of all domains together noisy ones lost columns that are none.
    """
    scatter, axes = scales_of(solved, [e.role for e in equations], n_classes)
    result = []
    for e, left, own in zip(equations, solved.left_pm, axes, strict=True):
        result.append(e.weighted(scatter, own).without(left, scatter))
    return result


def _scan_directions(patch: Patch) -> FloatArray:
    """Unit vectors along and across the lines of a scan, in the lattice frame, `(2, 2)`."""
    along = patch.lattice.to_pm(np.array([[0.0, 1.0]])) - patch.lattice.to_pm(np.zeros((1, 2)))
    x, y = along[0] / np.hypot(*along[0])
    return np.array([[x, y], [-y, x]])


def _defects_with_a_say(
    parts: Sequence[ColumnDisplacements], use: Sequence[IntArray], n_classes: int, radius_pm: float
) -> FloatArray:
    """Defects of each class with a usable column in reach, each by its share, `(n_classes,)`.

    What nothing is told of has none, whatever it is called; a class that no column is most likely
    of has some where several may be of it.
    """
    count: FloatArray = np.zeros(n_classes)
    for part, rows in zip(parts, use, strict=True):
        if len(rows) == 0:
            continue
        near = cKDTree(part.site_pm[rows]).query(part.site_pm)[0] < radius_pm
        for role in range(2, n_classes):
            if role != OTHER:
                count[role] += part.share(role)[near].sum()
    return count
