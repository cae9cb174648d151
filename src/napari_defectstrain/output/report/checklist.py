"""What a reviewer asks: a value, a verdict, and why; what isn't known is said to be unknown."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd

from ...evaluation import has_audit, judged_otherwise, read_audit, read_audited
from ...pipeline.loading import CALIBRATION_TOLERANCE
from ...types import DefectStrainError
from ..results import EDITS_FILE
from .blocks import DOUBT, MET, NOT_GIVEN, NOT_MET, Check
from .folder import Results
from .sheets import disagreement, number, power_of_ten, strain_text

PURE, IMPURE = 0.95, 0.8
"""Expected purity that leaves a spacing what it is, and below which it is another class's too."""
FEW_WINDOWS, FEW_IMAGES = 8, 4
"""Below these, registration's and the scan's errors can't be told (docs/conventions.md)."""
SURE_SIGMA = 2.0
"""A strain, or a disagreement, of fewer total standard errors is none."""
_PER_CENT = 100.0
AUDIT_FILE = "audit.json"


def reviewer_checks(results: Results) -> tuple[Check, ...]:
    """The checklist of a folder.

    Parameters
    ----------
    results : Results

    Returns
    -------
    tuple of Check
        Dose, conditions, calibration, identity, purity, isolation, N, floor, budget, halves,
        corrections by hand, audit, left-out images and unchanged files, in this order; without
        measurements those of the detection alone.
    """
    found = [_dose(results), _conditions(results), _calibration(results), _identity(results)]
    classes = _defects(results)
    if len(classes):
        found += [make(results, classes) for make in _OF_CLASSES]
    found += [_by_hand(results), _audit(results), _images(results), _unchanged(results)]
    return tuple(found)


def _defects(results: Results) -> pd.DataFrame:
    """Measured classes but the references."""
    table = results.spacings()
    return table[~table.index.isin(results.material.references)] if len(table) else table


def _dose(results: Results) -> Check:
    doses = [(image.get("conditions") or {}).get("dose") for image in results.images]
    known = [float(dose) for dose in doses if dose is not None]
    if not known:
        reason = "no file says it; state it by hand, with how it was measured"
        return Check("Dose", "not given", NOT_GIVEN, reason)
    value = f"{power_of_ten(float(np.median(known)))} e⁻/nm² an image"
    if max(known) > 1.01 * min(known):
        value += f" ({power_of_ten(min(known))} to {power_of_ten(max(known))})"
    outside = _outside(results, "dose")
    if len(known) < len(doses):
        return Check("Dose", value, DOUBT, f"given for {len(known)} of {len(doses)} images only")
    if outside:
        return Check("Dose", value, DOUBT, outside)
    return Check("Dose", value, MET, "given for every image, within what the network was made for")


def _outside(results: Results, *quantities: str) -> str:
    named = [one for one in results.about.get("out_of_range") or [] if isinstance(one, Mapping)]
    found = [one for one in named if not quantities or one.get("quantity") in quantities]
    if not found:
        return ""
    first = found[0]
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    span = f"{first.get('low'):.3g} to {first.get('high'):.3g} {first.get('unit')}"
    return f"outside of what {first.get('made')} made for ({span}): {first.get('image')}{more}"


def _conditions(results: Results) -> Check:
    subject = "Beam energy and angles"
    names = {"beam energy": "kV", "semi-angle": "mrad"}
    names |= {"inner detector angle": "mrad", "outer detector angle": "mrad"}
    texts, missing = [], []
    for name, unit in names.items():
        every = [(image.get("conditions") or {}).get(name) for image in results.images]
        known = sorted({float(value) for value in every if value is not None})
        if known:
            span = " to ".join(f"{value:g}" for value in dict.fromkeys((known[0], known[-1])))
            texts.append(f"{name} {span} {unit}")
        if not known or len([v for v in every if v is not None]) < len(every):
            missing.append(name)
    outside = _outside(results, *names)
    if not texts:
        return Check(subject, "not given", NOT_GIVEN, "no file says them; state them by hand")
    if outside:
        return Check(subject, "; ".join(texts), DOUBT, outside)
    if missing:
        reason = f"not given for every image: {', '.join(missing)}; state by hand"
        return Check(subject, "; ".join(texts), NOT_GIVEN, reason)
    return Check(subject, "; ".join(texts), MET, "within what network and cross sections know")


