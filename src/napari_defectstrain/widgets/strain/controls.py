"""Controls of the strain widget: what is compared with what, and how it is shown."""

from collections.abc import Sequence

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QComboBox, QGridLayout, QWidget

from ...materials import ROLES, get_material
from ...pipeline.comparison import ATOMISTIC, ELASTIC
from ...strain.field import COLUMNS, FWHM_PER_SIGMA, METHODS, StrainConfig
from ...strain.triangles import SUBLATTICES
from ...styles import DISPLACEMENT_SCALE
from ...theory.elastic_constants import ELASTIC_SOURCE
from ...theory.elasticity import TARGETS
from ..base import forms, tr
from ..layers.fields import COMPONENTS
from .comparing import Asked, Line
from .comparison_text import CAUTION
from .reference_choice import ReferenceChoice

NO_MODEL, NO_TRIANGLES = "none", "none"
THROUGH = {"through the microscope": "microscope", "coordinates as they are": "direct"}


class StrainControls(QObject):
    """Rows of controls in the groups of the strain widget.

    Parameters
    ----------
    panel : Panel
        That the groups are added to, and whose settings keep the choices.
    """

    asked = Signal()
    """Something else is to be computed."""
    looks = Signal()
    """Only the looks of what is there change."""

    def __init__(self, panel: forms.Panel) -> None:
        super().__init__(panel)
        self._panel = panel
        self._build_maps()
        self._build_theory()
        self._build_arrows()
        self._build_all_classes()
        for box in (self.class_name, self.model, self.route, self.reference.choice):
            # long entries must not widen the dock
            box.setSizeAdjustPolicy(box.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(8)

    def _asks(self, control: QWidget) -> None:
        if isinstance(control, QComboBox):
            control.currentIndexChanged.connect(lambda _: self.asked.emit())
        else:
            (control.valueChanged if hasattr(control, "valueChanged") else control.toggled).connect(
                lambda _: self.asked.emit()
            )

    def _build_maps(self) -> None:
        panel, form = self._panel, self._panel.group(tr("Class beside theory"))
        self.class_name = forms.choice([])
        self.class_name.setToolTip(tr("The class of defects that is set beside theory"))
        self.class_name.currentTextChanged.connect(self._change_class)
        form.addRow(tr("Class"), self.class_name)
        meanings = "\n".join(f"{name}: {what}" for name, what in COMPONENTS.items())
        self.component = panel.remember(
            "component", forms.choice(list(COMPONENTS)), f"{meanings}\n\n{CAUTION}"
        )
        form.addRow(tr("Component"), self.component)
        self.smoothing = panel.remember(
            "smoothing_pm",
            forms.number(StrainConfig().smoothing_pm, 0.0, 300.0, 5.0, 0, " pm"),
            "Sigma of the Gaussian that smooths the displacement before it is differentiated [pm]; "
            f"its full width at half maximum is {FWHM_PER_SIGMA:.3f} times that. 0: none",
        )
        form.addRow(tr("Smoothing σ"), self.smoothing)
        self.method = panel.remember(
            "method",
            forms.choice(list(METHODS)),
            tr(
                "How displacements are interpolated between columns: rbf (thin-plate "
                "spline) and cubic (r³) are smooth and exact; griddata is the paper's, and "
                "breaks the symmetry of symmetric fields"
            ),
        )
        form.addRow(tr("Interpolation"), self.method)
        self.columns = panel.remember(
            "columns",
            forms.choice(list(COLUMNS)),
            tr(
                "Sublattices that are used. A shift of one against the other is no strain, "
                "but looks like it within a cell where both are used"
            ),
        )
        form.addRow(tr("Columns"), self.columns)
        self.limit = panel.remember(
            "limit_percent",
            forms.number(0.0, 0.0, 50.0, 0.5, 1, " %"),
            tr(
                "Colour limit ± of the maps in %, of rotation 10 mrad for each; automatic "
                "takes what they need, and keeps it while the smoothing changes"
            ),
        )
        self.limit.setSpecialValueText("automatic")
        form.addRow(tr("Colour limit ±"), self.limit)
        self.fade = panel.remember(
            "fade",
            forms.checkbox(tr("Fade what is below 2 σ"), True),
            tr(
                "Measured and difference: places where the strain is less than two "
                "standard errors from zero let the ground show through. Point by point: "
                "4.6 % of a map without strain is not faded"
            ),
        )
        form.addRow(self.fade)
        self.triangles = panel.remember(
            "triangles",
            forms.choice([NO_TRIANGLES, *SUBLATTICES]),
            tr(
                "Strain of each triangle of neighbouring columns, without interpolation or "
                "smoothing: shows what the smoothing did"
            ),
        )
        form.addRow(tr("Triangles"), self.triangles)
        for control in (self.component, self.smoothing, self.method, self.columns, self.triangles):
            self._asks(control)
        self.limit.valueChanged.connect(lambda _: self.looks.emit())
        self.fade.toggled.connect(lambda _: self.looks.emit())

    def _build_theory(self) -> None:
        panel, form = self._panel, self._panel.group(tr("Theory"))
        self.theory_form = form
        self.model = panel.remember(
            "model",
            forms.choice([*(f"Eshelby, fitted to {t}" for t in TARGETS), NO_MODEL]),
            f"Isotropic elastic inclusion in two dimensions, fitted to the measurement. {CAUTION}",
        )
        form.addRow(tr("Model"), self.model)
        self.reference = ReferenceChoice(panel, form)
        self.route = panel.remember(
            "route",
            forms.choice(list(THROUGH)),
            tr(
                "Through the microscope: images of the reference are simulated with the "
                "fitted column profile, and measured as the average was. Or its "
                "coordinates as they are"
            ),
        )
        form.addRow(tr("Compared"), self.route)
        self.difference = panel.remember(
            "difference_to",
            forms.choice([ATOMISTIC, ELASTIC]),
            f"What the difference is taken to, where it is there. {CAUTION}",
        )
        form.addRow(tr("Difference to"), self.difference)
        self.c11 = panel.remember(
            "c11_n_per_m",
            forms.number(0.0, 0.0, 5000.0, 1.0, 1, " N/m"),
            "Elastic constant C11 of the monolayer, for relaxation area, elastic dipole and "
            f"lattice statics. Of the material: {ELASTIC_SOURCE}",
        )
        self.c11.setSpecialValueText(tr("of the material"))
        self.c12 = panel.remember(
            "c12_n_per_m",
            forms.number(0.0, -5000.0, 5000.0, 1.0, 1, " N/m"),
            tr("Elastic constant C12, beside a C11 of one's own; between -C11 and C11"),
        )
        form.addRow("C11", self.c11)
        form.addRow("C12", self.c12)
        for control in (self.model, self.route, self.difference, self.c11, self.c12):
            self._asks(control)
        self.c11.valueChanged.connect(self._offer_c12)
        self._offer_c12()
        self.reference.changed.connect(self.asked)

    def _offer_c12(self, _value: float = 0.0) -> None:
        self.c12.setEnabled(self.elastic is not None)

    @property
    def elastic(self) -> tuple[float, float] | None:
        """C11 and C12 [N/m]; None for those of the material."""
        c11, c12 = self.c11.value(), self.c12.value()
        return (c11, c12) if c11 > 0 else None

    def _build_arrows(self) -> None:
        panel, form = self._panel, self._panel.group(tr("Displacement arrows"))
        names = dict(zip(ROLES, get_material("WSe2").class_names, strict=True))
        self.enlargement = {}
        for key, roles in (("substitutions", ("XY", "Y2")), ("vacancies", ("V1", "V2"))):
            title = " and ".join(names[r] for r in roles)
            box = panel.remember(
                f"enlarge_{key}",
                forms.number(DISPLACEMENT_SCALE[roles[0]], 1.0, 500.0, 5.0, 0, " ×"),
                f"How many times the arrows of {title} are enlarged; arrows that are there follow",
            )
            box.valueChanged.connect(lambda _: self.looks.emit())
            form.addRow(title, box)
            self.enlargement.update({role: box for role in roles})
        self.ellipses = panel.remember(
            "ellipses",
            forms.checkbox(tr("Error ellipses of the class (1 σ)")),
            tr(
                "At the arrows' tips, enlarged alike: each holds the true displacement "
                "with a probability of 39 %"
            ),
        )
        self.ellipses.toggled.connect(lambda _: self.looks.emit())
        form.addRow(self.ellipses)

    def _build_all_classes(self) -> None:
        panel, form = self._panel, self._panel.group(tr("Maps of all classes"))
        grid = QGridLayout()
        self.maps = {}
        for i, component in enumerate(COMPONENTS):
            box = panel.remember(
                f"map_{component}",
                forms.checkbox(component, component == "dilation"),
                f"A measured map a class: {COMPONENTS[component]}; tension is positive",
            )
            self.maps[component] = box
            self._asks(box)
            grid.addWidget(box, i // 3, i % 3)
        form.addRow(grid)
        self.sigma = panel.remember(
            "map_sigma",
            forms.checkbox(tr("Standard errors, too")),
            tr("A map of the standard error for each map, in its unit"),
        )
        self._asks(self.sigma)
        form.addRow(self.sigma)

    def show_classes(self, names: Sequence[str]) -> None:
        """Offer these classes; the chosen one stays, else the single vacancy, else the first."""
        if [self.class_name.itemText(i) for i in range(self.class_name.count())] == list(names):
            return
        chosen = self.class_name.currentText()
        self.class_name.blockSignals(True)
        self.class_name.clear()
        self.class_name.addItems(list(names))
        wanted = next((n for n in (chosen, "SV") if n in names), names[0] if names else "")
        self.class_name.setCurrentText(wanted)
        self.class_name.blockSignals(False)
        self.reference.show_class(wanted)

    def _change_class(self, name: str) -> None:
        self.reference.show_class(name)
        self.asked.emit()

    @property
    def strain(self) -> StrainConfig:
        """Settings of the maps."""
        return StrainConfig(
            method=self.method.currentText(),
            smoothing_pm=self.smoothing.value(),
            columns=self.columns.currentText(),
        )

    @property
    def components(self) -> list[str]:
        """Of the maps of all classes."""
        return [name for name, box in self.maps.items() if box.isChecked()]

    def question(self, line: Line | None, line_problem: str, along: str) -> Asked:
        """What the controls ask for."""
        model, triangles = self.model.currentText(), self.triangles.currentText()
        return Asked(
            class_name=self.class_name.currentText(),
            component=self.component.currentText(),
            strain=self.strain,
            target="" if model == NO_MODEL else model.rsplit(" ", 1)[1],
            reference=self.reference.files,
            route=THROUGH[self.route.currentText()],
            difference_to=self.difference.currentText(),
            triangles="" if triangles == NO_TRIANGLES else triangles,
            all_classes=bool(self.components),
            line_pm=line,
            line_problem=line_problem,
            along=along,
            elastic=self.elastic,
        )
