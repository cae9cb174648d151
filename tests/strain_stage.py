"""Averages in a viewer whose measurements are made up: known displacements, no fits."""

from functools import cache

import numpy as np

from napari_defectstrain.averages.average import average_stack
from napari_defectstrain.crystal.honeycomb import ideal_sites
from napari_defectstrain.materials import WSE2
from napari_defectstrain.pipeline.runs import ClassMeasurement
from napari_defectstrain.precision.spacings import SpacingResult
from napari_defectstrain.theory.reference import bundled_reference
from napari_defectstrain.types import ClassStack, ColumnFits, DisplacementField

A_PM, N, SIGMA_PM, SIZE, STEP_PM = 330.0, 2000, 0.3, 61, 40.0
SITE, IS_METAL = ideal_sites(A_PM, 1000.0)


# What costs time is made once: nothing changes it, and every test shows the same.


@cache
def stack_of(name):
    """Windows with a ramp and nothing else."""
    ramp = np.linspace(0.0, 1.0, SIZE, dtype=np.float32)
    windows = np.broadcast_to(ramp, (N, SIZE, SIZE))
    flat = np.zeros(N)
    return ClassStack(
        class_name=name,
        windows=windows,
        image_index=flat.astype(int),
        site_index=flat.astype(int),
        position_px=np.zeros((N, 2)),
        shift_pm=np.zeros((N, 2)),
        probability=np.ones(N),
        step_pm=STEP_PM,
        a_pm=A_PM,
        included=np.ones(N, dtype=bool),
        reason=np.full(N, ""),
    )


@cache
def average_of(name):
    """Their average."""
    return average_stack(stack_of(name))


bundled = cache(bundled_reference)


def measurement(name, u_pm):
    """Of displacements with independent errors; u_pm None: the reference."""
    covariance = SIGMA_PM**2 * np.eye(2 * len(SITE))
    zero = np.zeros(len(SITE))
    fits = ColumnFits(name, SITE, IS_METAL, SITE, covariance, zero, zero.astype(int))
    spacing = SpacingResult(name, N, 0, A_PM, 0.1, 0.0, 0.0, 0.0, 1.0, np.zeros(2))
    field = None if u_pm is None else DisplacementField(name, SITE, IS_METAL, u_pm, covariance)
    return ClassMeasurement(average_of(name), fits, spacing, np.zeros((N, 3)), displacement=field)


def noisy_reference(name, seed=1, amplitude=1.0):
    """The bundled structure's displacements with the errors that the measurement states."""
    u = amplitude * bundled(name, WSE2).columns.at(SITE, A_PM)
    return u + np.random.default_rng(seed).normal(0.0, SIGMA_PM, SITE.shape)


def measured_classes(names=("SeTe", "SV")):
    """Measurements of the defect-free class and others, as their bundled structures are."""
    found = {"2Se": measurement("2Se", None)}
    return found | {n: measurement(n, noisy_reference(n, i)) for i, n in enumerate(names)}


def show_averages(viewer, names=("2Se", "SeTe", "SV"), run="run"):
    """Averages of a run, of ramps, in the viewer."""
    stacks = {name: stack_of(name) for name in names}
    averages = {name: average_of(name) for name in names}
    parameters = {"material": "WSe2", "seed": 0}
    # only those who have a viewer have napari
    from napari_defectstrain.widgets.layers.averages import add_averages
    from napari_defectstrain.widgets.layers.sites import provenance

    about = provenance("average", parameters, run=run, images=["region"], image_ids=["1"])
    return add_averages(viewer, stacks, averages, (0.0, 0.0), about, False)


def strain_widget(viewer, qtbot, monkeypatch, measured=None):
    """The widget, with made-up measurements, settings that cost little time."""
    from napari_defectstrain.widgets.strain import comparing
    from napari_defectstrain.widgets.strain import widget as strain_module
    from napari_defectstrain.widgets.strain.widget import StrainWidget

    made = measured_classes() if measured is None else measured
    monkeypatch.setattr(strain_module, "measure_classes", lambda *_: made)
    monkeypatch.setattr(comparing, "bundled_reference", bundled)
    widget = StrainWidget(viewer)
    qtbot.addWidget(widget)
    widget.controls.route.setCurrentText("coordinates as they are")
    return widget


def settle(qtbot, widget, timeout=180_000):
    """Wait until nothing is being computed or due."""

    def still():
        return not widget.run_bar.running and not widget.view.waiting

    qtbot.wait(20)
    qtbot.waitUntil(still, timeout=timeout)
    qtbot.wait(20)
    qtbot.waitUntil(still, timeout=timeout)
