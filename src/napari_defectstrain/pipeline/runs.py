"""What a run is given, and what it finds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
import pandas as pd

from ..averages.average import AverageConfig, average_stack
from ..columns.averages.measure import ColumnConfig, ColumnMeasurement
from ..config import PIXEL_SIZE_PM, SEED, Between, Config
from ..crystal.overlaps import Overlap
from ..crystal.pattern_counts import PatternConfig
from ..crystal.regions import RegionConfig, Regions
from ..detect.network.config import DetectConfig
from ..failures import Failure
from ..frames.register import FrameConfig
from ..judge.identity import Identity
from ..judge.judging import JudgeConfig
from ..materials import Material, OpenClass, get_material
from ..precision.bootstrap import ClassBootstrap
from ..precision.budget import BudgetConfig, ErrorBudget
from ..precision.curve import PrecisionAgainstN
from ..precision.makeup import ClassMakeup
from ..precision.spacings import SpacingResult
from ..precision.two_populations import MakeupConfig
from ..strain.field import StrainConfig
from ..theory.elastic_constants import TheoryConfig
from ..types import (
    CalibratedImage,
    ClassAverage,
    ClassStack,
    ColumnFits,
    DefectStrainError,
    DisplacementField,
    FloatArray,
    Sites,
    StrainField,
)

if TYPE_CHECKING:
    from .comparison import Comparison
from .ranges import OutOfRange

MIN_MEASURED = 3
"""Windows that a class needs to be measured: two tell no scatter, and one may be anything."""


Choose = Callable[[Mapping[str, ClassStack]], dict[str, ClassStack]]
"""Given the stacks, returns them with windows left out and put back by hand."""


Meanwhile = Callable[["RunResult"], Callable[[], None]]
"""Given a run with its isolated averages, works by them; returns what is to be done afterwards."""


@dataclass(frozen=True)
class RunConfig(Config):
    """Settings of a whole run.

    Parameters
    ----------
    material : str
        Preset of `materials`.
    pixel_size_pm : float or None
        Pixel size of all images [pm]; None takes each file's own, or the lattice's.
    force_material : bool
        Count images as this material whatever they seem to show.
    frames : bool
        True: the images of one file are frames of one region (registered and summed); False:
        they are separate images.
    series : FrameConfig
        How such frames are summed.
    judge : JudgeConfig
        Whether and how the detected columns are judged by their own images.
    detect, regions, patterns, average, columns, strain, budget, theory, makeup
        Settings of the stages; `material` overrides that of `detect`.
    split : tuple of str
        Classes that are measured in parts, too, where two populations are seen in them.
    bootstrap : int
        Bootstrap samples a class; the paper's 22 500 (SI 3.1, doi
        10.1021/acs.nanolett.0c00269).
    seed : int
        Seed of everything random.
    """

    material: str = "WSe2"
    pixel_size_pm: Annotated[float, PIXEL_SIZE_PM] | None = None
    force_material: bool = False
    frames: bool = False
    series: FrameConfig = field(default_factory=FrameConfig)
    detect: DetectConfig = field(default_factory=DetectConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    regions: RegionConfig = field(default_factory=RegionConfig)
    patterns: PatternConfig = field(default_factory=PatternConfig)
    average: AverageConfig = field(default_factory=AverageConfig)
    columns: ColumnConfig = field(default_factory=ColumnConfig)
    strain: StrainConfig = field(default_factory=StrainConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    theory: TheoryConfig = field(default_factory=TheoryConfig)
    makeup: MakeupConfig = field(default_factory=MakeupConfig)
    split: tuple[str, ...] = ()
    bootstrap: Annotated[int, Between(2, 10**6)] = 22500
    seed: Annotated[int, SEED] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        get_material(self.material)
        # one material in the whole record of a run
        object.__setattr__(self, "detect", self.detect.replace(material=self.material))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str | None = None) -> Self:
        """As `Config.from_dict`; a material given to the detection alone is refused."""
        config = super().from_dict(values, where)
        material = values.get("detect", {}).get("material", config.material)
        if material not in (config.material, DetectConfig.material):
            where = f"{cls.__name__}." if where is None else where
            raise DefectStrainError(
                f"{where}detect.material: got {material!r}, expected {config.material!r}, that of "
                "the run; give it as material, beside detect"
            )
        return config


@dataclass(frozen=True)
class ClassMeasurement:
    """What is measured on one class average.

    Parameters
    ----------
    average : ClassAverage
    fits : ColumnFits
    spacing : SpacingResult
    single_spacing_pm : array, `(N, 3)`
        The three spacings in each single window [pm].
    displacement : DisplacementField or None
        None for the defect-free class, the reference itself.
    strain : StrainField or None
        None where there is no displacement.
    precision : PrecisionAgainstN or None
        Precision and SNR of averages of fewer windows.
    columns : ColumnMeasurement or None
        The fits with what each window says of them: what bootstrap samples are drawn from.
    bootstrap : ClassBootstrap or None
        Scatter over samples of windows, and over samples of images.
    budget : ErrorBudget or None
        Statistical and systematic errors.
    makeup : ClassMakeup or None
        Populations and variability of the windows, and whether their halves agree.
    """

    average: ClassAverage
    fits: ColumnFits
    spacing: SpacingResult
    single_spacing_pm: FloatArray
    displacement: DisplacementField | None = None
    strain: StrainField | None = None
    precision: PrecisionAgainstN | None = None
    columns: ColumnMeasurement | None = None
    bootstrap: ClassBootstrap | None = None
    budget: ErrorBudget | None = None
    makeup: ClassMakeup | None = None


@dataclass(frozen=True)
class RunResult:
    """Everything a run found.

    Parameters
    ----------
    config : RunConfig
    images : tuple of CalibratedImage
        With the pixel sizes that were used, under distinct names.
    sites : tuple of Sites
        Columns of each image.
    populations : DataFrame
        Of the usable area, see `populations.population_table`.
    weights_sha256 : str or None
        Hash of the network's weights; None where the sites were given.
    regions : tuple of Regions
        Of each image.
    regions_given : tuple of str
        Names of the images whose regions were given, not found.
    overconfidence : tuple of float
        Of the detector, see `Detection`; empty where the sites were given.
    overlaps : tuple of Overlap
        Images that show the same place, which counts once.
    open_classes : tuple of OpenClass
        Classes that the columns agree on and the material doesn't have.
    stacks : mapping of class to ClassStack
    measurements : mapping of class to ClassMeasurement
        Empty, like `stacks`, before `measure`, and where nothing is isolated.
    crowded_stacks, crowded : mappings of class to ClassStack and to ClassMeasurement
        The same from every defect, isolated or not (`averages.crowded`); empty unless asked for.
    comparisons, crowded_comparisons : mappings of class to Comparison
        Measurements beside theories (`theories.compare_with_theory`), of isolated and of all
        defects; empty before.
    seconds : mapping of stage to float
        Wall-clock time.
    warnings : tuple of str
    failed : tuple of Failure
        Images that were left out, and why.
    identity : Identity or None
        Whether the images show the material that they are said to show; None where that wasn't
        tested.
    out_of_range : tuple of OutOfRange
        Conditions of the images that the network and the cross sections weren't made for.
    """

    config: RunConfig
    images: tuple[CalibratedImage, ...]
    sites: tuple[Sites, ...]
    populations: pd.DataFrame
    weights_sha256: str | None
    regions: tuple[Regions, ...] = ()
    regions_given: tuple[str, ...] = ()
    overconfidence: tuple[float, ...] = ()
    overlaps: tuple[Overlap, ...] = ()
    open_classes: tuple[OpenClass, ...] = ()
    stacks: Mapping[str, ClassStack] = field(default_factory=dict)
    measurements: Mapping[str, ClassMeasurement] = field(default_factory=dict)
    crowded_stacks: Mapping[str, ClassStack] = field(default_factory=dict)
    crowded: Mapping[str, ClassMeasurement] = field(default_factory=dict)
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    crowded_comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    failed: tuple[Failure, ...] = ()
    identity: Identity | None = None
    out_of_range: tuple[OutOfRange, ...] = ()

    @property
    def material(self) -> Material:
        """The preset that the run used."""
        return get_material(self.config.material)

    @property
    def overlap_records(self) -> list[dict[str, Any]]:
        """The overlaps as JSON values, with the names of the images."""
        return [
            {
                "first": self.images[o.first].name,
                "second": self.images[o.second].name,
                "matrix": o.matrix.tolist(),
                "share": o.share,
            }
            for o in self.overlaps
        ]

    def reordered(self, order: Sequence[int]) -> RunResult:
        """The same with its images in another order.

        Parameters
        ----------
        order : sequence of int
            Which image comes where: all of them, each once.
        """
        place = np.empty(len(order), dtype=int)
        place[list(order)] = np.arange(len(order))

        def renumbered(stacks: Mapping[str, ClassStack]) -> dict[str, ClassStack]:
            return {
                name: replace(
                    stack,
                    image_index=place[stack.image_index],
                    image_keys=tuple(stack.image_keys[i] for i in order if stack.image_keys),
                )
                for name, stack in stacks.items()
            }

        return replace(
            self,
            images=tuple(self.images[i] for i in order),
            sites=tuple(self.sites[i] for i in order),
            regions=tuple(self.regions[i] for i in order if self.regions),
            overlaps=tuple(
                replace(o, first=int(place[o.first]), second=int(place[o.second]))
                for o in self.overlaps
            ),
            stacks=renumbered(self.stacks),
            crowded_stacks=renumbered(self.crowded_stacks),
        )

    @property
    def unmeasured(self) -> dict[str, ClassAverage]:
        """Averages of the classes whose windows are too few to be measured, `MIN_MEASURED`."""
        if not (self.measurements or self.crowded):
            return {}
        names = [n for n in self.stacks if n not in self.measurements and self.stacks[n].n]
        with warnings.catch_warnings():  # that one window has no standard error is said elsewhere
            warnings.simplefilter("ignore", UserWarning)
            return {name: average_stack(self.stacks[name]) for name in names}
