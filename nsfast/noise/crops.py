"""Crops, mirrors and grey squares for batches of small pictures, each picture its own draw."""

from __future__ import annotations

import torch
from fastai.torch_core import TensorImage
from fasttransform import DisplayedTransform

from nsfast.errors import within


def pad_crop(
    x: torch.Tensor, padding: int, flip: bool = False, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Pad by reflection and cut back to the size at a random place, mirroring half of the pictures if asked.

    Args:
        x: (n, channels, height, width), any kind.
        padding: pixels on each side, below height and width; 0 only mirrors.
        flip: whether to mirror.
        generator: of the draws, on the CPU; torch's global one by default.
    """
    n, _, height, width = x.shape
    within("padding", padding, 0, min(height, width) - 1)
    top, left = torch.randint(-padding, padding + 1, (2, n, 1), generator=generator)
    rows, columns = torch.arange(height) + top, torch.arange(width) + left
    if flip:
        mirrored = torch.rand(n, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    rows, columns = (_reflected(i, size).to(x.device) for i, size in ((rows, height), (columns, width)))
    picture = torch.arange(n, device=x.device)[:, None, None]
    # one gather; the channels of `x` come last in it
    return x.permute(0, 2, 3, 1)[picture, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _reflected(index: torch.Tensor, size: int) -> torch.Tensor:
    index = index.abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index)


def cutout(
    x: torch.Tensor, side: int, grey: float = 0.5, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Lay a grey square on each picture, its centre anywhere (DeVries and Taylor, arXiv 1708.04552).

    Args:
        x: (n, channels, height, width).
        side: of the square in pixels; what lies outside the picture is cut off.
        grey: its value.
        generator: of the draws, on the CPU; torch's global one by default.
    """
    n, _, height, width = x.shape
    spans = []
    for size in (height, width):
        begin = torch.randint(0, size, (n, 1), generator=generator) - side // 2
        place = torch.arange(size)
        spans.append((place >= begin) & (place < begin + side))
    square = (spans[0][:, None, :, None] & spans[1][:, None, None, :]).to(x.device)
    return x.masked_fill(square, grey)


class PadCrop(DisplayedTransform):
    """`pad_crop` as a batch transform of the training split, after RandAugment (20) as in the released SVHN recipe.

    Args:
        share: of the height that is padded on each side, 0..0.5.
        flip: whether half of the pictures are mirrored.
    """

    order, split_idx = 22, 0

    def __init__(self, share: float = 0.125, flip: bool = False):
        super().__init__()
        self.share, self.flip = within("share", share, 0, 0.5), flip

    def encodes(self, x: TensorImage):
        return TensorImage(pad_crop(x.as_subclass(torch.Tensor), int(x.shape[2] * self.share), self.flip))


class Cutout(DisplayedTransform):
    """`cutout` as a batch transform of the training split, between RandAugment (20) and the crop (22).

    Args:
        side: of the grey square in pixels.
    """

    order, split_idx = 21, 0

    def __init__(self, side: int):
        super().__init__()
        self.side = within("side", side, 1)

    def encodes(self, x: TensorImage):
        return TensorImage(cutout(x.as_subclass(torch.Tensor), self.side))
