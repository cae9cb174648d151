"""Is it the material that it is said to be? A verdict on every image before it is counted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..materials import MATERIALS, Material
from .evidence import ASSIGNED, FOREIGN, CellEvidence
from .readings import COMMON, EQUAL, Reading, RunEvidence, all_readings, pooled_evidence, reading_of

IDENTITY_PREFIX = "Identity: "
"""What every line begins with that says a doubt."""
AGREES, DOUBTFUL, REFUSED = "agrees", "doubtful", "refused"
ALLOY = 0.2
"""Share of a second kind of metal from which on a crystal is an alloy of two."""
_SHARE_SIGMAS = 1.5
"""Standard errors by counting that this share may lie above what is seen."""
_BILAYER = 0.2
_OTHER_PHASE = 0.85
"""Share of tiles with filled hexagon centres up to which another phase is a part of the picture."""
_USUAL = -0.3
"""Logarithm of a usual ratio of brightness, where nothing is known of the elements."""
_NOT_EMPTY = 0.11
"""Typical weight of the hexagon centre from which on it is doubtful whether it is empty."""
_MAY_BE_FILLED = 0.16
"""The same with its standard error, where that is what bent grey values leave open."""
_DARK = -0.5
_LEAST_TILES = 0.25
_EQUAL_FROM = (0.88, 0.93)
"""Ratios of brightness from which equal sublattices are likely, and all but certain."""
_DOUBT, _REFUSE = (1.5, 1.8), (6.0, 5.0)
"""Nats that another reading fits better by, and nats that the asked one misfits by at least."""
_CLOSE = -0.3
"""Where the ratio alone speaks, readings look alike that misfit by so much less [nats]."""
_CLOSE_TO_RARE = 1.0
"""The same where the asked material is one whose monolayers are seldom seen."""
_SPACING = (0.1, 0.17)
"""Relative differences of the spacing that are doubted, and refused where another reading fits."""
_EXCHANGED = 0.05
"""Nats a column from which on it is doubtful whether the sublattices are what they are taken for;
from `ASSIGNED` on they are not."""
_LEAST_NATS = 12.0
_SUPPORTED = 0.03
"""Nats a column that speak for the asked assignment, whatever else the columns look like, if they
are `_LEAST_NATS` in all."""
_UNDECIDED = 0.008
"""Nats a column that speak for no assignment."""
_FAINT, _ALIKE = 0.33, 0.9
"""Ratios of the mean brightness: below the first no metal is the dimmer one, above the second
brightness doesn't tell the sublattices apart."""
_BEYOND = 0.8
"""Of the ratio at the far end of an alloy: a dimmer sublattice that is dimmer still is no part of
one."""
_STRANGE_HALF = (0.012, 3.5)
"""Share and number of columns of half the brightness on the sublattice of a metal beside which
there is no lighter one."""
_FEW_HALF = (0.006, 1.5)
"""Fewer of them that count where the ratio is more like that with the other metal."""
_SETTLED = 2.8
"""Nats by vacancies from which on they tell which of two exchanged readings it is."""
_NEARER = 0.25
"""From the middle between two ratios, of the way on to the other one: from there it is as there."""
_APART = 0.3
"""Difference of the logarithm of the ratio from which on an image isn't like the others."""
_APART_OF_TWO = 0.1  # from their mean
FORCE = "--force-material (in napari: Force) counts it all the same"


@dataclass(frozen=True)
class ImageVerdict:
    """What is to be thought of one image.

    Parameters
    ----------
    name : str
    verdict : str
        ``agrees``, ``doubtful`` or ``refused``.
    line : str
        Why, in one line that begins with `IDENTITY_PREFIX`; empty where it agrees.
    left_out : tuple of tuple of int
        Boxes of the picture that show another phase and aren't counted: first row and column, and
        those behind the last ones [px].
    """

    name: str
    verdict: str
    line: str = ""
    left_out: tuple[tuple[int, int, int, int], ...] = ()


