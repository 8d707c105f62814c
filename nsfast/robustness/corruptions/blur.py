"""Blur of ImageNet-C that draws: frosted glass and motion; the blurs without chance are in `batched`.

Every function takes float images (n, height, width, channels) in [0, 1], the constants of `table.SEVERITIES` and a
generator for each picture, and returns new images of the same shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.linalg.blas import daxpy

from nsfast.robustness.corruptions.batched import gaussian_blur

Generators = Sequence[np.random.Generator]


def glass_blur(images: np.ndarray, constants: tuple[float, int, int], generators: Generators) -> np.ndarray:
    """Blur, let pixels copy a near one, from the lower right to the upper left, and blur again.

    Args:
        constants: deviation of the Gaussian, farthest shift (both in pixels), number of passes.

    A copy and no swap: the reference swaps views of an array, so that the second pixel is given back what it was.
    """
    deviation, reach, passes = constants
    n, height, width, channels = images.shape
    levels = np.floor(_blurred(images, deviation) * 255 + 1e-6).reshape(-1, channels)
    shape = (passes, max(height - 2 * reach, 0), max(width - 2 * reach, 0), 2)
    shifts = np.stack([generator.integers(-reach, reach, shape, np.int8) for generator in generators], 1)
    for across, down in np.moveaxis(shifts, -1, 1):
        levels = levels[copied_from(down, across, height, width, reach)]
    return _blurred(levels.reshape(images.shape) / 255, deviation)


def copied_from(down: np.ndarray, across: np.ndarray, height: int, width: int, reach: int) -> np.ndarray:
    """Return where every pixel's content comes from when pixels copy, one after the other, the last ones first.

    Args:
        down, across: int (n, height - 2 reach, width - 2 reach), the neighbour that each inner pixel copies.
        height, width, reach: in pixels; inner are rows and columns reach + 1 to side - reach.

    Returns:
        int (n * height * width,), positions in all pictures laid end to end.
    """
    n, rows, columns = down.shape
    inner = np.zeros((n, height, width), bool)
    inner[:, reach + 1 : reach + 1 + rows, reach + 1 : reach + 1 + columns] = True
    inner = inner.reshape(-1)
    place = np.arange(inner.size)
    copied = place.copy()
    copied[inner] += (down.astype(np.int64) * width + across).reshape(-1)
    # whoever copies a pixel that has copied before gets what that one got: follow the chain to its end, by doubling
    follow = np.where(inner[copied] & (copied > place), copied, place)
    while not np.array_equal(further := follow[follow], follow):
        follow = further
    return copied[follow]


def motion_blur(images: np.ndarray, constants: tuple[int, float], generators: Generators) -> np.ndarray:
    """Blur along a line, its angle drawn between -45 and 45 degrees.

    Args:
        constants: radius and deviation, in pixels, as for `streaked`.
    """
    angles = [generator.uniform(-45, 45) for generator in generators]
    return np.stack([streaked(image, *constants, angle) for image, angle in zip(images, angles, strict=True)])


def streaked(image: np.ndarray, radius: int, deviation: float, angle: float) -> np.ndarray:
    """Return an image averaged along a line that begins at each pixel, its border repeated; float64.

    Args:
        image: float (height, width) or (height, width, any number of channels).
        radius: the line is 2 radius + 1 pixels long.
        deviation: of the Gaussian that the weights along the line follow, in pixels.
        angle: of the line, in degrees, clockwise from the right.

    Source: `MotionBlurImage` of ImageMagick, which the reference calls.
    """
    height, width = image.shape[:2]
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-0.5 * (steps / deviation) ** 2)
    weights /= weights.sum()
    down, across = (
        np.ceil(steps * part - 0.5).astype(np.int64)
        for part in (np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle)))
    )
    rows, columns = (
        np.arange(along.min(), side + along.max()).clip(0, side - 1)
        for side, along in ((height, down), (width, across))
    )
    wide = np.asarray(image, np.float64)[rows][:, columns]
    # laid out in one line, every step of the motion is one shift; what runs over the end of a row is cut away
    line, total = wide.reshape(-1), np.zeros((height, *wide.shape[1:]))
    pixel = int(np.prod(image.shape[2:]))
    length = total.size - (len(columns) - width) * pixel
    shifts = ((down - down.min()) * len(columns) + across - across.min()) * pixel
    for weight, shift in zip(weights.tolist(), shifts.tolist(), strict=True):
        daxpy(line, total.reshape(-1), n=length, a=weight, offx=shift)
    return total[:, :width]


def _blurred(images: np.ndarray, deviation: float) -> np.ndarray:
    return gaussian_blur(torch.from_numpy(images).permute(0, 3, 1, 2), deviation).permute(0, 2, 3, 1).numpy()
