"""The network: a fully convolutional ResUNet that labels pixels.

Residual blocks (He et al., doi 10.1109/CVPR.2016.90) in an encoder-decoder with concatenated skips
(Ronneberger et al., doi 10.1007/978-3-319-24574-4_28), as in Lee et al.,
doi 10.1021/acs.nanolett.0c00269, SI 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..materials import ROLES
from .config import NetworkConfig

N_LABELS = len(ROLES) + 1
"""Background, then the roles."""


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
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
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) -> (b, outputs, h, w)."""
        return self.dropout(torch.relu(self.body(x) + self.shortcut(x)))


class ResUNet(nn.Module):
    """Four residual blocks down, a bottom, four up, with skips that concatenate."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        f = config.features
        self.stride = 2 ** (len(f) - 1)
        self.down = nn.ModuleList(
            ResidualBlock(a, b, config.dropout) for a, b in zip((1, *f[:-1]), f, strict=True)
        )
        self.up = nn.ModuleList(
            ResidualBlock(a + b, a, config.dropout)
            for a, b in zip(f[-2::-1], f[:0:-1], strict=True)
        )
        self.head = nn.Conv2d(f[0], N_LABELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, 1, h, w) -> logits (b, labels, h, w); h and w are multiples of `stride`."""
        skips = []
        for block in self.down[:-1]:
            x = block(x)
            skips.append(x)
            x = nn.functional.avg_pool2d(x, 2)  # (b, f, h/2, w/2)
        x = self.down[-1](x)
        for block, skip in zip(self.up, reversed(skips), strict=True):
            x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([skip, x], dim=1))
        return self.head(x)
