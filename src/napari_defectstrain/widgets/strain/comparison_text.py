"""A comparison in words: titles of the maps, and a table of what fits how well."""

from typing import NamedTuple

import numpy as np

from ...pipeline.comparison import ATOMISTIC, DIFFERENCE, ELASTIC, MEASURED
from ...strain.chi_squared import Agreement
from ...strain.lines import LineProfile
from ...styles import with_error
from ...theory.defect_numbers import LATTICE
from ...theory.field_symmetry import DisplacementDecay
from ...theory.reference import BUNDLED_NOTE, Amplitude, Reference
from ...units import shown_strain_unit
from .comparing import Answer

MEANING = {
    "dilation": "exx + eyy, growth positive",
    "exx": "∂ux/∂x, tension positive",
    "eyy": "∂uy/∂y, tension positive",
    "exy": "(∂ux/∂y + ∂uy/∂x)/2",
    "rotation": "counter-clockwise positive",
}
CAUTION = (
    "An exact elastic inclusion, which has no dilation outside its core, no rotation and no "
    "difference between up and down, shows all three once it is sampled at the columns, "
    "interpolated and smoothed (a vacancy's: a ring of up to +0.6 % dilation, 7.5 mrad). Only the "
    "comparison with Eshelby and reference, which go through the same steps, tells what is found"
)
INTERPRETATION = (
    "An interpretation, one of several: if a fraction of the defects were passivated by atoms that "
    "undo the relaxation, the average would show s = 1 - fraction. Errors of the structure, and "
    "columns of other classes, scale displacements, too"
)

FAR_FIELD = (
    "Of the far field u = A r / r²: 2πA is the growth of the area around the defect in an endless "
    "sheet, the relaxation area that of a sheet with free borders, the elastic dipole what its "
    "energy in a strain is linear in; positive pushes outwards. In brackets 95 % intervals, by the "
    "columns' covariance and the choice of the nearest columns. A site of threefold symmetry has "
    "no anisotropy: a small p says that the measurement has an error"
)
LATTICE_STATICS = (
    "Forces on the nearest shells of columns of a harmonic lattice (Kanzaki), beside Eshelby's "
    "inclusion in a continuum. ΔAIC: Akaike's information criterion, Eshelby's less that of "
    "lattice statics; above 10 the oscillation from shell to shell is one that the lattice itself "
    "makes"
)


class Row(NamedTuple):
    """A line of the table, and what its tooltip says; without a name it takes all the width."""

    name: str
    value: str
    tip: str


def panel_titles(answer: Answer, limit: float) -> list[str]:
    """What is written: in general, above each map and the triangles, beside the colour bar."""
    asked, shown = answer.asked, answer.panels
    unit = shown_strain_unit(asked.component)[1]
    head = [
        f"{asked.class_name} · {asked.component} ({unit})",
        MEANING[asked.component],
        f"σ = {asked.strain.smoothing_pm:g} pm, columns: {asked.strain.columns}",
    ]
    titles = {
        MEASURED: "measured",
        ELASTIC: "Eshelby" if ELASTIC in shown else "no elastic model",
        ATOMISTIC: reference_title(answer) if ATOMISTIC in shown else "no reference",
        DIFFERENCE: (
            f"measured − {answer.comparison.difference_to}"
            if DIFFERENCE in shown
            else "no difference"
        ),
    }
    of_triangles = ""
    if answer.triangles is not None:
        of_triangles = f"{answer.triangles.sublattice} triangles,\nunsmoothed"
    return ["\n".join(head), *titles.values(), of_triangles, *bar_labels(limit, unit)]


def bar_labels(limit: float, unit: str) -> list[str]:
    """Upper end, middle and lower end of the colour bar."""
    return [f"+{limit:.3g} {unit}", "0", f"−{limit:.3g} {unit}"]


def reference_title(answer: Answer) -> str:
    """The reference's name, with what must stand beside it."""
    reference = answer.comparison.reference
    if reference is None:
        return "no reference"
    lines = [f"reference {reference.name}"]
    if BUNDLED_NOTE in reference.notes:
        lines += [part.strip() for part in BUNDLED_NOTE.replace(", see", ",\nsee").split("\n")]
    return "\n".join(lines)


def notes_of(answer: Answer) -> str:
    """What must stand beside everything that shows the reference; empty without one."""
    reference = answer.comparison.reference
    if reference is None or not reference.notes:
        return ""
    return f"reference: {'; '.join(reference.notes)}"


def rows_of(answer: Answer) -> list[Row]:
    """The table of an answer."""
    rows = []
    if answer.asked.target:
        rows += _elastic_rows(answer) + _number_rows(answer)
    rows.append(_decay_row(answer.decay))
    rows += _reference_rows(answer)
    return rows


