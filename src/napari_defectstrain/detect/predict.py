"""Detection: image in, classified columns out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from ..calibration import estimate_pixel_size
from ..materials import Material, get_material
from ..rasters import validate_image
from ..types import CalibratedImage, DefectStrainError, FloatArray, Progress, Sites, no_progress
from .config import CANONICAL_PIXEL_PM, DetectConfig
from .device import pick_device
from .doubts import doubts
from .locate import assign_classes, locate_columns, settle_sublattices
from .network import ResUNet
from .prepare import normalise, resample, to_resampled
from .weights_file import Weights, bundled_weights, load_weights

RIM_PX = 96
"""Half the network's field of view: tiles that overlap by it give what the whole image gives."""
_RESOLVED_PM = 60.0
_DISAGREEMENT = 0.02
_MIN_COLUMNS = 30


@dataclass(frozen=True)
class Detection:
    """Columns found in one image.

    Parameters
    ----------
    sites : Sites
    pixel_size_pm : float
        Pixel size that the network was given: that of the lattice where one was found [pm].
    weights_sha256 : str
    material : str
    warnings : tuple of str
    """

    sites: Sites
    pixel_size_pm: float
    weights_sha256: str
    material: str
    warnings: tuple[str, ...]


@lru_cache(maxsize=2)
def _weights(path: Path, modified_ns: int) -> Weights:
    return load_weights(path)


def find_weights(config: DetectConfig) -> Weights:
    """The weights that `config` asks for, checked."""
    path = Path(config.weights) if config.weights else bundled_weights(config.material)
    if not path.is_file():
        raise DefectStrainError(f"weights: got {path}, which is no file; expected a .safetensors")
    return _weights(path, path.stat().st_mtime_ns)


def detect_columns(
    image: CalibratedImage,
    config: DetectConfig | None = None,
    progress: Progress = no_progress,
) -> Detection:
    """Find and classify every column of an image.

    The image is resampled to the network's pixel size, by its own lattice: what the file says of
    the pixel size may err by several per cent, which is more than the network was trained on.

    Parameters
    ----------
    image : CalibratedImage
    config : DetectConfig, optional
    progress : Progress

    Raises
    ------
    DefectStrainError
        If the image shows no lattice, is too coarse to resolve columns, or isn't of the model's
        material.
    """
    config = config or DetectConfig()
    validate_image(image)
    material = get_material(config.material)
    weights = find_weights(config)
    if weights.material != material.name:
        raise DefectStrainError(
            f"weights: trained on {weights.material}, expected {material.name}; choose the "
            "material of the weights or other weights"
        )
    progress(0.0, "calibrating")
    pixel_pm, warnings = _sampling(image, material)
    prepared = normalise(resample(image.data.astype(np.float32), pixel_pm, CANONICAL_PIXEL_PM))
    maps = predict_maps(weights.network, prepared, config, progress)
    position, probabilities, _ = locate_columns(maps, config.min_column_probability)
    if len(position) < _MIN_COLUMNS:
        raise DefectStrainError(
            f"{image.name}: found {len(position)} columns, expected at least {_MIN_COLUMNS}; is it "
            f"an atomically resolved image of {material.name}?"
        )
    probabilities = settle_sublattices(position, probabilities)
    sites = Sites(
        position_px=to_resampled(position, prepared.shape, image.data.shape),
        probabilities=probabilities,
        class_index=assign_classes(probabilities, config.thresholds),
        class_names=material.class_names,
        source=np.full(len(position), "model"),
    )
    warnings += doubts(image, sites, material, pixel_pm)
    progress(1.0, "done")
    return Detection(sites, pixel_pm, weights.sha256, material.name, tuple(warnings))


