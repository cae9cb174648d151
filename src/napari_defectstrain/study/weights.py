"""The network of a study: other weights never change its numbers unasked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..materials import get_material
from ..pipeline.runs import RunConfig
from ..types import DefectStrainError
from .folder import StudyFolder, WeightsRecord, weights_name

_NOT_OF_NUMBERS = ("device", "weights", "tile_px", "material")
"""Settings of detection that change no answer, or that the key has in another way."""


def configured_weights(config: RunConfig) -> WeightsRecord:
    """The weights that settings ask for.

    Raises
    ------
    DefectStrainError
        If there are none, or they are damaged.
    """
    from ..detect.finding.model import find_model  # imports torch

    host = get_material(config.material).host
    model = find_model(config.detect.replace(material=host.label), host)
    return WeightsRecord(weights_name(config), model.sha256)


def check_weights_of(study: StudyFolder, accept: bool = False) -> WeightsRecord:
    """The weights that the settings of a study ask for, if it may use them; changes nothing.

    Parameters
    ----------
    study : StudyFolder
    accept : bool
        The user wants others from now on.

    Raises
    ------
    DefectStrainError
        If the study holds answers of others, and these aren't accepted.
    """
    found, known = configured_weights(study.config), study.weights
    if known is not None and not accept and known.sha256 != found.sha256:
        raise DefectStrainError(
            f"{study.path}: got weights {found.name} ({found.sha256[:12]}), expected those of the "
            f"study, {known.name} ({known.sha256[:12]}): others change its numbers. Give the old "
            "ones with --weights, look what would change with defectstrain status STUDY "
            "--compare-weights FILE, or take the new ones with --new-weights"
        )
    return found


def answer_key(config: RunConfig, files: Iterable[str], weights_sha256: str) -> str:
    """What answers for all images together depend on, whatever the order of the images.

    Parameters
    ----------
    config : RunConfig
    files : iterable of str
        Hashes of the files of the images, which are judged together.
    weights_sha256 : str
        Of the network.
    """
    settings = config.to_dict()
    detect = {n: v for n, v in settings["detect"].items() if n not in _NOT_OF_NUMBERS}
    names = ("material", "pixel_size_pm", "force_material", "frames", "series", "judge", "regions")
    made_of = {
        **{name: settings[name] for name in names},
        "judge": _without_none(settings["judge"]),
        "detect": detect,
        "weights": weights_sha256,
        "files": sorted(files),
    }
    text = json.dumps(made_of, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _without_none(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that came later have no part in the key where nothing was learnt."""
    return {name: value for name, value in settings.items() if value is not None}