def _calibration(results: Results) -> Check:
    sources = {str(image.get("calibration") or "unknown") for image in results.images}
    off = [disagreement(image) for image in results.images]
    known = [value for value in off if math.isfinite(value)]
    value = "from the " + ", ".join(sorted(sources))
    if not known:
        reason = "the lattice was not compared with the pixel size"
        return Check("Calibration", value, NOT_GIVEN, reason)
    worst = max(known, key=abs)
    mean, scatter = np.mean(known), np.std(known)
    value += (
        f"; differs from the lattice by {number(_PER_CENT * float(mean), '+.2f')} % on average, "
        f"{number(_PER_CENT * worst, '+.2f')} % at most (scatter {_PER_CENT * scatter:.2f} %)"
    )
    if "lattice" in sources:
        reason = "spacings in pm rest on the assumed lattice constant; strains don't"
        return Check("Calibration", value, DOUBT, reason)
    if abs(worst) > CALIBRATION_TOLERANCE:
        reason = f"above {_PER_CENT * CALIBRATION_TOLERANCE:g} %: check scale or material"
        return Check("Calibration", value, DOUBT, reason)
    reason = f"within {_PER_CENT * CALIBRATION_TOLERANCE:g} %; strains don't depend on it"
    return Check("Calibration", value, MET, reason)


def _identity(results: Results) -> Check:
    subject, found = "Material", results.about.get("identity")
    material = str(results.parameter("material") or results.material.label)
    if not isinstance(found, Mapping):
        return Check(subject, material, NOT_GIVEN, "not compared with the images")
    verdict = str(found.get("verdict"))
    if found.get("forced"):
        return Check(subject, material, DOUBT, "taken as this material whatever the images show")
    if verdict == "agrees":
        return Check(subject, material, MET, "brightness and spacing of the columns agree with it")
    lines = " ".join(str(line) for line in found.get("lines") or [])
    return Check(subject, material, DOUBT, f"{verdict}: {lines}" if lines else verdict)