@dataclass(frozen=True)
class Identity:
    """What is to be thought of the images of a run.

    Parameters
    ----------
    asked : str
        The material's name.
    images : tuple of ImageVerdict
    evidence : tuple of CellEvidence
    readings : mapping of str to float
        Nats by which each reading fits worse than the best one.
    alloy : float
        Share of the metal columns that are of a second kind; 0 where there is none.
    forced : bool
        Whether the user wants the images counted whatever they seem to show.
    """

    asked: str
    images: tuple[ImageVerdict, ...] = ()
    evidence: tuple[CellEvidence, ...] = ()
    readings: dict[str, float] = field(default_factory=dict)
    alloy: float = 0.0
    forced: bool = False

    @property
    def verdict(self) -> str:
        """The worst of the images that are left."""
        found = {image.verdict for image in self.images}
        return next((v for v in (REFUSED, DOUBTFUL) if v in found), AGREES)

    @property
    def lines(self) -> tuple[str, ...]:
        """Every doubt once."""
        return tuple(dict.fromkeys(image.line for image in self.images if image.line))

    def of(self, names: Collection[str]) -> Identity:
        """That of some of the images; what all said together stays."""
        there = [image.name in names for image in self.images]
        return replace(
            self,
            images=tuple(v for v, left in zip(self.images, there, strict=True) if left),
            evidence=tuple(e for e, left in zip(self.evidence, there, strict=True) if left),
        )

    def to_dict(self) -> dict[str, Any]:
        """What ``run.json`` says of it."""
        return {
            "asked": self.asked,
            "verdict": self.verdict,
            "forced": self.forced,
            "lines": list(self.lines),
            "alloy_share": round(self.alloy, 4),
            "readings": {name: round(value, 2) for name, value in self.readings.items()},
            "images": [
                {"verdict": v.verdict, **e.to_dict()}
                for v, e in zip(self.images, self.evidence, strict=True)
            ],
        }


def judge_identity(
    evidence: Sequence[CellEvidence],
    material: Material,
    forced: bool = False,
    sublattices_told: bool = False,
) -> Identity:
    """Test what images are said to show against what else they may show.

    Images that agree with one another are judged together, others by themselves.

    Parameters
    ----------
    evidence : sequence of CellEvidence
    material : Material
        What they are said to be.
    forced : bool
        Refuse nothing: what would be refused is doubtful.
    sublattices_told : bool
        Whether metals are told from chalcogens by what was learnt of them, so that it does no harm
        where an alloy's chalcogens outshine its metal.
    """
    usable = [
        e
        for e in evidence
        if e.tiles and np.isfinite(e.ratio) and _structure(e, material)[0] == AGREES
    ]
    alike = [e for e in usable if _like(e, usable)] if len(usable) > 1 else usable
    together = pooled_evidence(alike) if alike else None
    verdicts = []
    for e in evidence:
        own = together if e in alike else (pooled_evidence([e]) if e in usable else None)
        verdict = _verdict(e, own, material, sublattices_told)
        if verdict.verdict == AGREES and together is not None and e in usable and e not in alike:
            verdict = _differs(e, together)
        if forced and verdict.verdict == REFUSED:
            why = verdict.line.removesuffix(_end(REFUSED, material))
            verdict = replace(verdict, verdict=DOUBTFUL, line=why + _end(DOUBTFUL, material))
        verdicts.append(verdict)
    named: dict[str, float] = {}
    if together is not None:
        asked = reading_of(material)
        fits = {r.name: r.misfit(together) for r in all_readings(material)}
        if asked is not None:
            fits[material.name] = asked.misfit(together)
        least = min(fits.values())
        named = {name: value - least for name, value in sorted(fits.items(), key=lambda f: f[1])}
    metals = [_second_metal(e, material) for e in alike]
    alloy = float(np.median([share for _, share in metals])) if metals else 0.0
    return Identity(material.name, tuple(verdicts), tuple(evidence), named, alloy, forced)


def _like(e: CellEvidence, among: Sequence[CellEvidence]) -> bool:
    """Whether an image shows the ratio of brightness that most show; of two, that both show."""
    log = np.log([max(other.ratio, 0.02) for other in among])
    middle = float(np.median(log))
    apart = max(_APART, 4 * 1.4826 * float(np.median(np.abs(log - middle))))
    if len(among) < 3:
        apart = _APART_OF_TWO
    return abs(float(np.log(max(e.ratio, 0.02))) - middle) <= apart


def _differs(e: CellEvidence, together: RunEvidence) -> ImageVerdict:
    line = (
        f"{IDENTITY_PREFIX}{e.name}: the dim sublattice is {e.ratio:.2f} times as bright as the "
        f"other, in most of the images {together.ratio:.2f}: another material, detector or "
        "processing; compare it with the others, or run it alone"
    )
    return ImageVerdict(e.name, DOUBTFUL, line)


