"""A small study of simulated images, and columns for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_defectstrain.io import write_tiff
from napari_defectstrain.materials import WSE2
from napari_defectstrain.study import Study, create_study
from napari_defectstrain.types import Sites

SIDE = 64


def columns(n: int = 30, seed: int = 0, side: int = SIDE) -> Sites:
    """Columns on a jittered square lattice, all metal but for some defects."""
    rng = np.random.default_rng(seed)
    across = int(np.ceil(np.sqrt(n)))
    y, x = np.mgrid[:across, :across].reshape(2, -1)[:, :n]
    position = (np.column_stack([y, x]) + 0.5) * side / across + rng.uniform(-0.5, 0.5, (n, 2))
    index = rng.integers(0, len(WSE2.class_names), n)
    p = rng.dirichlet(np.ones(len(WSE2.class_names)), n)
    return Sites(
        position_px=position.round(6),
        probabilities=p.round(6),
        class_index=index,
        class_names=WSE2.class_names,
        source=np.full(n, "model", dtype="<U6"),
    )


def picture(path: Path, seed: int = 0, side: int = SIDE) -> Path:
    """A file of an image without any meaning."""
    rng = np.random.default_rng(seed)
    write_tiff(path, rng.uniform(0, 1, (side, side)).astype(np.float32), 12.0)
    return path


def small_study(folder: Path, images: int = 2) -> Study:
    """A study of some images beside it, with columns for each, open for writing."""
    paths = [picture(folder / f"image_{i}.tif", i) for i in range(images)]
    study = create_study(folder / "small", images=paths)
    for i, name in enumerate(study.images):
        study.set_sites(name, columns(seed=i))
    return study


def moved(sites: Sites, row: int, by: tuple[float, float] = (0.5, -0.25)) -> Sites:
    """The columns, one of them moved by hand."""
    position, source = sites.position_px.copy(), sites.source.copy()
    position[row] += by
    source[row] = "manual"
    return replace(sites, position_px=position, source=source)


def reclassed(sites: Sites, row: int, name: str) -> Sites:
    """The columns, one of them of another class by hand."""
    index, source, p = sites.class_index.copy(), sites.source.copy(), sites.probabilities.copy()
    index[row] = sites.class_names.index(name)
    p[row] = np.eye(len(sites.class_names))[index[row]]
    source[row] = "manual"
    return replace(sites, class_index=index, source=source, probabilities=p)


def with_column(sites: Sites, position_px: tuple[float, float], name: str) -> Sites:
    """The columns and one more, by hand."""
    index = sites.class_names.index(name)
    return replace(
        sites,
        position_px=np.vstack([sites.position_px, position_px]),
        probabilities=np.vstack([sites.probabilities, np.eye(len(sites.class_names))[index]]),
        class_index=np.append(sites.class_index, index),
        source=np.append(sites.source, "manual"),
    )


def without(sites: Sites, row: int) -> Sites:
    """The columns but one."""
    return sites.subset(np.arange(len(sites)) != row)


def same_sites(one: Sites, other: Sites) -> bool:
    """Whether two sets of columns are equal, whatever their order."""

    def told(sites: Sites) -> list[tuple[object, ...]]:
        rows = zip(
            sites.position_px.tolist(),
            sites.class_name.tolist(),
            sites.probabilities.round(9).tolist(),
            sites.source.tolist(),
            strict=True,
        )
        return sorted((tuple(p), c, tuple(q), s) for p, c, q, s in rows)

    return told(one) == told(other)