def _per_class(texts: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {text}" for name, text in texts.items())


def _verdict(doubtful: Any, bad: Any) -> str:
    return NOT_MET if bad else DOUBT if doubtful else MET


def _purity(results: Results, table: pd.DataFrame) -> Check:
    purity = table["purity"].dropna()
    if not len(purity):
        return Check("Purity", "not given", NOT_GIVEN, "the averages don't say")
    value = _per_class({str(n): f"{p:.4f}" for n, p in purity.items()})
    low = [str(n) for n, p in purity.items() if p < PURE]
    verdict = _verdict(low, (purity < IMPURE).any())
    reason = f"expected share of right windows; {PURE} or more wanted"
    if low:
        reason = f"below {PURE}: {', '.join(low)}; other classes pull their spacing"
    return Check("Purity", value, verdict, reason)


def _isolation(results: Results, table: pd.DataFrame) -> Check:
    shells = results.parameter("average", "shells")
    if shells is None:
        return Check("Isolation", "not given", NOT_GIVEN, "the run doesn't say")
    left_out = table["n_excluded"].fillna(0)
    value = f"{shells} shells of perfect chalcogen columns; left out after that: "
    value += _per_class({str(n): f"{k:.0f}" for n, k in left_out.items()})
    if int(shells) < 2:
        return Check("Isolation", value, DOUBT, "less than the default of 2 shells")
    reason = "neighbours farther out are listed window by window, and subtracted"
    if not results.parameter("budget", "correct"):
        return Check("Isolation", value, DOUBT, "what farther defects add was not subtracted")
    return Check("Isolation", value, MET, reason)


def _windows(results: Results, table: pd.DataFrame) -> Check:
    images = table["n_images"] if "n_images" in table else pd.Series(np.nan, table.index)
    value = _per_class(
        {
            str(n): f"{r['n']:.0f} from {number(images[n], '.0f')} images"
            for n, r in table.iterrows()
        }
    )
    few = [str(n) for n, k in table["n"].items() if k < FEW_WINDOWS]
    narrow = [str(n) for n, k in images.items() if not k >= FEW_IMAGES]
    reasons = []
    if few:
        reasons.append(
            f"fewer than {FEW_WINDOWS} windows, registration can't be told: " + ", ".join(few)
        )
    if narrow:
        reasons.append(
            f"fewer than {FEW_IMAGES} images, scan error can't be told: " + ", ".join(narrow)
        )
    reason = "; ".join(reasons) or f"{FEW_WINDOWS} windows and {FEW_IMAGES} images or more"
    return Check("N", value, DOUBT if reasons else MET, reason)


def _floor(results: Results, table: pd.DataFrame) -> Check:
    known = table[table["floor_pm"].notna()] if "floor_pm" in table else table.iloc[:0]
    if not len(known):
        return Check(
            "Floor of the precision", "not given", NOT_GIVEN, "too few windows for a curve"
        )
    target = float(known["target_pm"].iloc[0])
    value = _per_class({str(n): _floor_text(r) for n, r in known.iterrows()})
    needed = {str(n): number(r["windows_needed"], ".0f") for n, r in known.iterrows()}
    have = {n: f"{known.loc[n, 'n']:.0f} of {needed[n]}" for n in needed}
    value += f"; windows of those that {target:g} pm takes: {_per_class(have)}"
    high = [str(n) for n, r in known.iterrows() if r["floor_pm"] > target]
    short = [str(n) for n, r in known.iterrows() if r["n"] < r["windows_needed"]]
    if high:
        reason = f"no number of windows gives {target:g} pm: {', '.join(high)}"
        return Check("Floor of the precision", value, NOT_MET, reason)
    if short:
        reason = (
            f"the precision of {target:g} pm for one spacing, the paper's of the perfect lattice, "
            f"takes more windows: {', '.join(short)}"
        )
        return Check("Floor of the precision", value, DOUBT, reason)
    reason = f"below {target:g} pm, and enough windows to reach it"
    return Check("Floor of the precision", value, MET, reason)


def _floor_text(row: pd.Series) -> str:
    if not row["floor_pm"] > 0.0:
        return "none seen"
    return f"{row['floor_pm']:.2f} ± {row['floor_std_pm']:.2f} pm"


def _budget(results: Results, table: pd.DataFrame) -> Check:
    value = _per_class({str(n): strain_text(row) for n, row in table.iterrows()})
    parts = results.table("budget.csv")
    if not len(parts):
        return Check("Error budget", value, NOT_GIVEN, "no budget: statistical errors only")
    unknown = parts[(parts["kind"] == "unknown") & parts["class"].isin(table.index)]
    unsure = [
        str(n) for n, r in table.iterrows() if not abs(r["strain"]) > SURE_SIGMA * r["sigma_total"]
    ]
    reasons = []
    if len(unknown):
        named = dict.fromkeys(f"{r['class']} {r['part']}" for _, r in unknown.iterrows())
        reasons.append("parts that can't be told, and are in no total: " + ", ".join(named))
    if unsure:
        reasons.append(f"not {SURE_SIGMA:g} total errors from zero: {', '.join(unsure)}")
    reason = "; ".join(reasons) or f"every part told; all strains above {SURE_SIGMA:g} total errors"
    return Check("Error budget", value, DOUBT if reasons else MET, reason)


def _halves(results: Results, table: pd.DataFrame) -> Check:
    subject, halves = "Halves of the data", results.table("half_sets.csv")
    pulls = halves[halves["pull"].notna()] if "pull" in halves else pd.DataFrame()
    if not len(pulls):
        return Check(subject, "not given", NOT_GIVEN, "too few windows or images to halve")
    value = "pulls " + _per_class(
        {r["class"]: number(r["pull"], "+.1f") for _, r in pulls.iterrows()}
    )
    # of several classes one may lie beyond two by chance
    far = [str(r["class"]) for _, r in pulls.iterrows() if abs(r["pull"]) > SURE_SIGMA + 1]
    if far:
        return Check(subject, value, DOUBT, f"halves contradict each other: {', '.join(far)}")
    return Check(
        subject, value, MET, "independent halves give the same strains within their errors"
    )


def _by_hand(results: Results) -> Check:
    hand, total = 0, 0
    for image in results.images:
        table = results.table(f"{image.get('name')}.sites.csv")
        if "source" in table:
            total += len(table)
            hand += int((table["source"] != "model").sum())
    if not total:
        return Check("Corrected by hand", "not given", NOT_GIVEN, "no tables of columns here")
    if not hand:
        return Check(
            "Corrected by hand", f"none of {total} columns", MET, "as the detection left them"
        )
    users = results.table(EDITS_FILE)
    who = ", ".join(dict.fromkeys(users["user"].astype(str))) if "user" in users else ""
    said = f"edited by {who}: history below; say whether blind"
    unsaid = "listed by image and class below; say who did it, and whether blind"
    reason = said if who else unsaid
    return Check("Corrected by hand", f"{hand} of {total} columns", MET, reason)


def audit_values(results: Results) -> dict[str, Any]:
    """What an audit found; empty without one.

    Raises
    ------
    DefectStrainError
        If its file is no JSON object.
    """
    if not results.has(AUDIT_FILE):
        return {}
    with suppress(ValueError):
        values = json.loads(results.content(AUDIT_FILE))
        if isinstance(values, dict):
            return values
    raise DefectStrainError(f"{results.path / AUDIT_FILE}: got no JSON object, expected an audit")


def _audit(results: Results) -> Check:
    subject, audit = "Audit by a person", audit_values(results)
    labelled, columns = (int(audit.get(name) or 0) for name in ("labelled", "columns"))
    if not labelled:
        reason = "no columns of these images were labelled blind by a person"
        return Check(subject, "not given", NOT_GIVEN, reason)
    value = f"{labelled} of {columns} columns labelled blind"
    if labelled < columns:
        return Check(subject, value, DOUBT, "not complete: intervals are wider than they will be")
    if said := _audit_doubts(results):
        reason = f"it judges columns of before ({said[0]}): draw another (audit --force)"
        return Check(subject, value, DOUBT, reason)
    return Check(subject, value, MET, "precision and recall with their intervals stand below")


def _audit_doubts(results: Results) -> list[str]:
    """Why the audit of a folder says nothing of the columns in it."""
    if not has_audit(results.path):
        return []
    try:
        return judged_otherwise(read_audit(results.path), read_audited(results.path).images)
    except DefectStrainError as error:
        return [str(error)]


def _images(results: Results) -> Check:
    failed = list(results.about.get("failed") or [])
    count = len(results.images)
    value = f"{count} analysed, {len(failed)} left out"
    if failed:
        return Check("Images left out", value, DOUBT, "reasons stand below; say so in the paper")
    return Check("Images left out", value, MET, "none")


def _unchanged(results: Results) -> Check:
    changed = results.changed()
    files = len(results.about.get("files") or [])
    if not files:
        return Check("Files as written", "not given", NOT_GIVEN, "the run lists no hashes")
    if changed:
        shown = ", ".join(changed[:5]) + (" …" if len(changed) > 5 else "")
        value = f"{len(changed)} of {files} differ or are gone"
        return Check("Files as written", value, DOUBT, f"changed since the run: {shown}")
    if results.is_older:
        reason = "the study was edited since: run it again"
        return Check("Files as written", f"all {files}", DOUBT, reason)
    return Check("Files as written", f"all {files}", MET, "hashes are those of the run")


def failed_lines(results: Results) -> Iterator[str]:
    """Images that were left out, and why."""
    for one in results.about.get("failed") or []:
        if isinstance(one, Mapping):
            yield ": ".join(str(one[key]) for key in one if one[key])
        else:
            yield str(one)


_OF_CLASSES: tuple[Callable[[Results, pd.DataFrame], Check], ...] = (
    *(_purity, _isolation, _windows, _floor, _budget, _halves),
)
