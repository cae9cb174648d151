"""The network as it is asked: the same function of an image, computed with less."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .condition import material_condition
from .network import ResidualBlock, ResUNet

_TAPS = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
"""Taps of a transposed convolution of stride 2 (rows) by those of a convolution of three taps
(columns) that follows on doubling every pixel."""

_LINES = 16
"""Lines that the last layer labels at a time."""


class FoldedDown(nn.Module):
    """A residual block on the way down, batch normalisation and material folded in."""

    def __init__(self, first: nn.Conv2d, second: nn.Conv2d, shortcut: nn.Conv2d) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.shortcut = shortcut if shortcut.in_channels > 1 else _three_by_three(shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) -> (b, outputs, h, w)."""
        y = self.second(self.first(x).relu_())
        y += self.shortcut(x)
        return cast(Tensor, y.relu_())


class FoldedUp(nn.Module):
    """A residual block on the way up, which sees the skip and what comes from below apart.

    A convolution of both side by side is the sum of two convolutions. That of pixels doubled is a
    transposed convolution of the pixels: four times as few of them, and nothing to put together.
    """

    def __init__(
        self, first: nn.Conv2d, second: nn.Conv2d, shortcut: nn.Conv2d, skipped: int
    ) -> None:
        super().__init__()
        self.first = _of_inputs(first, slice(None, skipped), bias=True)
        self.below = _of_doubled(first, skipped)
        self.second = second
        self.shortcut = _of_inputs(shortcut, slice(None, skipped), bias=True)
        self.shortcut_below = _of_inputs(shortcut, slice(skipped, None), bias=False)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(b, inputs, h / 2, w / 2) and (b, skipped, h, w) -> (b, outputs, h, w)."""
        y = self.first(skip)
        y += self.below(x)
        y = self.second(y.relu_())
        y += self.shortcut(skip)
        below = self.shortcut_below(x)
        y += nn.functional.interpolate(below, scale_factor=2.0, mode="nearest")
        return cast(Tensor, y.relu_())


class FoldedNet(nn.Module):
    """A `ResUNet` for inference, of one material: the same logits within rounding."""

    def __init__(self, network: ResUNet, condition: Tensor | None) -> None:
        super().__init__()
        self.stride = network.stride
        down, up = (
            [_folded_layers(cast(ResidualBlock, block), condition) for block in blocks]
            for blocks in (network.down, network.up)
        )
        self.down = nn.ModuleList(FoldedDown(*layers) for layers in down)
        skips = [layers[1].out_channels for layers in down[-2::-1]]
        self.up = nn.ModuleList(
            FoldedUp(*layers, skipped) for layers, skipped in zip(up, skips, strict=True)
        )
        head = network.head
        self.head = nn.Linear(head.in_channels, head.out_channels)
        self.head.weight.data = head.weight.detach()[:, :, 0, 0].clone()
        self.head.bias.data = cast(Tensor, head.bias).detach().clone()

    def forward(self, x: Tensor) -> Tensor:
        """(1, 1, h, w) -> logits (labels, h, w), float32; h and w are multiples of `stride`."""
        # With one channel, torch takes any layout for the first it knows, and converts each map.
        x = x.as_strided(x.shape, (x.shape[2] * x.shape[3], 1, x.shape[3], 1))
        skips = []
        for block in self.down[:-1]:
            x = block(x)
            skips.append(x)
            x = nn.functional.avg_pool2d(x, 2)
        x = self.down[-1](x)
        for block, skip in zip(self.up, reversed(skips), strict=True):
            x = block(x, skip)
        return self._labels(x[0])

    def _labels(self, maps: Tensor) -> Tensor:
        """The last layer in single precision: rounding logits costs as much as all layers before.

        Some lines at a time, whose maps stay in the processor's cache.
        """
        logits = maps.new_empty(self.head.out_features, *maps.shape[1:], dtype=torch.float32)
        step = _LINES if maps.device.type == "cpu" else maps.shape[1]
        for top in range(0, maps.shape[1], step):
            lines = maps[:, top : top + step].permute(1, 2, 0).float()
            logits[:, top : top + step] = self.head(lines).permute(2, 0, 1)
        return logits


def folded(network: ResUNet, material: str | None) -> FoldedNet:
    """A network for inference that computes the same with less.

    Batch normalisation goes into the convolution before it; so does what a conditioned network
    makes of its material, which is one and the same for a whole image. The result takes no
    condition.

    Parameters
    ----------
    network : ResUNet
        Left as it is.
    material : str or None
        Of a conditioned network.
    """
    condition = None if material is None else torch.from_numpy(material_condition(material))
    with torch.no_grad():
        return FoldedNet(copy.deepcopy(network).eval(), condition).eval().requires_grad_(False)


def _folded_layers(
    block: ResidualBlock, condition: Tensor | None
) -> tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d]:
    """First and second convolution and shortcut of a block: copies, with what follows on them."""

    def fused(layers: nn.Sequential, k: int) -> nn.Conv2d:
        conv, normalisation = cast(nn.Conv2d, layers[k]), cast(nn.BatchNorm2d, layers[k + 1])
        return fuse_conv_bn_eval(conv, normalisation)

    first, second, shortcut = fused(block.body, 0), fused(block.body, 3), fused(block.shortcut, 0)
    if block.film is not None and condition is not None:
        scale, shift = block.film(condition.to(block.film.weight)).chunk(2)
        second.weight *= (1 + scale)[:, None, None, None]
        assert second.bias is not None
        second.bias *= 1 + scale
        second.bias += shift
    return first, second, shortcut


def _conv(weight: Tensor, bias: Tensor | None, padding: int) -> nn.Conv2d:
    outputs, inputs, *size = weight.shape
    conv = nn.Conv2d(inputs, outputs, (size[0], size[1]), padding=padding, bias=bias is not None)
    conv.weight.data = weight.clone()
    if bias is not None:
        assert conv.bias is not None
        conv.bias.data = bias.clone()
    return conv


def _three_by_three(conv: nn.Conv2d) -> nn.Conv2d:
    """The same, its one tap in the middle of nine: see `FoldedNet.forward`."""
    return _conv(nn.functional.pad(conv.weight, (1, 1, 1, 1)), conv.bias, padding=1)


def _of_inputs(conv: nn.Conv2d, which: slice, bias: bool) -> nn.Conv2d:
    """A convolution of some of its inputs."""
    padding = conv.weight.shape[-1] // 2
    return _conv(conv.weight[:, which], conv.bias if bias else None, padding)


def _of_doubled(conv: nn.Conv2d, skipped: int) -> nn.ConvTranspose2d:
    """Its convolution of the inputs from `skipped` on, whose pixels come doubled, by the pixels."""
    weight = conv.weight[:, skipped:]  # (outputs, inputs, 3, 3)
    taps = _TAPS.to(weight)
    made = nn.ConvTranspose2d(weight.shape[1], weight.shape[0], 4, 2, padding=1, bias=False)
    made.weight.data = torch.einsum("ap,oipq,bq->ioab", taps, weight, taps).contiguous()
    return made
