"""What one would ask before choosing a network: how large, how slow, for which resolution, how good in the paper."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from nsfast.models.efficientnet import EFFICIENTNETS, SMALL_PICTURES, efficientnet_row
from nsfast.models.from_timm import is_timm_name, timm_settings
from nsfast.models.from_torchvision import torchvision_names, torchvision_pixels
from nsfast.models.network import Network
from nsfast.models.without_weights import build_without_weights

SMALL_SIZES = (1, 2, 3)
_PIXELS = 32  # of the pictures, where a network names no resolution


def multiply_adds(architecture: str, classes: int, channels: int, size: int, pixels: int) -> int:
    """Return the multiplications with addition of one forward pass over one picture, as papers count them.

    Convolutions, linear layers and attention are counted; normalisation and activations are not.
    """
    model = build_without_weights(architecture, classes, channels, size, pixels)
    return _multiply_adds(model, channels, pixels)


def _multiply_adds(model: Network, channels: int, pixels: int) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, channels, pixels, pixels))
    return counter.get_total_flops() // 2


def model_rows(
    names: Iterable[str] | None = None, classes: int = 1000, channels: int = 3
) -> list[dict[str, Any]]:
    """Return one dictionary per network: its size, its cost and, for the paper's networks, its accuracy.

    Args:
        names: as `build_model` takes them; by default `small` and the paper's EfficientNets. `small` gives a row for
            each of the sizes 1, 2 and 3.
        classes, channels: that the networks are built for.

    Returns:
        Rows with `name`, `size` (None but for `small`), `parameters`, `train_pixels`, `test_pixels`, `multiply_adds`
        (of one picture of `train_pixels`), and from the paper, None elsewhere: `dropout` (released), `paper_parameters`
        and the top-1 accuracies in percent `paper_top1_supervised` (without Noisy Student), `paper_top1_same_size`
        (teacher of the same size) and `paper_top1` (released, teacher L2).

    Raises:
        NsfastError: an unknown name.
    """
    names = ["small", *EFFICIENTNETS] if names is None else names
    return [
        _row(name, size, classes, channels)
        for name in names
        for size in (SMALL_SIZES if name == "small" else (None,))
    ]


def _row(name: str, size: int | None, classes: int, channels: int) -> dict[str, Any]:
    train_pixels, test_pixels = resolutions(name)
    model = build_without_weights(name, classes, channels, size or 1, train_pixels)
    published = EFFICIENTNETS.get(name)
    row = {
        "name": name,
        "size": size,
        "parameters": sum(p.numel() for p in model.parameters()),
        "train_pixels": train_pixels,
        "test_pixels": test_pixels,
        "multiply_adds": _multiply_adds(model, channels, train_pixels),
        "dropout": published and published.dropout,
        "paper_parameters": published and round(published.millions * 1e6),
    }
    for column, field in (
        ("paper_top1_supervised", "supervised"),
        ("paper_top1_same_size", "same_size"),
        ("paper_top1", "released"),
    ):
        accuracy = getattr(published, field, None)
        row[column] = accuracy and accuracy[0]
    return row


def resolutions(name: str) -> tuple[int, int]:
    """Height and width that a network is trained and tested at."""
    if name.endswith(SMALL_PICTURES):
        return _PIXELS, _PIXELS
    if row := efficientnet_row(name):
        return row.train_pixels, row.test_pixels
    if name in torchvision_names():
        return torchvision_pixels(name), torchvision_pixels(name)
    if is_timm_name(name):
        settings = timm_settings(name)
        train = settings.input_size[-1] if settings else 224
        return train, settings.test_input_size[-1] if settings and settings.test_input_size else train
    return _PIXELS, _PIXELS