def _verdict(
    e: CellEvidence, found: RunEvidence | None, material: Material, told: bool
) -> ImageVerdict:
    assigned = _assignment(found, material) if found is not None and not told else (AGREES, "")
    part = _another_phase(e, material)
    for verdict, why in (_structure(e, material), assigned, _alloy(e, material)):
        if verdict != AGREES:
            return _with_part(_said(e, verdict, why, material), e, part, material)
    if found is None:
        why = (
            "no unit cell is clear enough to tell what the image shows; a larger field or less "
            "noise would settle it"
        )
        return _said(e, DOUBTFUL, why, material)
    said = _said(e, *_by_likelihood(e, found, material, bool(part)), material)
    return _with_part(said, e, part, material)


def _another_phase(e: CellEvidence, material: Material) -> str:
    """What is to be said of a part that shows another phase of the layer; empty without one."""
    if not _BILAYER <= e.filled < _OTHER_PHASE or _layered(e, material):
        return ""
    return (
        f"hexagon centres are filled in {100 * e.filled:.0f} % of the picture, as in 1T, and that "
        "part is left out"
    )


def _layered(e: CellEvidence, material: Material) -> bool:
    """Whether filled hexagon centres are those of two layers rather than of another phase.

    In an AB bilayer one of the two dimmer sites holds the metal of one layer, the other one the
    chalcogens of the other; in 1T both hold one chalcogen.
    """
    asked = reading_of(material)
    of_layers = _USUAL if asked is None else asked.log_ratio
    return bool(np.log(max(e.filled_ratio, 1e-3)) < of_layers / 2)


def _less_than_a_layer(e: CellEvidence, material: Material) -> bool:
    """Whether centres that seem filled all over hold less than half of a second layer's."""
    asked = reading_of(material)
    if asked is None or e.filled < _OTHER_PHASE:
        return False
    dim = float(np.exp(asked.log_ratio))  # over the bright one's: below it lies the other layer's
    return e.centre < dim / (1.0 + dim) / 2


def _with_part(said: ImageVerdict, e: CellEvidence, part: str, material: Material) -> ImageVerdict:
    """A verdict on the rest of a picture of which a part is left out."""
    if not part or said.verdict == REFUSED:
        return said
    rest = said.line.removeprefix(f"{IDENTITY_PREFIX}{e.name}: ").removesuffix(
        _end(DOUBTFUL, material)
    )
    why = part if not rest else f"{part}; in the rest {rest}"
    return replace(_said(e, DOUBTFUL, why, material), left_out=e.filled_boxes)


def _said(e: CellEvidence, verdict: str, why: str, material: Material) -> ImageVerdict:
    if verdict == AGREES:
        return ImageVerdict(e.name, AGREES)
    return ImageVerdict(
        e.name, verdict, f"{IDENTITY_PREFIX}{e.name}: {why}{_end(verdict, material)}"
    )


def _end(verdict: str, material: Material) -> str:
    if verdict == REFUSED:
        return f": not counted as a {material.name} monolayer; {FORCE}"
    return ": populations are doubtful"


def _structure(e: CellEvidence, material: Material) -> tuple[str, str]:
    """What can't be a 2H monolayer at all, by its geometry."""
    if e.tiles and e.sign < _DARK:
        return REFUSED, (
            "columns are dark on a bright ground, as in ABF or bright field, or an inverted "
            "picture; an annular dark-field image is needed"
        )
    if e.other_lattice:
        return REFUSED, f"the picture shows {e.other_lattice}; expected a hexagonal one"
    if e.tiles and e.foreign > FOREIGN:
        return REFUSED, (
            "the strongest waves of the picture fit no hexagonal lattice: a square or another one"
        )
    if e.looked_at and 0 < e.tiles < _LEAST_TILES * e.looked_at:
        return DOUBTFUL, (
            f"a hexagonal lattice shows in {e.tiles} of {e.looked_at} parts of the picture only"
        )
    if _less_than_a_layer(e, material):
        return DOUBTFUL, (
            f"hexagon centres are not empty ({e.centre:.2f} of the brightest column), but fainter "
            f"than an AB (3R) bilayer of {material.name} has them; the picture as it was taken "
            "would settle it"
        )
    if e.filled >= _BILAYER and _layered(e, material):
        return REFUSED, (
            f"hexagon centres are filled in {100 * e.filled:.0f} % of the picture, as in an AB "
            "(3R) bilayer"
        )
    if e.filled >= _OTHER_PHASE:
        return REFUSED, (
            f"hexagon centres are filled in {100 * e.filled:.0f} % of the picture, as in 1T"
        )
    if e.centre > _NOT_EMPTY and e.filled < _BILAYER:
        return DOUBTFUL, (
            f"hexagon centres are not empty ({e.centre:.2f} of the brightest column), as in an AB "
            "(3R) bilayer; a larger field or less noise would settle it"
        )
    if e.centre + e.centre_sigma > _MAY_BE_FILLED and e.filled < _BILAYER:
        return DOUBTFUL, (
            f"grey values are bent so much that hexagon centres may be filled ({e.centre:.2f} +- "
            f"{e.centre_sigma:.2f} of the brightest column), as in an AB (3R) bilayer; the picture "
            "as it was taken would settle it"
        )
    return AGREES, ""


