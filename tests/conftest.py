"""Fixtures that many tests share."""

import os
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

REAL_IMAGES = "DEFECTSTRAIN_REAL_IMAGES"


GUI_FIXTURES = {"make_napari_viewer", "make_napari_viewer_proxy", "qtbot", "qapp"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a display or real images; what is slow says so itself."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & GUI_FIXTURES:
            item.add_marker(pytest.mark.gui)
        if "real_images" in fixtures:
            item.add_marker(pytest.mark.real)


@pytest.fixture(autouse=True)
def nothing_settles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of one test that nobody closed would keep the garbage of all others alive."""
    lifetime = sys.modules.get("napari_defectstrain.widgets.base.lifetime")
    if lifetime is not None:
        monkeypatch.setattr(lifetime, "_staying", Mock())


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator of random numbers, the same in every run."""
    return np.random.default_rng(20200)


@pytest.fixture(scope="session")
def real_images() -> Path:
    """Folder of real microscope images; they aren't part of the project."""
    folder = os.environ.get(REAL_IMAGES)
    if not folder:
        pytest.skip(f"set {REAL_IMAGES} to the folder of real images")
    if not Path(folder).is_dir():
        pytest.fail(f"{REAL_IMAGES} is {folder!r}, which is no folder")
    return Path(folder)
