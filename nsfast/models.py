"""Networks by name: a small residual network whose size is one number, and every classifier of timm.

Every network takes pixels on a 0..1 scale and normalises them itself (as the released code does), so that labeling,
training and attacks cannot disagree about normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from nsfast.errors import NsfastError, nearest, within


class Normalize(nn.Module):
    """Subtract `mean` and divide by `std`, one value per channel, on a 0..1 scale."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.std


class SmallBlock(nn.Module):
    """A pre-activation residual block (He et al., arXiv 1603.05027) with a slot for stochastic depth on its branch."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = (
            nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        )
        self.drop_path = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn1(x).relu()
        branch = self.conv2(self.bn2(self.conv1(y)).relu())
        if isinstance(self.shortcut, nn.Identity):
            return x + self.drop_path(branch)
        return self.shortcut(y) + branch


class SmallNet(nn.Module):
    """A residual network for pictures of 16 to 64 pixels; `size` scales its width.

    Three stages of two blocks with 8, 16 and 32 channels times `size`.
    """

    def __init__(self, classes: int, channels: int = 1, size: int = 2, dropout: float = 0.0):
        super().__init__()
        widths = [8 * size, 16 * size, 32 * size]
        self.num_classes, self.num_features = classes, widths[-1]
        self.stem = nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False)
        blocks, inputs = [], widths[0]
        for stage, width in enumerate(widths):
            for position in range(2):
                stride = 2 if stage and not position else 1
                blocks.append(SmallBlock(inputs, width, stride))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(inputs)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.blocks(self.stem(x))).relu()

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.dropout(x.mean((2, 3)))
        return x if pre_logits else self.fc(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


class Network(nn.Module):
    """A classifier that normalises its own pixels: (n, channels, height, width) on 0..1 in, logits (n, classes) out."""

    def __init__(self, body: nn.Module, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.normalize, self.body = Normalize(mean, std), body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.normalize(x)
        return self.body(x if x.is_cuda else _channels_last(x))


def _channels_last(x: torch.Tensor) -> torch.Tensor:
    """The same pictures with the channels last in memory, where a CPU's convolutions take a fifth less time."""
    n, channels, height, width = x.shape
    if channels == 1:  # `contiguous` would leave the strides as they are
        return x.reshape(n, height, width, 1).permute(0, 3, 1, 2)
    return x.contiguous(memory_format=torch.channels_last)


def build_model(
    architecture: str,
    classes: int,
    channels: int = 3,
    size: int = 2,
    dropout: float = 0.0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Network:
    """Build a network by name, with fresh weights.

    Args:
        architecture: "small", or the name of any timm classifier.
        classes: number of classes.
        channels: 1 or 3.
        size: width factor of "small", 1 or more; other names carry their size and ignore it.
        dropout: of the final layer, 0..1.
        mean, std: per channel on a 0..1 scale; 0.5 and 0.5 by default.

    Raises:
        NsfastError: an unknown name (with the nearest valid one), or a dropout that this network does not take.
    """
    within("size", size, 1)
    mean, std = mean or [0.5] * channels, std or [0.5] * channels
    if architecture == "small":
        return Network(SmallNet(classes, channels, size, dropout), mean, std)
    import timm

    if not timm.is_model(architecture):
        names = ["small", *timm.list_models()]
        hint = nearest(architecture, names)
        hint = hint if "did you mean" in hint else "; 'small' or any name of timm.list_models() will do"
        raise NsfastError(f"unknown architecture {architecture!r}{hint}")
    drop_rate = {"drop_rate": dropout} if dropout else {}
    try:
        body = timm.create_model(
            architecture, pretrained=False, num_classes=classes, in_chans=channels, **drop_rate
        )
    except TypeError as error:
        raise NsfastError(
            f"architecture {architecture!r} takes no dropout ({error}); set dropout to 0"
        ) from None
    return Network(body, mean, std)


def default_device() -> torch.device:
    """Return the first GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def parameter_count(architecture: str, classes: int, channels: int, size: int) -> int:
    """Return the number of trainable parameters, without allocating them."""
    with torch.device("meta"):
        model = build_model(architecture, classes, channels, size)
    return sum(p.numel() for p in model.parameters())