def _second_metal(e: CellEvidence, material: Material) -> tuple[float, float]:
    """Relative weight of a second kind of column on the metal's sublattice, and its share."""
    asked = reading_of(material)
    dim = asked is not None and asked.dim_is_chalcogen is False
    mine = e.metal or (e.dim if dim else e.bright)
    return (mine.second, mine.share) if np.isfinite(mine.second) else (float("nan"), 0.0)


def _assignment(found: RunEvidence, material: Material) -> tuple[str, str]:
    """Whether the sublattices are those that the material's brightness makes of them."""
    asked = reading_of(material)
    if asked is None or asked.dim_is_chalcogen is None or not found.mean_ratio > _FAINT:
        return AGREES, ""
    kinds = "columns of several kinds, as chalcogens of an alloy are"
    if found.mean_ratio > _ALIKE:
        if abs(found.metal_brighter) < ASSIGNED:
            return AGREES, ""
        return DOUBTFUL, (
            f"both sublattices are about equally bright ({found.mean_ratio:.2f}), and one of them "
            f"holds {kinds}: by brightness it isn't told which is the metal's; columns that "
            "somebody labelled would settle it"
        )
    against = -found.metal_brighter if asked.dim_is_chalcogen else found.metal_brighter
    if against < _EXCHANGED or against * found.weighed < _LEAST_NATS:
        return AGREES, ""
    other = _other_end(material, asked)
    if other is not None and found.mean_ratio < _BEYOND * np.exp(other.log_ratio):
        return AGREES, ""  # too far from what the alloy could be
    which = "brighter" if asked.dim_is_chalcogen else "dimmer"
    why = (
        f"the {which} sublattice holds {kinds}, the other one alike ones, as metals are: metals "
        f"and chalcogens of {material.name} would be taken for one another; "
        f"{f'ask for {other.name}, or' if other is not None else 'to tell them apart,'} teach it "
        "with columns that somebody labelled"
    )
    # under dirt bent grey values brighten columns of both sublattices, as if they were of two kinds
    return (REFUSED if against > ASSIGNED and not found.bent else DOUBTFUL), why


def _other_end(material: Material, asked: Reading) -> Reading | None:
    """The bundled material with the substituent alone, if its sublattices are the other way."""
    other = MATERIALS.get(f"{material.metal}{material.substituent}2")
    reading = reading_of(other) if other is not None else None
    exchanged = reading is not None and reading.dim_is_chalcogen != asked.dim_is_chalcogen
    return reading if exchanged else None


def _alloy(e: CellEvidence, material: Material) -> tuple[str, str]:
    weight, share = _second_metal(e, material)
    columns = max((e.metal or e.bright).n, 1)
    if share + _SHARE_SIGMAS * np.sqrt(share * (1 - share) / columns) < ALLOY:
        return AGREES, ""
    names = ""
    if material.metal in ("W", "Mo"):
        names = " (Mo and W, by cross sections 0.49)"
    return DOUBTFUL, (
        f"an alloy of two metals: {100 * share:.0f} % of the metal columns weigh {weight:.2f} of "
        f"the others{names}"
    )