def _sampling(image: CalibratedImage, material: Material) -> tuple[float, list[str]]:
    """Pixel size by the lattice, else the file's; and what there is to say of it."""
    stated = image.pixel_size_pm
    try:
        found = estimate_pixel_size(image.data, material.lattice_pm, stated).pixel_size_pm
    except DefectStrainError:
        if stated is None:
            raise
        found, warnings = stated, [f"{image.name}: no lattice seen to check the pixel size by"]
    else:
        warnings = []
        if stated is not None and abs(found / stated - 1) > _DISAGREEMENT:
            warnings.append(
                f"{image.name}: stated {stated:.4g} pm per pixel, but {found:.4g} pm by a lattice "
                f"of {material.lattice_pm:g} pm ({material.name}): another material, or a "
                f"calibration that is off by {100 * (stated / found - 1):+.1f} %"
            )
    if found > _RESOLVED_PM:
        raise DefectStrainError(
            f"{image.name}: got {found:.3g} pm per pixel, expected at most {_RESOLVED_PM:g} pm: "
            f"columns {material.lattice_pm / np.sqrt(3):.0f} pm apart are not resolved"
        )
    return found, warnings


def predict_maps(
    network: ResUNet, prepared: FloatArray, config: DetectConfig, progress: Progress = no_progress
) -> FloatArray:
    """Probability of each label at each pixel of a prepared image, `(labels, h, w)` float32.

    Works tile by tile, so that the memory does not grow with the image, and averages over the
    orientations that `config.symmetries` asks for.
    """
    device = pick_device(config.device)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    h, w = prepared.shape
    stride = network.stride
    padded = np.pad(prepared, [(0, -h % stride), (0, -w % stride)], mode="symmetric")
    tiles = list(_tiles((padded.shape[0], padded.shape[1]), config.tile_px))
    out: FloatArray | None = None
    done, total = 0, len(tiles) * config.symmetries
    for outer, core, place in tiles:
        tile = torch.from_numpy(np.ascontiguousarray(padded[outer])).to(device)
        mean: torch.Tensor | None = None
        for k in range(config.symmetries):
            probabilities = _oriented(network, tile, k)
            mean = probabilities if mean is None else mean + probabilities
            done += 1
            progress(0.05 + 0.9 * done / total, f"tile {done} of {total}")
        assert mean is not None
        part = (mean / config.symmetries).cpu().numpy()
        if out is None:
            out = np.empty((part.shape[0], *padded.shape), dtype=np.float32)
        out[(slice(None), *place)] = part[(slice(None), *core)]
    assert out is not None
    return out[:, :h, :w]


def _oriented(network: ResUNet, tile: torch.Tensor, k: int) -> torch.Tensor:
    """Probabilities (labels, h, w) of a tile (h, w) seen in orientation k."""
    seen = torch.rot90(tile.flip(-1) if k >= 4 else tile, k % 4)
    with torch.inference_mode():
        logits = network(seen[None, None].contiguous(memory_format=torch.channels_last))[0]
    back = torch.rot90(torch.softmax(logits.float(), dim=0), -(k % 4), dims=(1, 2))
    return back.flip(-1) if k >= 4 else back


Slices = tuple[slice, slice]


def _tiles(shape: tuple[int, int], tile_px: int) -> Iterator[tuple[Slices, Slices, Slices]]:
    """Tiles with their rims: where to read, which part of it counts, where that part goes."""
    rows, columns = (list(_spans(n, tile_px)) for n in shape)
    for r in rows:
        for c in columns:
            yield (r[0], c[0]), (r[1], c[1]), (r[2], c[2])


def _spans(n: int, tile_px: int) -> Iterator[tuple[slice, slice, slice]]:
    if n <= tile_px:
        yield slice(0, n), slice(0, n), slice(0, n)
        return
    core = tile_px - 2 * RIM_PX
    for start in range(0, n, core):
        stop = min(start + core, n)
        low, high = max(0, start - RIM_PX), min(n, stop + RIM_PX)
        yield slice(low, high), slice(start - low, stop - low), slice(start, stop)
