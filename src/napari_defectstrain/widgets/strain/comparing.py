"""What the comparison shows, from a kept measurement: no column of an image is fitted anew.

Everything here runs in the worker. What one question has found serves the next: a change of
smoothing needs no new simulation of a reference, a moved line no new maps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...materials import get_material
from ...pipeline.comparison import (
    ATOMISTIC,
    ELASTIC,
    MEASURED,
    Comparison,
    compare_class,
    reference_displacement,
    with_budget,
)
from ...pipeline.runs import RunResult
from ...precision.bootstrap import bootstrap_displacements
from ...strain.displacement import displacement_samples
from ...strain.field import StrainConfig, strain_field
from ...strain.lines import LineProfile, line_profile
from ...strain.triangles import TriangleStrain, triangle_strain
from ...theory.defect_numbers import LATTICE
from ...theory.field_symmetry import DisplacementDecay, displacement_decay
from ...theory.reference import Reference, bundled_reference, load_reference
from ...types import DefectStrainError, DisplacementField, FloatArray, Progress, StrainField

SAMPLES = 1000
"""Bootstrap samples of a line profile."""
KEPT = 24
"""Comparisons that are kept; one is a few MB."""

Line = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class ReferenceFiles:
    """Which structures a reference is read from; without paths, the bundled ones."""

    defect: Path | None = None
    pristine: Path | None = None


@dataclass(frozen=True)
class Asked:
    """What is to be shown.

    Parameters
    ----------
    class_name : str
    component : str
        Of the maps.
    strain : StrainConfig
    target : str
        What the inclusion is fitted to; empty: no elastic model.
    reference : ReferenceFiles or None
        None: no reference.
    route : str
        Of `comparison.ROUTES`.
    difference_to : str
        ``reference`` or ``Eshelby``, where it is there; else the other one.
    triangles : str
        Sublattice of the triangles; empty: none.
    all_classes : bool
        Whether the maps of all classes are shown, too.
    line_pm : ((x, y), (x, y)) or None
        Of the line profile, in the lattice frame; None: across the defect along y.
    line_problem : str
        Why there is no line.
    along : str
        Component along the line.
    elastic : (float, float) or None
        C11 and C12 [N/m]; None: those of the run's settings, or of the material.
    """

    class_name: str
    component: str
    strain: StrainConfig
    target: str
    reference: ReferenceFiles | None
    route: str
    difference_to: str
    triangles: str = ""
    all_classes: bool = False
    line_pm: Line | None = None
    line_problem: str = ""
    along: str = "eyy"
    elastic: tuple[float, float] | None = None


@dataclass(frozen=True)
class Answer:
    """What was asked for.

    Parameters
    ----------
    asked : Asked
    comparison : Comparison
    decay : DisplacementDecay
    strains : mapping of class to StrainField
        Of all classes; empty where they weren't asked for.
    triangles : TriangleStrain or None
    profile : LineProfile or None
        None where there is a `line_problem`.
    line_problem, reference_problem : str
        Why there is no profile, or no reference although one was asked for.
    """

    asked: Asked
    comparison: Comparison
    decay: DisplacementDecay
    strains: Mapping[str, StrainField]
    triangles: TriangleStrain | None
    profile: LineProfile | None
    line_problem: str = ""
    reference_problem: str = ""

    @property
    def panels(self) -> dict[str, StrainField]:
        """The maps that are shown, by what they are: theories that weren't asked for left out."""
        shown = dict(self.comparison.strain)
        if not self.asked.target:
            shown.pop(ELASTIC)
            if ATOMISTIC not in shown:
                return {MEASURED: shown[MEASURED]}
        return shown


