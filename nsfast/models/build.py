"""Networks by name: `small`, the paper's EfficientNets, and every classifier of timm and torchvision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from nsfast.errors import NsfastError, nearest, within
from nsfast.models.efficientnet import build_efficientnet, efficientnet_names
from nsfast.models.from_timm import build_timm, is_timm_name, timm_names
from nsfast.models.from_torchvision import PREFIX, build_torchvision, torchvision_names
from nsfast.models.network import Network
from nsfast.models.small import SmallNet


def architectures() -> list[str]:
    """Return every name that `build_model` knows (timm's also work with the tag of their weights behind a dot)."""
    return ["small", *efficientnet_names(), *timm_names(), *torchvision_names()]


def build_model(
    architecture: str,
    classes: int,
    channels: int = 3,
    size: int = 2,
    dropout: float = 0.0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    pixels: int | None = None,
) -> Network:
    """Build a network by name, with fresh weights.

    Args:
        architecture: "small"; `efficientnet-b0` to `-b7` and `-l0` to `-l2`, with `-32px` behind it for pictures of
            32 pixels; the name of any timm classifier; `torchvision/` and the name of any torchvision classifier.
        classes: number of classes.
        channels: 1 or 3.
        size: width factor of "small", 1 or more; other names carry their size and ignore it.
        dropout: of the final layer, 0..1.
        mean, std: per channel on a 0..1 scale; 0.5 and 0.5 by default.
        pixels: height and width of the pictures, for networks that are built for one resolution (transformers).
            Others take any and ignore it; see `check_resolution`.

    Raises:
        NsfastError: an unknown name (with the nearest valid one), or a dropout, a resolution or a number of channels
            that this network does not take.
    """
    within("size", size, 1)
    mean, std = mean or [0.5] * channels, std or [0.5] * channels
    return Network(_body(architecture, classes, channels, size, dropout, pixels), mean, std)


def _body(
    architecture: str, classes: int, channels: int, size: int, dropout: float, pixels: int | None
) -> nn.Module:
    if architecture == "small":
        return SmallNet(classes, channels, size, dropout)
    if architecture in efficientnet_names():
        return build_efficientnet(architecture, classes, channels, dropout)
    if architecture.startswith(PREFIX) and architecture in torchvision_names():
        return build_torchvision(architecture, classes, channels, dropout, pixels)
    if is_timm_name(architecture):
        return build_timm(architecture, classes, channels, dropout, pixels)
    hint = nearest(architecture, architectures())
    if "did you mean" not in hint:
        hint = (
            "; 'small', 'efficientnet-b0', 'torchvision/resnet50' or any name of timm.list_models() will do"
        )
    raise NsfastError(f"unknown architecture {architecture!r}{hint}")


def default_device() -> torch.device:
    """Return the first GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
