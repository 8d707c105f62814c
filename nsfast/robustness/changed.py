"""Pictures that are changed a block at a time, when models are asked: there may be more of them than memory holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

BLOCK = 1 << 26
"""Bytes of pixels that are changed and shown at once: 64 MiB."""


class ChangedPixels:
    """An array of pictures (n, height, width, channels) uint8 of which a slice is made when it is asked for.

    Args:
        shape: of the whole.
        change: returns the pictures of a slice; the same whatever slice a picture is part of.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, shape: Sequence[int], change: Callable[[slice], np.ndarray]):
        self.shape = tuple(int(side) for side in shape)
        self._change = change

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> np.ndarray:
        return self._change(part)


def parts_of(pixels: np.ndarray | ChangedPixels) -> list[slice]:
    """Return the slices in which pictures are made and shown: blocks of those that are changed, else all at once."""
    if not isinstance(pixels, ChangedPixels):
        return [slice(0, len(pixels))]
    step = max(1, BLOCK // int(np.prod(pixels.shape[1:])))
    return [slice(start, min(start + step, len(pixels))) for start in range(0, len(pixels), step)]
