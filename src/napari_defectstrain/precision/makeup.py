"""What a class is made of: its populations, how its windows vary, whether its halves agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..columns.averages.measure import ColumnMeasurement
from ..io.large_arrays import in_parts
from ..progress import shared_out, subprogress
from ..styles import with_error
from ..types import ClassAverage, ClassStack, FloatArray, Progress, no_progress
from .half_sets import HalfSets, half_sets, split_by_image
from .single_windows import (
    QUANTITIES,
    Known,
    WindowQuantities,
    noise_pixels,
    window_quantities,
    without_images,
)
from .summary import single_window_spacings
from .two_populations import (
    MakeupConfig,
    Population,
    TwoPopulations,
    WindowSample,
    ask_populations,
)
from .variability import OWN_SIGMA, Component, window_components

CHUNK = 256  # windows at a time
UNDISTORTED_SIGMA = 3.0
"""Errors within which a triangle is called that of the defect-free lattice."""
COMPONENT_RADIUS = 1.0
"""Of the disc whose pixels are asked how they vary [a]: the centre, its metals, and the chalcogens
around, all perfect by the isolation."""


@dataclass(frozen=True)
class Scatter:
    """One quantity of single windows, its scatter against noise.

    Parameters
    ----------
    quantity : str
        One of `QUANTITIES`.
    measured, noise : float
        Standard deviation over the windows, and of noise alone.
    own : float
        What is left without the noise; 0 where the windows scatter less than noise.
    sigma : float
        Variance above that of noise in units of its error.
    """

    quantity: str
    measured: float
    noise: float
    own: float
    sigma: float

    @property
    def is_noise(self) -> bool:
        """Whether it is no more than noise."""
        return self.sigma < OWN_SIGMA


@dataclass(frozen=True)
class ClassMakeup:
    """What a class is made of.

    Parameters
    ----------
    quantities : WindowQuantities or None
        None for the defect-free class, whose windows are the noise, and where they can't be told.
    populations : TwoPopulations or None
        None for too few windows.
    scatter : tuple of Scatter
    components : tuple of Component
    halves : HalfSets or None
        None for too few windows.
    systematic : float
        Error of the class's strain by column model and profile, which its populations share.
    """

    quantities: WindowQuantities | None
    populations: TwoPopulations | None
    scatter: tuple[Scatter, ...]
    components: tuple[Component, ...]
    halves: HalfSets | None
    systematic: float = 0.0

    def strain_of(self, population: Population) -> tuple[float, float]:
        """Strain of a population's triangle against the defect-free average, and its error.

        Errors are those of what the linear response sees, times the slope of what that stands for,
        those of what two sizes do to the shared profile, which is taken off, to first order in the
        places of both and in their shares, and those of the class by column model and profile.
        The class's own strain keeps what is taken off here: strains of its populations, weighted
        by their shares, don't add up to it.

        Parameters
        ----------
        population : Population
            One of `populations`.

        Returns
        -------
        (float, float)
        """
        q, found = self.quantities, self.populations
        assert q is not None and found is not None  # there are no populations without
        noise = q.noise[:, 1].std() / np.sqrt(len(q.noise))
        seen = float(population.value[1])
        slope = q.slope(seen) / q.reference_pm
        variance, errors = self._variance_pm2()
        strain = q.strain(seen, variance)
        # its own place moves the strain and what is taken off together
        apart = errors * (strain - q.strain(seen)) / variance if variance > 0.0 else errors
        own = [one is population for one in found.populations].index(True)
        apart[own] += slope * population.value_std[1]
        return strain, float(np.linalg.norm([*apart, slope * noise, self.systematic]))

    def is_undistorted(self, population: Population) -> bool:
        """Whether a population's triangle is that of the defect-free lattice, within three errors.

        By `strain_of`: the response alone has two kinds of triangles .15 % too large, which many
        windows tell from none.

        Parameters
        ----------
        population : Population
            One of `populations`.
        """
        strain, error = self.strain_of(population)
        return abs(strain) < UNDISTORTED_SIGMA * error

    def _variance_pm2(self) -> tuple[float, FloatArray]:
        """Of the triangles' sizes, by the populations that are seen, and its errors [pm^2].

        By one standard error of the first place, of the second one, and of the shares, `(3,)`.
        """
        q, found = self.quantities, self.populations
        if q is None or found is None or not found.two:
            return 0.0, np.zeros(3)
        both = found.populations
        share = np.array([one.share for one in both])
        share_std = both[1].share_std / share.sum()  # one loses what the other gains
        share = share / share.sum()
        size = np.array([q.triangle_pm(float(one.value[1])) for one in both])
        size_std = np.array([q.slope(float(p.value[1])) * p.value_std[1] for p in both])
        away = size - share @ size
        by_share = (away[1] ** 2 - away[0] ** 2) * share_std
        errors = np.array([*(2.0 * share * away * size_std), by_share])
        return float(share @ away**2), errors

    @property
    def in_words(self) -> str:
        """For people, such as ``31 ± 6 % undistorted (p < 0.002), the rest -6.9 ± 0.3 %``."""
        found = self.populations
        if found is None:
            return ""
        if found.two:
            text = self._two_in_words(found)
        else:
            text = f"one population ({found.p_text})"
            high = 100 * found.undistorted_95[1]
            text += f", at most {high:.2g} % undistorted (95 %)"
            if np.isfinite(found.seen_from):
                text += f"; {100 * found.seen_from:.2g} % would be seen nine times in ten"
            else:
                text += "; too few windows to see even a half"
        if found.expected_other >= 0.0005:
            other = f"{100 * found.expected_other:.1f} %"
            text += f"; {other} expected of other classes is taken off"
        return text

    def _two_in_words(self, found: TwoPopulations) -> str:
        rest, other = found.populations
        if self.is_undistorted(rest) and not self.is_undistorted(other):
            rest, other = other, rest
        share = with_error(100 * other.share, 100 * other.share_std, ".0f")
        strain, error = (100 * v for v in self.strain_of(rest))
        kind = "undistorted"
        if not self.is_undistorted(other):
            place, place_std = (100 * v for v in self.strain_of(other))
            kind = f"at {with_error(place, place_std, '+.1f')} %"
        text = f"{share} % {kind} ({found.p_text}), the rest {with_error(strain, error, '+.1f')} %"
        return text


def class_makeups(
    names: Sequence[str],
    columns: Mapping[str, ColumnMeasurement],
    stacks: Mapping[str, ClassStack],
    averages: Mapping[str, ClassAverage],
    reference: str,
    config: MakeupConfig,
) -> dict[str, ClassMakeup]:
    """What classes are made of, but for their populations.

    Parameters
    ----------
    names : sequence of str
        The classes that are asked for.
    columns, stacks, averages : mappings by class
    reference : str
        The defect-free class, whose windows tell the noise.
    config : MakeupConfig

    Returns
    -------
    dict of class to ClassMakeup
        In the order of `names`.
    """
    known: Known = {}

    def without_populations(name: str) -> ClassMakeup:
        halves = _halves(name, columns, stacks, reference)
        quantities = None
        if name != reference and stacks[name].n > 1 and stacks[reference].n > 1:
            quantities = window_quantities(name, columns, stacks, averages, reference, known)
        if quantities is None:
            return ClassMakeup(None, None, (), (), halves)
        components = _components(name, columns, stacks, reference, quantities, config.components)
        return ClassMakeup(quantities, None, _scatter(quantities), components, halves)

    return dict(zip(names, shared_out(without_populations, names), strict=True))


def populations_of(
    samples: Mapping[str, WindowSample],
    config: MakeupConfig,
    rng: np.random.Generator,
    progress: Progress = no_progress,
) -> dict[str, TwoPopulations | None]:
    """One population or two, of several classes; None for too few windows.

    Parameters
    ----------
    samples : mapping of class to WindowSample
        `WindowQuantities.sample` of each class that has any.
    config : MakeupConfig
    rng : numpy Generator
        Draws the simulated stacks, of one class after the other.
    progress : Progress
    """
    found = {}
    for done, (name, sample) in enumerate(samples.items()):
        first, last = (k / len(samples) for k in (done, done + 1))
        part = subprogress(progress, first, last, f"populations of {name}: ")
        found[name] = ask_populations(sample, config, rng, part)
    return found


def _halves(
    name: str,
    columns: Mapping[str, ColumnMeasurement],
    stacks: Mapping[str, ClassStack],
    reference: str,
) -> HalfSets | None:
    spacing = {n: single_window_spacings(columns[n]).mean(axis=1) for n in (name, reference)}
    base = None if name == reference else stacks[reference]
    mine = columns[name]
    if stacks[name].n_columns is not None:
        return None
    return half_sets(
        stacks[name], mine.fits, mine.influence_pm, spacing[name], base, spacing[reference]
    )


def _scatter(quantities: WindowQuantities) -> tuple[Scatter, ...]:
    """Each quantity's scatter against noise."""
    part = quantities.noise_weight / quantities.noise_weight.sum()
    scale2, scale2_error = quantities.noise_scale**2, 2 * quantities.noise_scale
    scale2_error *= quantities.noise_scale_error
    found = []
    for k, quantity in enumerate(QUANTITIES):
        value, noise = quantities.value[:, k], quantities.noise[:, k]
        if not (np.isfinite(value).all() and np.isfinite(noise).all()):
            continue  # an empty column has no place
        square = (value - value.mean()) ** 2
        varies, level = float(square.sum() / (len(value) - 1)), float(part @ noise**2)
        errors = (
            float(square.std(ddof=1) / np.sqrt(len(value))),
            scale2 * float(np.sqrt((part**2) @ (noise**2 - level) ** 2)),
            scale2_error * level,
        )
        above = varies - scale2 * level
        error = float(np.sqrt(sum(e**2 for e in errors)))
        own, quiet = float(np.sqrt(max(above, 0.0))), float(np.sqrt(scale2 * level))
        sigma = above / error if error > 0.0 else 0.0
        found.append(Scatter(quantity, float(np.sqrt(varies)), quiet, own, sigma))
    return tuple(found)


def _components(
    name: str,
    columns: Mapping[str, ColumnMeasurement],
    stacks: Mapping[str, ClassStack],
    reference: str,
    quantities: WindowQuantities,
    count: int,
) -> tuple[Component, ...]:
    stack = stacks[name]
    x = (np.arange(stack.windows.shape[1]) - stack.windows.shape[1] // 2) * stack.step_pm
    disc = np.hypot(x[:, None], x[None, :]) <= COMPONENT_RADIUS * stack.a_pm
    index = np.flatnonzero(stack.included)
    parts = [part[:, disc].astype(float) for part in in_parts(stack.windows, index, CHUNK)]
    windows = np.concatenate(parts)
    windows = without_images(windows - windows.mean(axis=0), stack.image_index[stack.included])
    noise = noise_pixels(columns[name], columns[reference], stack, stacks[reference], disc)
    first, _ = split_by_image(stack.image_index[stack.included])
    scale = (quantities.noise_scale, quantities.noise_scale_error)
    return window_components(windows, first, noise, quantities.noise_weight, scale, disc, count)
