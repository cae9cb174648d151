"""The network: a fully convolutional ResUNet that labels pixels.

Residual blocks (He et al., doi 10.1109/CVPR.2016.90) in an encoder-decoder with concatenated skips
(Ronneberger et al., doi 10.1007/978-3-319-24574-4_28), as in Lee et al.,
doi 10.1021/acs.nanolett.0c00269, SI 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...materials import ROLES
from .condition import N_CONDITIONS
from .config import NetworkConfig

N_LABELS = len(ROLES) + 1
"""Background, then the roles."""


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation, and a shortcut.

    Where the network is told the material, that scales and shifts the maps (feature-wise linear
    modulation, Perez et al., doi 10.1609/aaai.v32i1.11671).
    """

    def __init__(self, inputs: int, outputs: int, config: NetworkConfig) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.film = nn.Linear(N_CONDITIONS, 2 * outputs) if config.conditioned else None
        if self.film is not None:
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)
        self.dropout = nn.Dropout2d(config.dropout)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """(b, inputs, h, w) and (b, conditions) -> (b, outputs, h, w)."""
        y = self.body(x)
        if self.film is not None and condition is not None:
            scale, shift = self.film(condition)[:, :, None, None].chunk(2, dim=1)
            y = y * (1 + scale) + shift
        return self.dropout(torch.relu(y + self.shortcut(x)))


class ResUNet(nn.Module):
    """Four residual blocks down, a bottom, four up, with skips that concatenate."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        f = config.features
        self.stride = 2 ** (len(f) - 1)
        self.down = nn.ModuleList(
            ResidualBlock(a, b, config) for a, b in zip((1, *f[:-1]), f, strict=True)
        )
        self.up = nn.ModuleList(
            ResidualBlock(a + b, a, config) for a, b in zip(f[-2::-1], f[:0:-1], strict=True)
        )
        self.head = nn.Conv2d(f[0], N_LABELS, 1)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """(b, 1, h, w) -> logits (b, labels, h, w); h and w are multiples of `stride`.

        `condition` (b, conditions) is `condition.material_condition`, for conditioned networks.
        """
        skips = []
        for block in self.down[:-1]:
            x = block(x, condition)
            skips.append(x)
            x = nn.functional.avg_pool2d(x, 2)  # (b, f, h/2, w/2)
        x = self.down[-1](x, condition)
        for block, skip in zip(self.up, reversed(skips), strict=True):
            x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([skip, x], dim=1), condition)
        return self.head(x)
