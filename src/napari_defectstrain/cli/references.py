"""Relaxed structures and elastic constants, as the command line is given them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..materials import get_material
from ..theory.elastic_constants import TheoryConfig
from ..theory.reference import Reference, load_reference
from ..types import DefectStrainError


def reference_paths(text: str) -> tuple[str, Path, Path]:
    """Class, defect's file and pristine file of ``CLASS=DEFECT,PRISTINE``.

    A comma may be in the names, too, where one way of dividing them alone names two files.

    Raises
    ------
    DefectStrainError
        If it is not of this form.

    Examples
    --------
    >>> reference_paths("SV=CONTCAR_SV,CONTCAR")[0]
    'SV'
    """
    name, _, files = text.partition("=")
    parts = files.split(",")
    ways = [(",".join(parts[:k]), ",".join(parts[k:])) for k in range(1, len(parts))]
    ways = [way for way in ways if all(part.strip() for part in way)]
    if len(ways) > 1:
        ways = [way for way in ways if all(Path(part).exists() for part in way)]
    if not name.strip() or len(ways) != 1:
        raise DefectStrainError(
            f"--reference {text}: expected CLASS=DEFECT,PRISTINE, a class and two structure files, "
            "such as SV=CONTCAR_SV,CONTCAR_pristine"
        )
    defect, pristine = ways[0]
    return name.strip(), Path(defect), Path(pristine)


def read_references(texts: Sequence[str], material: str) -> dict[str, Reference]:
    """The structures of all ``--reference`` options.

    Raises
    ------
    DefectStrainError
        If one is not of the right form, can't be read, is of another class or material, or a class
        is given twice.
    """
    found: dict[str, Reference] = {}
    for text in texts:
        name, defect, pristine = reference_paths(text)
        if name in found:
            raise DefectStrainError(
                f"--reference {text}: got {name} twice, expected one structure for each class"
            )
        found[name] = load_reference(defect, pristine, name, get_material(material))
    return found


def with_elastic(config: TheoryConfig, text: str) -> TheoryConfig:
    """Settings with the elastic constants of ``--elastic C11,C12``.

    Raises
    ------
    DefectStrainError
        If they are not two numbers, or those of no stable sheet.

    Examples
    --------
    >>> with_elastic(TheoryConfig(), "119, 23").c12_n_per_m
    23.0
    """
    try:
        c11, c12 = (float(part) for part in text.split(","))
    except ValueError:
        raise DefectStrainError(
            f"--elastic {text}: expected two numbers of N/m, C11 and C12, such as 119,23"
        ) from None
    return config.replace(c11_n_per_m=c11, c12_n_per_m=c12)