def _by_likelihood(
    e: CellEvidence, found: RunEvidence, material: Material, beside_another_phase: bool
) -> tuple[str, str]:
    """Ratio of brightness, spacing and vacancies against those of other readings."""
    low, high = _EQUAL_FROM
    seen = f"the dim sublattice is {found.ratio:.2f} times as bright as the other"
    asked = reading_of(material)
    if e.ratio > low and (asked is None or asked.log_ratio < np.log(0.95)):
        equal = f"both sublattices are about equally bright ({e.ratio:.2f}), as in {EQUAL[0]}"
        # what holds 1T in another place is a single layer: of an alloy, say
        refused = e.ratio > high and not beside_another_phase
        return (REFUSED if refused else DOUBTFUL), equal
    if asked is None:
        return AGREES, ""
    expected = f"{seen}, expected {np.exp(asked.log_ratio):.2f} for {material.name}"
    others = sorted(all_readings(material), key=lambda r: r.misfit(found))
    best, mine = others[0], asked.misfit(found)
    better = mine - best.misfit(found)
    why = _why(found, expected, material, best.dim_is_chalcogen != asked.dim_is_chalcogen)
    if better > _REFUSE[0] and mine > _REFUSE[1]:
        return REFUSED, f"{why}; {best.name} is more likely"
    if better > _DOUBT[0] and mine > _DOUBT[1]:
        return DOUBTFUL, f"{why}; {best.name} fits better"
    rival = _other_metal(e, found, asked, material)
    if rival:
        return DOUBTFUL, rival
    if found.a_pm is not None:
        off = found.a_pm / material.lattice_pm - 1
        if abs(off) > _SPACING[0]:
            verdict = REFUSED if abs(off) > _SPACING[1] and better > 0 else DOUBTFUL
            return verdict, (
                f"the spacing is {100 * off:+.0f} % off that of {material.name} by the stated "
                "pixel size: another crystal, or a calibration that is wrong"
            )
        return AGREES, ""
    margin = _CLOSE if material.name in COMMON else _CLOSE_TO_RARE
    close = [r.name for r in others if r.misfit(found) < mine + margin]
    if found.vacancies_dim is None and close:
        return DOUBTFUL, (
            f"{' or '.join(close[:3])} would look alike ({seen}), nor is a monolayer told from AA "
            "stacking; a pixel size, vacancies that show, or vacuum in view would settle it"
        )
    return AGREES, ""


def _other_metal(e: CellEvidence, found: RunEvidence, asked: Reading, material: Material) -> str:
    """What speaks for mostly another metal, with which the sublattices would be exchanged."""
    other = {"Mo": "W", "W": "Mo"}.get(material.metal)
    rival = MATERIALS.get(f"{other}{material.chalcogen}2")
    reading = reading_of(rival) if rival is not None else None
    if rival is None or reading is None or reading.dim_is_chalcogen == asked.dim_is_chalcogen:
        return ""
    would = f"{other} that holds {material.metal} would look like that, its sublattices exchanged"
    for_it = found.metal_brighter if asked.dim_is_chalcogen else -found.metal_brighter
    if for_it > _SUPPORTED and for_it * found.weighed > _LEAST_NATS:
        return ""
    metal, chalcogen = (0, 1) if asked.dim_is_chalcogen else (1, 0)
    seen = (e.bright, e.dim)[chalcogen]
    if seen.share >= ALLOY and (seen.second < 1) == (material.metal == "Mo"):
        return (
            f"{100 * seen.share:.0f} % of the columns taken for chalcogens weigh {seen.second:.2f} "
            f"of the others; {would}"
        )
    least, count = _STRANGE_HALF
    half, of = found.half[metal], max(found.columns[metal], 1)
    strange = half > count and half > least * of
    middle = (asked.log_ratio + reading.log_ratio) / 2
    beyond = (float(np.log(found.ratio)) - middle) / (reading.log_ratio - middle)
    as_rival = beyond > _NEARER
    if half > _FEW_HALF[1] and half > _FEW_HALF[0] * of and for_it <= _UNDECIDED:
        strange |= as_rival
    if material.metal == "Mo" and strange:
        return (
            f"{100 * half / of:.0f} % of the columns taken for {material.metal} are of half the "
            f"brightness; {would}"
        )
    told = found.for_dim_chalcogens if asked.dim_is_chalcogen else -found.for_dim_chalcogens
    if told < -_SETTLED and half > count:
        return (
            f"{100 * half / of:.1f} % of the columns taken for {material.metal} are of half the "
            f"brightness, and hardly any of those taken for {material.chalcogen}: vacancies of "
            f"{rival.name} would look like that, its sublattices exchanged"
        )
    if as_rival and told + min(0.0, for_it * found.weighed) < _SETTLED:
        return (
            f"the dim sublattice is {found.ratio:.2f} times as bright as the other, more as in "
            f"{rival.name} ({np.exp(reading.log_ratio):.2f}) than in {material.name} "
            f"({np.exp(asked.log_ratio):.2f}), the spacings are the same, and the few vacancies "
            "that show don't tell the metals; a larger field or more images would settle it"
        )
    return ""


def _why(found: RunEvidence, expected: str, material: Material, exchanged: bool) -> str:
    parts = [expected]
    if found.a_pm is not None and abs(found.a_pm / material.lattice_pm - 1) > 0.02:
        parts.append(f"the spacing is {found.a_pm:.0f} pm instead of {material.lattice_pm:.0f}")
    if exchanged and found.vacancies_dim is not None:
        where = "dim" if found.vacancies_dim else "bright"
        parts.append(f"columns of half the brightness lie on the {where} sublattice")
    return ", ".join(parts)
