"""Write a self-test: ``selftest.csv``, a figure, and ``selftest.json`` as the last.

The columns are described in ``docs/self-test.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..io.files import write_table
from ..io.out_folder import writing_into
from ..pipeline.selftest import SelfTest, SelfTestConfig, pulls_text
from .results import FIGURES, provenance

SELFTEST_FILE = "selftest.json"
_DECIMALS = 5


def write_selftest(
    made: SelfTest,
    config: SelfTestConfig,
    out_dir: Path,
    formats: Sequence[str] = ("png",),
) -> list[str]:
    """Write table, figure and settings; returns what was kept of the user's, and where.

    Parameters
    ----------
    made : SelfTest
    config : SelfTestConfig
    out_dir : Path
        Created where it doesn't exist.
    formats : sequence of str
        Of the figure, some of `results.FIGURE_FORMATS`.
    """
    from .figures.drawn import write_with_data
    from .figures.selftest import selftest_figure

    with writing_into(out_dir, "selftest", SELFTEST_FILE) as folder:
        write_table(folder.place("selftest.csv"), made.table.round(_DECIMALS))
        if len(made.table):
            figure = selftest_figure(made.table, made.found.material)
            write_with_data(figure, folder.place, f"{FIGURES}/selftest", formats)
        folder.finish(
            {
                **provenance(made.found),
                "selftest": config.to_dict(),
                "images": [image.name for image in made.found.images],
                "failed": list(made.found.failed),
                "warnings": [*made.found.warnings, *made.warnings],
            }
        )
    return folder.notes


def selftest_text(made: SelfTest) -> str:
    """The table and the pulls, as they are printed."""
    if not len(made.table):
        return "no class could be measured"
    table = made.table.to_string(index=False, float_format="%.3f")
    return f"{table}\n{pulls_text(made.table)}"
