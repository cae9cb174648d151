"""A methods paragraph to adapt, and its references: what this run did, by its own parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .folder import Results
from .sheets import number, power_of_ten

REFERENCES: Mapping[str, str] = {
    "lee": (
        "C.-H. Lee et al., Deep learning enabled strain mapping of single-atom defects in "
        "two-dimensional transition metal dichalcogenides with sub-picometer precision, Nano "
        "Letters (2020), doi:10.1021/acs.nanolett.0c00269"
    ),
    "he": (
        "K. He et al., Deep residual learning for image recognition, CVPR (2016), "
        "doi:10.1109/CVPR.2016.90"
    ),
    "unet": (
        "O. Ronneberger, P. Fischer and T. Brox, U-Net: convolutional networks for biomedical "
        "image segmentation, MICCAI (2015), doi:10.1007/978-3-319-24574-4_28"
    ),
    "guo": (
        "C. Guo et al., On calibration of modern neural networks, ICML (2017), "
        "doi:10.48550/arXiv.1706.04599"
    ),
    "wilson": (
        "E. B. Wilson, Probable inference, the law of succession, and statistical inference, J. "
        "Am. Stat. Assoc. (1927), doi:10.1080/01621459.1927.10502953"
    ),
    "efron": (
        "B. Efron, Bootstrap methods: another look at the jackknife, Ann. Stat. (1979), "
        "doi:10.1214/aos/1176344552"
    ),
    "saxton": (
        "W. O. Saxton and W. Baumeister, The correlation averaging of a regularly arranged "
        "bacterial cell envelope protein, J. Microsc. (1982), "
        "doi:10.1111/j.1365-2818.1982.tb00405.x"
    ),
    "eshelby": (
        "J. D. Eshelby, The determination of the elastic field of an ellipsoidal inclusion, and "
        "related problems, Proc. R. Soc. A (1957), doi:10.1098/rspa.1957.0133"
    ),
    "kanzaki": (
        "H. Kanzaki, Point defects in face-centred cubic lattice I, J. Phys. Chem. Solids (1957), "
        "doi:10.1016/0022-3697(57)90003-3"
    ),
    "duerloo": (
        "K.-A. N. Duerloo, M. T. Ong and E. J. Reed, Intrinsic piezoelectricity in two-dimensional "
        "materials, J. Phys. Chem. Lett. (2012), doi:10.1021/jz3012436"
    ),
    "numpy": (
        "C. R. Harris et al., Array programming with NumPy, Nature (2020), "
        "doi:10.1038/s41586-020-2649-2"
    ),
    "scipy": (
        "P. Virtanen et al., SciPy 1.0: fundamental algorithms for scientific computing in Python, "
        "Nature Methods (2020), doi:10.1038/s41592-019-0686-2"
    ),
}
_SHELL_SITES = (0, 6, 12, 18)
"""Chalcogen columns within so many shells."""
_MODELS = {
    "profile": "one column profile for all columns of all averages, learnt from the averages",
    "gaussians": "overlapping Gaussians of one width a class",
    "gaussian": "single two-dimensional Gaussians, column by column",
}
_METHODS = {
    "rbf": "a thin-plate spline with exact derivatives",
    "cubic": "the radial function r³ with exact derivatives",
    "griddata": "cubic interpolation on Delaunay triangles",
}
_HASH_DIGITS = 12
_PER_CENT = 100.0


@dataclass
class _Cited:
    """Numbers of references, in the order in which they are first named."""

    keys: list[str] = field(default_factory=list)

    def __call__(self, *keys: str) -> str:
        for key in keys:
            if key not in self.keys:
                self.keys.append(key)
        return "[" + ", ".join(str(self.keys.index(key) + 1) for key in keys) + "]"


def methods_text(results: Results) -> tuple[list[str], list[str]]:
    """Paragraphs for a methods section, and the references that they cite by number.

    Parameters
    ----------
    results : Results

    Returns
    -------
    paragraphs, references : lists of str
        What wasn't done isn't mentioned; what isn't known stands in square brackets in capitals,
        to be filled in.
    """
    cite = _Cited()
    makers = (_images, _detection, _averages, _columns, _errors, _strain, _theory, _software)
    paragraphs = [
        " ".join(sentences) for make in makers if (sentences := list(make(results, cite)))
    ]
    return paragraphs, [REFERENCES[key] for key in cite.keys]


def _range(values: list[Any], spec: str) -> str:
    known = sorted({float(value) for value in values if value is not None})
    if not known:
        return ""
    ends = dict.fromkeys(format(value, spec) for value in (known[0], known[-1]))
    return " to ".join(ends)


def _condition(results: Results, name: str, unit: str, missing: str, spec: str = "g") -> str:
    values = [(image.get("conditions") or {}).get(name) for image in results.images]
    found = _range(values, spec)
    return f"{found} {unit}".strip() if found else missing


def _dose(results: Results) -> str:
    known = [(image.get("conditions") or {}).get("dose") for image in results.images]
    given = sorted({power_of_ten(float(dose)) for dose in known if dose is not None})
    return f"{' and '.join(given)} e⁻/nm²" if len(given) in (1, 2) else "[DOSE]"


def _images(results: Results, cite: _Cited) -> Iterator[str]:
    images = results.images
    material = str(results.parameter("material") or results.material.label)
    simulated = [image for image in images if (image.get("metadata") or {}).get("simulated")]
    kind = "simulated " if images and len(simulated) == len(images) else ""
    pixels = _range([image.get("pixel_size_pm") for image in images], ".2f") or "[PIXEL SIZE]"
    detector = _condition(results, "inner detector angle", "", "[INNER ANGLE]")
    detector += " to " + _condition(results, "outer detector angle", "mrad", "[OUTER ANGLE]")
    energy = _condition(results, "beam energy", "keV", "[KEV]")
    angle = _condition(results, "semi-angle", "mrad", "[MRAD]")
    yield (
        f"{len(images)} {kind}ADF-STEM image{'s' if len(images) != 1 else ''} of 2H-{material} "
        f"(pixels of {pixels} pm; beam energy {energy}; semi-angle {angle}; detector {detector}; "
        f"dose {_dose(results)} an image) were analysed by the "
        f"method of Lee et al. {cite('lee')} with napari-defectstrain "
        f"{results.about.get('version', '[VERSION]')}."
    )
    if results.parameter("frames"):
        frames = _range([(image.get("metadata") or {}).get("frames") for image in images], "g")
        how_many = f" ({frames} frames an image)" if frames else ""
        yield (
            f"Frames of one region{how_many} were registered rigidly, each against the mean of the "
            "others, bad ones left out, and summed."
        )
    failed = len(results.about.get("failed") or [])
    if failed:
        yield f"{failed} further image{'s were' if failed > 1 else ' was'} left out [SAY WHY]."


def _detection(results: Results, cite: _Cited) -> Iterator[str]:
    weights = results.about.get("weights_sha256")
    if weights:
        yield (
            "Columns were located and classified by a residual U-Net trained on simulated images "
            f"{cite('lee', 'he', 'unet')} (weights SHA-256 {str(weights)[:_HASH_DIGITS]}…), its "
            f"probabilities corrected by vector scaling {cite('guo')}."
        )
    else:
        yield "Places and classes of the columns were taken from tables [SAY HOW THEY WERE MADE]."
    if weights and results.parameter("judge", "enabled"):
        yield (
            "Each image then judged the classes itself: the brightness of every column was fitted "
            "by generalised least squares with the image's own column profile and noise, and "
            "classes were assigned by a mixture model of these brightnesses, whose means and "
            "shares the images of the run share."
        )
    table = results.populations().set_index("class") if len(results.populations()) else None
    if table is None:
        return
    texts = [
        f"{name} {number(_PER_CENT * row['corrected'], '.2f')} % (95 % interval "
        f"{number(_PER_CENT * row['crystal_low'], '.2f')} to "
        f"{number(_PER_CENT * row['crystal_high'], '.2f')} %)"
        for name, row in table.iterrows()
        if name in ("x", "vacancy fraction")
    ]
    if texts:
        yield (
            f"Concentrations per atomic chalcogen site are {' and '.join(texts)}; intervals are "
            f"Wilson's {cite('wilson')}, widened for columns in doubt."
        )


def _averages(results: Results, cite: _Cited) -> Iterator[str]:
    table = results.spacings()
    if not len(table):
        return
    shells = int(results.parameter("average", "shells") or 0)
    sites = _SHELL_SITES[min(shells, len(_SHELL_SITES) - 1)]
    window, step = (results.parameter("average", name) for name in ("window_nm", "step_pm"))
    least, sigma = (
        results.parameter("average", name) for name in ("min_probability", "outlier_sigma")
    )
    counts = ", ".join(
        f"{row['n']:.0f} {name}"
        for name, row in table.iterrows()
        if name not in results.material.references
    )
    isolated = (
        f"Defects with {shells} shells ({sites} columns) of perfect chalcogen columns around them"
        if shells
        else "Defects, isolated or not,"
    )
    yield (
        f"{isolated} were cut out in windows of {number(window, 'g')} nm, resampled once onto the "
        f"lattice frame ({number(step, 'g')} pm a pixel) along an affine lattice fitted to each "
        "domain, and registered rigidly outside of the core."
    )
    yield (
        f"Windows with a probability below {number(least, 'g')}, or more than {number(sigma, 'g')} "
        f"robust standard deviations from the others, were left out. Averaged were {counts}, "
        "against a reference of "
        + ", ".join(
            f"{row['n']:.0f} defect-free windows ({name})"
            for name, row in table.iterrows()
            if name in results.material.references
        )
        + "."
    )
    purity = table["purity"].dropna()
    if len(purity):
        yield f"The expected purity is {purity.min():.3f} or better."
    if results.parameter("average", "crowded"):
        yield (
            "Averages of every defect, isolated or not, were measured beside them by linear least "
            "squares over whole images."
        )


def _columns(results: Results, cite: _Cited) -> Iterator[str]:
    if not len(results.spacings()):
        return
    model = str(results.parameter("columns", "model"))
    yield (
        "All columns of the averages were fitted by least squares with "
        f"{_MODELS.get(model, f'the model {model}')}."
    )
    if results.parameter("columns", "compare") and model != "gaussian":
        yield (
            "What other column models give beyond their statistical error, each corrected for its "
            "bias by simulation, counts as an error of the model."
        )


def _errors(results: Results, cite: _Cited) -> Iterator[str]:
    if not len(results.spacings()):
        return
    samples, seed = results.parameter("bootstrap"), results.parameter("seed")
    yield (
        "Statistical errors are those of the scatter of the windows; spacings were bootstrapped "
        f"{cite('efron')} with {samples} samples a class (seed {seed})."
    )
    if len(results.table("budget.csv")):
        yield (
            "Systematic errors (column model, learnt profile, registration, scan distortion, "
            f"specimen tilt of {number(results.parameter('budget', 'tilt_mrad'), 'g')} mrad, "
            "impurity of the classes, neighbouring defects) were added in quadrature."
        )
    if results.parameter("budget", "correct"):
        yield (
            "What windows of other classes and the defects around the windows add to the positions "
            "was worked out from the measured fields and subtracted."
        )
    if len(results.table("half_sets.csv")):
        yield (
            "Averages of independent halves of the images were compared by ring correlation "
            f"{cite('saxton')}."
        )


def _strain(results: Results, cite: _Cited) -> Iterator[str]:
    if not len(results.table("displacement.csv")):
        return
    method = str(results.parameter("strain", "method"))
    smoothing = results.parameter("strain", "smoothing_pm")
    base = results.about.get("a_ref_pm")
    spacing = f" (spacing {base:.2f} pm)" if isinstance(base, float) and math.isfinite(base) else ""
    which = {"metal": "metal columns", "chalcogen": "chalcogen columns"}.get(
        str(results.parameter("strain", "columns")), "columns of both sublattices"
    )
    yield (
        "Displacements are positions in a class average less those in the defect-free average of "
        f"the same images{spacing}. They were interpolated between {which} by "
        f"{_METHODS.get(method, method)} and smoothed by a Gaussian of {number(smoothing, 'g')} pm "
        "standard deviation; strains are symmetric derivatives, tension positive, the dilation is "
        "their trace."
    )


def _theory(results: Results, cite: _Cited) -> Iterator[str]:
    table = results.table("theory.csv")
    if not len(table):
        return
    yield (
        "Measured fields were compared with Eshelby's inclusion in two dimensions "
        f"{cite('eshelby')} after the same steps of analysis."
    )
    if "lattice_chi2" in table and table["lattice_chi2"].notna().any():
        yield f"Lattice statics used Kanzaki forces {cite('kanzaki')} on the nearest shells."
    if "c11_n_per_m" in table and table["c11_n_per_m"].notna().any():
        row = table[table["c11_n_per_m"].notna()].iloc[0]
        constants = f"C11 = {row['c11_n_per_m']:g} and C12 = {row['c12_n_per_m']:g} N/m"
        given = results.parameter("theory", "c11_n_per_m") is not None
        yield f"Elastic constants are {constants} {'(given)' if given else cite('duerloo')}."
    named = results.about.get("references") or {}
    names = dict.fromkeys(str(one[0]) for one in named.values() if one)
    if names:
        yield f"Relaxed structures for comparison: {', '.join(names)} [CITE THEIR SOURCE]."


def _software(results: Results, cite: _Cited) -> Iterator[str]:
    versions = results.about.get("versions") or {}
    shown = [f"{name} {versions[name]}" for name in ("numpy", "scipy", "torch") if name in versions]
    if shown:
        yield (
            f"Calculations used Python {versions.get('python', '')} with {', '.join(shown)} "
            f"{cite('numpy', 'scipy')}."
        )
