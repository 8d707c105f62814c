"""The digital corruption of ImageNet-C that draws, elastic deformation; the others are in `batched`.

It takes float images (n, height, width, channels) in [0, 1], the constants of `table.SEVERITIES` and a generator for
each picture, and returns new images of the same shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from nsfast.robustness.corruptions.batched import smooth


def elastic_transform(
    images: np.ndarray, constants: tuple[float, float, float], generators: Sequence[np.random.Generator]
) -> np.ndarray:
    """Move three points of the picture at random and the rest with them, then every pixel by a smooth random field.

    Args:
        constants: strength of the field, its smoothness, farthest move of the points; in shares of the shorter side.
    """
    n, height, width, channels = images.shape
    strength, smoothness, farthest = (part * min(height, width) for part in constants)
    moves, fields = np.empty((n, 3, 2)), np.empty((n, 2, height, width))
    for move, field, generator in zip(moves, fields, generators, strict=True):
        move[:] = generator.uniform(-farthest, farthest, (3, 2))
        field[:] = generator.uniform(-1, 1, field.shape)
    x, y = _moved(moves, height, width)
    planes = _sampled(torch.from_numpy(images).permute(0, 3, 1, 2), x, y, mirror_pixel=True)
    if strength:
        across, down = smooth(torch.from_numpy(fields), smoothness, 3, "symmetric").unbind(1)
        x = torch.arange(width) + strength * across
        y = torch.arange(height)[:, None] + strength * down
        planes = _sampled(planes, x, y, mirror_pixel=False)
    return planes.permute(0, 2, 3, 1).numpy()


def _moved(moves: np.ndarray, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x and y, (n, height, width), of what comes to stand at each pixel when three points are moved."""
    # the reference takes the centre's row for x and its column for y
    centre, side = np.array([height // 2, width // 2]), min(height, width) // 3
    points = np.array([centre + side, [centre[0] + side, centre[1] - side], centre - side], dtype=float)
    ones = np.ones((len(moves), 3, 1))
    # affine (n, 3, 2): what takes the moved points, (x, y, 1), back to where they were
    back = np.linalg.solve(np.concatenate([points + moves, ones], 2), np.broadcast_to(points, moves.shape))
    back = torch.from_numpy(back)[:, :, :, None, None]
    x, y = torch.arange(width), torch.arange(height)[:, None]
    return (back[:, 0] * x + back[:, 1] * y + back[:, 2]).unbind(1)


def _sampled(planes: torch.Tensor, x: torch.Tensor, y: torch.Tensor, mirror_pixel: bool) -> torch.Tensor:
    """Return planes (n, channels, height, width) read at x and y (n, height, width), in pixels, between four of them.

    Args:
        mirror_pixel: whether the mirror stands on the last pixel (OpenCV's REFLECT_101), not behind it (scipy).
    """
    height, width = planes.shape[2:]
    if mirror_pixel:
        grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], 3)
    else:
        grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], 3)
    return F.grid_sample(planes, grid, mode="bilinear", padding_mode="reflection", align_corners=mirror_pixel)