def _elastic_rows(answer: Answer) -> list[Row]:
    found, symmetry = answer.comparison.inclusion, answer.comparison.symmetry
    low, high = found.radius_interval_pm
    if found.radius_resolved:
        radius = f"{found.radius_pm:.0f} pm, {low:.0f} to {high:.0f}"
    elif np.isfinite(high):
        radius = f"below {high:.0f} pm, not resolved"
    else:
        radius = f"above {low:.0f} pm: beyond the window"
    share = "all of it noise"
    if not np.isnan(symmetry.fraction):  # less its noise, which may take it beyond all or nothing
        share = f"{100 * np.clip(symmetry.fraction, 0.0, 1.0):.0f} %"
    return [
        Row(
            "Eshelby A·R²",
            f"{with_error(found.strength_pm2, found.strength_sigma_pm2, '.0f')} pm²",
            "Strength of the inclusion u = A r inside R, A R² / r outside; positive pushes "
            "outwards. A and R alone are strongly coupled. Fitted to the " + found.target,
        ),
        Row("R", radius, f"Radius of the inclusion, {100 * found.confidence:.0f} % interval"),
        Row(
            "Eshelby χ²/dof",
            agreement_text(found.agreement),
            "How well the elastic model fits, errors of all columns and their covariance "
            f"considered ({found.agreement.weights} weights); 1 is perfect. p: probability of a "
            "larger χ² if the model were true",
        ),
        Row(
            "|u| < 1 pm: model",
            f"beyond {found.decay_radius_pm() / 1000:.2f} nm",
            "Where the model's displacement falls below 1 pm",
        ),
        Row(
            "Rest threefold",
            f"{share} (p = {_p(symmetry.symmetric)}; rest p = {_p(symmetry.rest)})",
            "Share of the lattice's threefold symmetry in what Eshelby leaves over: a true "
            "difference has it, an error of scan or registration has not. p: probability of as "
            "much by noise, of the symmetric part and of the rest",
        ),
    ]


def _number_rows(answer: Answer) -> list[Row]:
    """The far field's numbers, and what lattice statics explains."""
    numbers = answer.comparison.numbers
    rows = [
        Row(name[:1].upper() + name[1:], text, f"{numbers.line}\n{FAR_FIELD}")
        for name, text in numbers.said.items()
    ]
    lattice = numbers.model(LATTICE)
    if lattice is not None:
        text = f"{agreement_text(lattice.agreement)}, ΔAIC {numbers.gain:.0f}"
        rows.append(Row("Lattice χ²/dof", text, f"{numbers.verdict}\n{LATTICE_STATICS}"))
    return rows + [Row("Far field", note, note) for note in numbers.notes]


def _decay_row(decay: DisplacementDecay) -> Row:
    radius = decay.radius_below_pm()
    text = f"from {radius / 1000:.2f} nm on" if np.isfinite(radius) else "not within the window"
    return Row(
        "|u| < 1 pm: data",
        text,
        "Innermost shell of columns from which on the root mean square displacement, less what "
        "the errors give, is below 1 pm",
    )


def _reference_rows(answer: Answer) -> list[Row]:
    if answer.reference_problem:
        return [Row("Reference", answer.reference_problem, answer.reference_problem)]
    reference, amplitude = answer.comparison.reference, answer.comparison.amplitude
    if reference is None or amplitude is None:
        return []
    notes = "; ".join(reference.notes)
    through = "simulated and measured alike" if answer.asked.route == "microscope" else "direct"
    return [
        Row("Reference", f"{reference.name}, {through}", notes or reference.name),
        *([Row("", notes, notes)] if notes else []),
        Row(
            "Reference χ²/dof",
            agreement_text(amplitude.full),
            "How well the reference fits as it is; 1 is perfect",
        ),
        Row(
            "Best amplitude s",
            with_error(amplitude.s, amplitude.sigma, ".3f"),
            "Best factor: measured displacement = s × the reference's",
        ),
        Row(
            "χ²/dof at s",
            agreement_text(amplitude.scaled),
            "How well the reference fits when scaled by s",
        ),
        *_passivated_row(reference, amplitude),
        Row(
            "Out of plane",
            f"up to {reference.out_of_plane_pm:.0f} pm",
            "Largest change of height of any atom of the reference: how far the projection serves",
        ),
    ]


def _passivated_row(reference: Reference, amplitude: Amplitude) -> list[Row]:
    """What s would mean for vacancies; substituted columns can't be passivated."""
    if reference.columns.role not in ("V1", "V2"):
        return []
    text = f"{with_error(100 * amplitude.passivated, 100 * amplitude.sigma, '.0f')} %"
    if amplitude.s >= 1.0:
        text = "0, s is not below 1"
    return [Row("Passivated", f"1 − s = {text} (an interpretation)", INTERPRETATION)]


def agreement_text(found: Agreement) -> str:
    """Reduced chi squared and its probability."""
    return f"{found.reduced:.2f} (p = {_p(found)})"


def _p(found: Agreement) -> str:
    p = found.p_value
    if np.isnan(p):
        return "?"
    return f"{p:.2f}" if p >= 0.01 else (f"{p:.0e}" if p > 1e-99 else "0")


def profile_text(profile: LineProfile) -> str:
    """What the measurement has that the models lack, in a line."""
    parts = []
    for name in profile.models:
        lacking = profile.oscillations(name)
        if not lacking:
            parts.append(f"{name}: no extreme missing")
            continue
        places = ", ".join(
            f"{e.kind[:3]} at {e.position_pm / 1000:+.2f} nm (p = {e.p_value:.3f})"
            for e in lacking[:3]
        )
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        parts.append(f"{name}, missing: {places}{more}")
    return "  ·  ".join(parts)
