"""The controls of what training images are drawn from: material, microscope, defects."""

from qtpy.QtWidgets import QGridLayout, QLabel, QLineEdit, QPushButton

from ...materials import DEFECT_ROLES, MATERIALS, get_material
from ...simulate.conditions import Conditions
from ...types import DefectStrainError
from ..base import forms, tr
from ..base.forms import RangeBox

RANGES = {
    # setting: label, least, largest, step (0: doubling), decimals, tooltip
    "pixel_size_pm": (
        "Pixel size [pm]",
        *(2.0, 60.0, 1.0, 2),
        "Side of a pixel of the scan [pm]; about 15 % around that of your images will do",
    ),
    "semi_angle_mrad": (
        "Semi-angle [mrad]",
        *(5.0, 60.0, 0.5, 1),
        "Convergence semi-angle of the probe [mrad]",
    ),
    "source_fwhm_pm": (
        "Source size [pm]",
        *(10.0, 300.0, 5.0, 0),
        "Full width at half maximum of the source's image in the sample [pm]",
    ),
    "dose_e_per_nm2": (
        "Dose [e/nm²]",
        *(1e4, 1e11, 0.0, 0),
        "Total dose of the image, all frames together [electrons per nm²]",
    ),
    "jitter_px": (
        "Line jitter [px]",
        *(0.0, 5.0, 0.1, 2),
        "Standard deviation of the shift of scan lines against each other in one frame [px]; "
        "less in coarse scans",
    ),
    "read_noise": (
        "Read noise",
        *(0.0, 1.0, 0.01, 2),
        "Standard deviation of the detector's noise, as a fraction of a metal column's height",
    ),
    "contamination": (
        "Contamination",
        *(0.0, 2.0, 0.05, 2),
        "Mean intensity of the contamination, as a fraction of a metal column's height",
    ),
    "texture": (
        "  its texture",
        *(0.0, 2.0, 0.05, 2),
        "Amorphous texture of the contamination, as a fraction of it",
    ),
}


class ConditionsControls:
    """The group of controls, and `Conditions` from it.

    Parameters
    ----------
    panel : Panel
        Whose body the group is added to, and whose settings keep the values.
    """

    def __init__(self, panel: forms.Panel) -> None:
        self._panel = panel
        self._base = Conditions()
        form = panel.group(tr("What to train for (ranges to draw from)"))
        box = forms.choice(sorted(MATERIALS, key=lambda m: m != "WSe2"))
        box.setEditable(True)
        self.material = panel.remember(
            "material",
            box,
            tr(
                "Crystal whose defects the network shall find: one of the list, or a "
                "formula with the substituent and the lattice constant in pm, such as "
                "NbSe2(S, 344.5)"
            ),
        )
        form.addRow(tr("Material"), self.material)
        default = Conditions()
        self.energy = panel.remember(
            "energy_kev",
            forms.number(80.0, 10.0, 400.0, 5.0, 1, " keV"),
            tr("Beam energy [keV]: sets the wavelength, and with the semi-angle the probe"),
        )
        form.addRow(tr("Beam energy"), self.energy)
        self.ranges: dict[str, RangeBox] = {}
        for name, (label, *limits, tooltip) in RANGES.items():
            box = self.ranges[name] = RangeBox(getattr(default, name), *limits)
            panel.remember(f"{name}_low", box.low, f"{tooltip}; least")
            panel.remember(f"{name}_high", box.high, f"{tooltip}; largest")
            form.addRow(label, box)
        self.background = panel.remember(
            "background",
            QLineEdit(),
            tr(
                "File of the contamination of a real image, which is then seen in half of "
                "the training images; Take contamination, above, makes one of yours"
            ),
        )
        self.background.setPlaceholderText(tr("none: simulated only"))
        self.background.setClearButtonEnabled(True)
        form.addRow(tr("  measured"), self.background)
        form.addRow(QLabel(tr("Largest share of each class (0–1)")))
        form.addRow(self._shares(default))
        self.reset_button = reset = QPushButton(tr("Defaults"))
        reset.setToolTip(tr("Back to wide ranges, which suit many microscopes"))
        reset.clicked.connect(lambda: self.set(Conditions(energy_kev=(80.0,))))
        form.addRow("", reset)
        self.material.currentTextChanged.connect(self._name_classes)
        self._name_classes(self.material.currentText())

    def _shares(self, default: Conditions) -> QGridLayout:
        grid = QGridLayout()
        self.shares, self.share_labels = [], []
        for i, (role, value) in enumerate(zip(DEFECT_ROLES, default.fractions_max, strict=True)):
            box = self._panel.remember(
                f"share_{role}",
                forms.number(value, 0.0, 0.5, 0.01, 2),
                tr(
                    "Largest fraction (0 to 1) of the chalcogen columns that are of this "
                    "class; each image draws its own from zero up"
                ),
            )
            label = QLabel()
            label.setToolTip(box.toolTip())
            grid.addWidget(label, i // 2, 2 * (i % 2))
            grid.addWidget(box, i // 2, 2 * (i % 2) + 1)
            self.shares.append(box)
            self.share_labels.append(label)
        return grid

    def get(self) -> Conditions:
        """What the controls say; everything else as it was set, by default for another material.

        Raises
        ------
        DefectStrainError
            If the material is none.
        """
        name = self.material.currentText().strip()
        base = self._base if self._base.materials == (name,) else Conditions()
        return base.replace(
            materials=(name,),
            energy_kev=(self.energy.value(),),
            fractions_max=tuple(box.value() for box in self.shares),
            background=self.background.text().strip(),
            **{name: box.value for name, box in self.ranges.items()},
        )

    def set(self, conditions: Conditions) -> None:
        """Show other conditions, and keep what there are no controls of."""
        self._base = conditions
        self.material.setCurrentText(conditions.materials[0])
        self.energy.setValue(conditions.energy_kev[-1])
        for name, box in self.ranges.items():
            box.set_value(getattr(conditions, name))
        for box, value in zip(self.shares, conditions.fractions_max, strict=True):
            box.setValue(value)
        self.background.setText(conditions.background)

    def _name_classes(self, material: str) -> None:
        try:
            names = get_material(material).defect_names
        except DefectStrainError:  # being typed
            return
        for label, name in zip(self.share_labels, names, strict=True):
            label.setText(name)
