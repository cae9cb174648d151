"""Strain of one class, with its errors.

python examples/one_class.py [FOLDER]

Single vacancies of two images: their windows are averaged, the columns of the average fitted
together, and what the vacancy does to the spacing of the three metals around it stands beside what
was built in, with the statistical and the total error.
"""

import sys
from pathlib import Path

from known import BUILT_IN, known_images

import napari_defectstrain as nds
from napari_defectstrain.output import comparison_figure, save_figure
from napari_defectstrain.pipeline import ELASTIC, MEASURED


def main(picture: Path, size: int = 512, config: nds.RunConfig | None = None) -> None:
    """Measure SV, and draw its strain with the standard error."""
    made, columns = known_images(picture.parent, 2, size, (0.0, 0.0, 0.05, 0.0))
    result = nds.run([one.image for one in made], config or nds.RunConfig(), columns)
    vacancy = result.measurements["SV"]
    spacing, budget = vacancy.spacing, vacancy.budget
    print(f"SV: {spacing.n} windows, {spacing.spacing_pm:.2f} ± {spacing.precision_pm:.2f} pm")
    print(f"strain {spacing.strain:+.2%} ± {spacing.strain_total_std:.2%} (total error)")
    print(f"of which {budget.sigma_stat:.2%} are statistical; built in {BUILT_IN['SV']:+.2%}")
    fields = result.comparisons["SV"].strain
    beside = {name: fields[name] for name in (MEASURED, ELASTIC)}
    figure = comparison_figure(beside, vacancy.displacement, ("exx", "eyy", "dilation"))
    save_figure(figure, picture)


if __name__ == "__main__":
    main(Path(*sys.argv[1:], "one_class.png"))
