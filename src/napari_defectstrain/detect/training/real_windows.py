"""Windows of images whose columns somebody labelled, mixed with simulated ones.

What nobody looked at carries the label `loop.MASKED`, of which the loss knows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ...types import BoolArray, CalibratedImage, DefectStrainError, FloatArray, IntArray
from ..finding.prepare import normalise, resample, to_resampled
from ..network.condition import material_condition
from ..network.config import CANONICAL_PIXEL_PM, TrainConfig
from .loop import MASKED, Example, batches, oriented, stacked
from .windows import label_columns

_TRIES = 8
"""Places of a window that are tried for labels: corrected regions may be small."""


class LabelledImage(NamedTuple):
    """An image as the network sees it, with the labels of its columns.

    Parameters
    ----------
    image : array, `(h, w)`
        float32, resampled and normalised.
    labels : array, `(h, w)`
        uint8: 0 background, 1 + role at columns, `loop.MASKED` where nobody looked.
    condition : array, `(conditions,)`
        What the network is told of the material.
    """

    image: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8]
    condition: FloatArray


def labelled_image(
    image: CalibratedImage,
    pixel_size_pm: float,
    position_px: FloatArray,
    class_index: IntArray,
    looked: BoolArray,
    material: str,
) -> LabelledImage:
    """An image with labels, at the network's sampling.

    Parameters
    ----------
    image : CalibratedImage
    pixel_size_pm : float
        By the image's own lattice [pm].
    position_px : array, `(N, 2)`
    class_index : array of int, `(N,)`
        Index into `materials.ROLES`; negative where the class isn't known.
    looked : array of bool, `(H, W)`
        Where somebody looked.
    material : str
    """
    data = np.asarray(image.data, dtype=np.float32)
    seen = normalise(resample(data, pixel_size_pm, CANONICAL_PIXEL_PM))
    shape = (seen.shape[0], seen.shape[1])
    place = to_resampled(position_px, data.shape, shape)
    known = class_index >= 0
    labels = label_columns(place[known], class_index[known], shape)
    unknown = label_columns(place[~known], np.zeros(int((~known).sum()), dtype=int), shape) > 0
    row, col = (
        np.minimum((np.arange(n) + 0.5) * m / n, m - 1).astype(int)
        for n, m in zip(shape, data.shape, strict=True)
    )
    labels[unknown | ~looked[np.ix_(row, col)]] = MASKED
    return LabelledImage(seen, labels.astype(np.uint8), material_condition(material))


def draw_labelled(
    images: Sequence[LabelledImage], window_px: int, rng: np.random.Generator
) -> Example:
    """A window of one of the images, somewhere; the one of most labels of a few places.

    Parameters
    ----------
    images : sequence of LabelledImage
    window_px : int
        Its side; smaller images are mirrored at their rim, without labels there.
    rng : Generator
    """
    one = images[int(rng.integers(len(images)))]
    rim = [(0, max(window_px - n, 0)) for n in one.labels.shape]
    seen = np.pad(one.image, rim, mode="symmetric")
    labels = np.pad(one.labels, rim, constant_values=MASKED)
    best, most = (0, 0), -1
    for _ in range(_TRIES):
        corner = tuple(int(rng.integers(n - window_px + 1)) for n in labels.shape)
        part = labels[corner[0] : corner[0] + window_px, corner[1] : corner[1] + window_px]
        count = int((part != MASKED).sum())
        if count > most:
            best, most = (corner[0], corner[1]), count
        if count == part.size:
            break
    cut = tuple(slice(c, c + window_px) for c in best)
    return Example(
        torch.from_numpy(np.ascontiguousarray(seen[cut])),
        torch.from_numpy(np.ascontiguousarray(labels[cut])),
        torch.from_numpy(one.condition.astype(np.float32)),
    )


def mixed_batches(
    images: Sequence[LabelledImage], share: float
) -> Callable[[TrainConfig, int, torch.device], Iterator[Example]]:
    """A source of batches for `train`, of which a share is of labelled images.

    Parameters
    ----------
    images : sequence of LabelledImage
    share : float
        1: nothing is simulated.

    Raises
    ------
    DefectStrainError
        If no pixel of the images carries a label.
    """
    labelled = [one for one in images if (one.labels != MASKED).any()]
    if not labelled:
        raise DefectStrainError("training: got no labelled pixel, expected labelled columns")

    def source(config: TrainConfig, start: int, device: torch.device) -> Iterator[Example]:
        rng = np.random.default_rng([config.seed, 3, start])
        real = max(1, round(share * config.batch))

        def drawn() -> Example:
            examples = [draw_labelled(labelled, config.window_px, rng) for _ in range(real)]
            return stacked([oriented(one, int(rng.integers(8))) for one in examples])

        if real >= config.batch:
            while True:
                yield drawn()
        for simulated in batches(config.replace(batch=config.batch - real), start, device):
            mine = Example(*(part.to(simulated.image.device) for part in drawn()))
            yield Example(*(torch.cat(parts) for parts in zip(simulated, mine, strict=True)))

    return source
