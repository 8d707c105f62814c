"""Which part of a picture is kept: the centre square for evaluation, a random part of it for training."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log, sqrt

import numpy as np

Box = tuple[int, int, int, int]
"""Left, top, right and bottom edge in pixels of the upright picture, as PIL counts them."""

Choice = Callable[[int, int], Box]
"""From a picture's width and height to the part that is kept."""

ATTEMPTS = 10
DRAWS = 2 * ATTEMPTS + 3  # area and aspect of each attempt, then left, top and flip


def centre_square(width: int, height: int, size: int, whole: bool = False) -> Box:
    """Return the centre square of fraction size / (size + 32) of the short side; all of it for `size` below 64.

    224 keeps 0.875 of the short side, as the released code evaluates and labels (data_input.py, preprocessing.py).
    The border of 32 pixels is ImageNet's: small pictures have no room for one. Where `whole` is true there is none.
    """
    short = min(width, height)
    side = short if whole or size < 64 else max(1, int(size / (size + 32) * short))
    left, top = (width - side + 1) // 2, (height - side + 1) // 2
    return left, top, left + side, top + side


def random_draws(count: int, seed: int) -> np.ndarray:
    """Return the random numbers of `count` crops, (count, DRAWS) in [0, 1); row k depends on `seed` and k alone."""
    return np.random.Generator(np.random.Philox(key=seed)).random((count, DRAWS))


def random_box(
    width: int,
    height: int,
    size: int,
    draws: np.ndarray,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
    whole: bool = False,
) -> Box:
    """Return an Inception-style random part of a picture: its share of the area and its shape are drawn.

    Args:
        width, height: of the upright picture, in pixels.
        size: for the centre square, which is taken when no attempt fits into the picture.
        draws: one row of `random_draws`.
        area: lowest and highest share of the picture's area.
        aspect: lowest and highest width divided by height; its logarithm is uniform.
        whole: whether that centre square has no border.

    The distribution is that of torchvision's `RandomResizedCrop`; after 10 attempts comes the evaluation's centre
    square instead, as in the released code (preprocessing.py, `_decode_and_random_crop`).
    """
    for attempt in range(ATTEMPTS):
        kept = width * height * (area[0] + (area[1] - area[0]) * draws[2 * attempt])
        shape = exp(log(aspect[0]) + log(aspect[1] / aspect[0]) * draws[2 * attempt + 1])
        across, down = round(sqrt(kept * shape)), round(sqrt(kept / shape))
        if 0 < across <= width and 0 < down <= height:
            left = int((width - across + 1) * draws[-3])
            top = int((height - down + 1) * draws[-2])
            return left, top, left + across, top + down
    return centre_square(width, height, size, whole)