class Comparer:
    """Answers questions about one measurement, and remembers.

    Parameters
    ----------
    result : RunResult
        With its measurements.
    """

    def __init__(self, result: RunResult) -> None:
        self.result = result
        self.material = get_material(result.config.material)
        self._kept: dict[Any, Any] = {}

    @property
    def classes(self) -> list[str]:
        """Classes with a displacement."""
        found = self.result.measurements.items()
        return [name for name, m in found if m.displacement is not None]

    def answer(self, asked: Asked, progress: Progress) -> Answer:
        """Everything that was asked for.

        Raises
        ------
        DefectStrainError
            If there can be no comparison; a reference or a line that can't be used is told of in
            the answer.
        """
        progress(0.0, f"Comparing {asked.class_name} with theory")
        problem, source = "", _Source()
        if asked.reference is not None:
            try:
                source = self._source(asked, progress)
            except DefectStrainError as mistake:
                problem = str(mistake)
        progress(0.5, f"Strain of {asked.class_name}")
        comparison = self._comparison(asked, source)
        strains = {}
        if asked.all_classes:
            strains = {name: self._strain(name, asked.strain) for name in self.classes}
        triangles = None
        own = comparison.displacement[MEASURED]
        if asked.triangles:
            triangles = triangle_strain(own, asked.triangles)
        progress(0.8, "Line profile")
        profile, line_problem = None, asked.line_problem
        if not line_problem:
            try:
                profile = self._profile(asked, comparison)
            except DefectStrainError as mistake:
                line_problem = str(mistake)
        decay = displacement_decay(own)
        return Answer(asked, comparison, decay, strains, triangles, profile, line_problem, problem)

    def _source(self, asked: Asked, progress: Progress) -> "_Source":
        files, name = asked.reference, asked.class_name
        assert files is not None
        if files.defect is None or files.pristine is None:
            key: tuple[Any, ...] = (name,)
            reference = self._once(key, lambda: bundled_reference(name, self.material))
        else:
            defect, pristine = files.defect, files.pristine
            key = (name, _version(defect), _version(pristine))
            reference = self._once(
                key, lambda: load_reference(defect, pristine, name, self.material)
            )
        if asked.route == "microscope":
            progress(0.1, f"Seeing {reference.name} through the microscope")
        found = self._once(
            (*key, asked.route),
            lambda: reference_displacement(
                reference,
                self.result.measurements,
                self.material.reference_of(name),
                asked.route,
            ),
        )
        return _Source(reference, found, key)

    def _comparison(self, asked: Asked, source: "_Source") -> Comparison:
        target = asked.target or "displacement"
        to = asked.difference_to
        if source.reference is None:
            to = ELASTIC
        elif not asked.target:
            to = ATOMISTIC
        theory = self.result.config.theory
        if asked.elastic is not None:
            c11, c12 = asked.elastic
            theory = theory.replace(c11_n_per_m=c11, c12_n_per_m=c12)
        key = (asked.class_name, asked.strain, target, source.key, asked.route, to, theory)
        return self._once(
            key,
            lambda: compare_class(
                self.result.measurements,
                asked.class_name,
                self.material.reference_of(asked.class_name),
                asked.strain,
                source.reference,
                asked.route,
                found=source.found,
                target=target,
                difference_to=to,
                material=self.material,
                theory=theory,
            ),
        )

    def _strain(self, name: str, config: StrainConfig) -> StrainField:
        measured = self.result.measurements[name]
        assert measured.displacement is not None
        field = with_budget(measured.displacement, measured.budget)
        return self._once((name, config), lambda: strain_field(field, config))

    def _profile(self, asked: Asked, comparison: Comparison) -> LineProfile:
        models = {n: f for n, f in comparison.displacement.items() if n != MEASURED}
        if not asked.target:
            models.pop(ELASTIC)
            models.pop(LATTICE, None)
        start, end = asked.line_pm or (None, None)
        return line_profile(
            comparison.displacement[MEASURED],
            asked.along,
            start,
            end,
            asked.strain,
            self._samples(asked.class_name),
            models,
            comparison.windows,
        )

    def _samples(self, name: str) -> FloatArray | None:
        """Bootstrap samples of the displacement; None where no window tells of its influence."""
        own, base = (self.result.measurements[n] for n in (name, self.material.reference_of(name)))
        if own.columns is None or base.columns is None or own.displacement is None:
            return None
        columns, reference, field = own.columns, base.columns, own.displacement
        rng = np.random.default_rng([self.result.config.seed, self.classes.index(name)])

        def draw() -> FloatArray:
            drawn = bootstrap_displacements(columns, reference, SAMPLES, rng)
            return displacement_samples(field, drawn)

        return self._once((name, "samples"), draw)

    def _once(self, key: tuple[Any, ...], make: Any) -> Any:
        if key not in self._kept:
            made = make()
            while len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = made
        else:  # what was used last is forgotten last
            self._kept[key] = self._kept.pop(key)
        return self._kept[key]


@dataclass(frozen=True)
class _Source:
    """A reference, what it is at the measured columns, and what it was read from."""

    reference: Reference | None = None
    found: DisplacementField | None = None
    key: tuple[Any, ...] = ()


def _version(path: Path) -> tuple[str, int]:
    """A file's path, and when it was written: a changed file is read anew."""
    return str(path), path.stat().st_mtime_ns if path.is_file() else 0
