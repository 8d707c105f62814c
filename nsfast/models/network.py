"""The shell around every network: it takes pixels on a 0..1 scale and normalises them itself.

This is what the released code does; labeling, training and attacks cannot disagree about normalisation then.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


class Normalize(nn.Module):
    """Subtract `mean` and divide by `std`, one value per channel, on a 0..1 scale."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.std


class Network(nn.Module):
    """A classifier that normalises its own pixels: (n, channels, height, width) on 0..1 in, logits (n, classes) out.

    On a CPU pictures lie channels-last in memory; on a GPU as they come, until `lay_channels_last` is called.

    `pixels`, if set, is the height and width that it was made for: outside training, pictures of another size are
    resized to it. `autocast`, if set, is the kind of number its layers compute with; weights and logits stay float32.
    """

    def __init__(self, body: nn.Module, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.normalize, self.body = Normalize(mean, std), body
        self.channels_last = False
        self.pixels: int | None = None
        self.autocast: torch.dtype | None = None

    def lay_channels_last(self) -> Network:
        """Lay weights, and from now on pictures, channels-last on a GPU too, which tensor cores like; return itself."""
        self.body.to(memory_format=torch.channels_last)
        self.channels_last = True
        return self

    def lay_out(self, device: torch.device, precision: str = "float32") -> Network:
        """Lay the weights in memory as a device likes them, and compute in a precision; return itself.

        On a CPU depthwise weights lie channels-last, which takes a third off the time of an EfficientNet; on a GPU all
        of them do in bfloat16, and none in float32.
        """
        if precision == "bfloat16":
            self.autocast = torch.bfloat16
            return self.lay_channels_last()
        if device.type == "cpu":
            for module in self.body.modules():
                if isinstance(module, nn.Conv2d) and module.groups > 1:
                    module.to(memory_format=torch.channels_last)
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.pixels and not self.training and x.shape[-1] != self.pixels:
            x = resized(x, self.pixels)
        x = self.normalize(x)
        x = x if x.is_cuda and not self.channels_last else _channels_last(x)
        if self.autocast is None:
            return self.body(x)
        with torch.autocast(x.device.type, self.autocast):
            return self.body(x).float()


def resized(x: torch.Tensor, side: int) -> torch.Tensor:
    """Return pictures (n, channels, height, width) on 0..1 as (n, channels, side, side), bicubic with antialiasing."""
    return F.interpolate(x, (side, side), mode="bicubic", antialias=True).clamp(0, 1)


def _channels_last(x: torch.Tensor) -> torch.Tensor:
    """The same pictures with the channels last in memory, where a CPU's convolutions take a fifth less time."""
    n, channels, height, width = x.shape
    if channels == 1:  # `contiguous` would leave the strides as they are
        return x.reshape(n, height, width, 1).permute(0, 3, 1, 2)
    return x.contiguous(memory_format=torch.channels_last)


def pictures_at_once(side: int) -> int:
    """Return how many pictures of side x side pixels go through at once by default: 256 up to 224 pixels."""
    return max(4, int(256 * min(1.0, (224 / side) ** 2)))
