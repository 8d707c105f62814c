"""Pictures turned, tilted, sheared and scaled about their middle: every frame is one sparse matrix for all pictures."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def mirrored(pixels: np.ndarray, share: float) -> tuple[np.ndarray, tuple[int, int]]:
    """Return pictures with a mirrored margin, and how high and wide it is on each side, in pixels.

    Args:
        pixels: (n, height, width, channels).
        share: of height and width that the margin takes on each side.
    """
    down, across = (round(share * side) for side in pixels.shape[1:3])
    return np.pad(pixels, ((0, 0), (down, down), (across, across), (0, 0)), mode="reflect"), (down, across)


def affine(
    size: tuple[int, int],
    margin: tuple[int, int],
    angle: float = 0,
    scale: float = 1,
    shear: float = 0,
) -> sparse.csr_matrix:
    """Return the matrix that turns pictures about their middle, for `warped`.

    Args:
        size: height and width of the pictures, margin included.
        margin: height and width of what is cut off on each side afterwards, in pixels.
        angle: in degrees, clockwise.
        scale: magnification.
        shear: in degrees; rows below the middle move to the left.

    Source: torchvision's `affine` with Pillow's bilinear filter: black outside, the border repeated for half a pixel.
    """
    turn, slant = np.deg2rad(angle), np.tan(np.deg2rad(shear))
    rows, columns = (
        np.arange(cut, side - cut) + 0.5 - side / 2 for side, cut in zip(size, margin, strict=True)
    )
    down, across = np.meshgrid(rows, columns, indexing="ij")
    height, width = size
    seen_down = (np.cos(turn) * down - np.sin(turn) * across) / scale + height / 2
    turned = np.cos(turn) * across + np.sin(turn) * down
    seen_across = (turned + slant * (np.cos(turn) * down - np.sin(turn) * across)) / scale + width / 2
    inside = (seen_down >= 0) & (seen_down < height) & (seen_across >= 0) & (seen_across < width)
    return _bilinear(seen_down - 0.5, seen_across - 0.5, size, inside)


def tilted(size: tuple[int, int], margin: tuple[int, int], angle: float) -> sparse.csr_matrix:
    """Return the matrix that tilts pictures about both axes, seen from a diagonal's length away, for `warped`.

    Args:
        size, margin: as for `affine`.
        angle: about each of the axes, in degrees. Even of 0 it shrinks the picture by 1 part in the diagonal, as the
            reference does.

    Source: make_imagenet_p.py; OpenCV's `warpPerspective`: black outside, blended with the border.
    """
    height, width = size
    tilt, away = np.deg2rad(angle), np.hypot(height, width)
    to_space = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1], [0, 0, 1]])
    about_x, about_y, push = np.eye(4), np.eye(4), np.eye(4)
    about_x[1:3, 1:3] = about_y[:3:2, :3:2] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    push[2, 3] = away
    to_plane = np.array([[away, 0, width / 2, 0], [0, away, height / 2, 0], [0, 0, 1, 0]])
    back = np.linalg.inv(to_plane @ push @ about_x @ about_y @ to_space)
    rows, columns = (np.arange(cut, side - cut) for side, cut in zip(size, margin, strict=True))
    down, across = np.meshgrid(rows, columns, indexing="ij")
    seen = back @ np.stack([across.ravel(), down.ravel(), np.ones(down.size)])
    seen_across, seen_down = seen[:2] / seen[2]
    return _bilinear(seen_down, seen_across, size, None)


def warped(pixels: np.ndarray, matrix: sparse.csr_matrix, size: tuple[int, int]) -> np.ndarray:
    """Return pictures as seen through a matrix.

    Args:
        pixels: (n, height, width, channels).
        matrix: of `affine` or `tilted`.
        size: height and width of what is seen.

    Returns:
        float64 (n, *size, channels).
    """
    n, height, width, channels = pixels.shape
    flat = np.ascontiguousarray(np.moveaxis(pixels, 0, 2), np.float64).reshape(height * width, n * channels)
    return np.moveaxis((matrix @ flat).reshape(*size, n, channels), 2, 0)


def _bilinear(
    down: np.ndarray, across: np.ndarray, size: tuple[int, int], inside: np.ndarray | None
) -> sparse.csr_matrix:
    """Return the matrix (positions, height * width) of weights of the four pixels around each position.

    Args:
        down, across: positions, 0 in the middle of the first pixel.
        inside: where the border is repeated, and beyond it all is black; None to blend the border with black.
    """
    height, width = size
    down, across = down.ravel(), across.ravel()
    top, left = np.floor(down).astype(np.int64), np.floor(across).astype(np.int64)
    columns, weights = [], []
    for row, of_row in ((top, top + 1 - down), (top + 1, down - top)):
        for column, of_column in ((left, left + 1 - across), (left + 1, across - left)):
            valid = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            valid = valid if inside is None else inside.ravel()
            columns.append(row.clip(0, height - 1) * width + column.clip(0, width - 1))
            weights.append(of_row * of_column * valid)
    ends = np.arange(0, 4 * len(down) + 1, 4)
    parts = (np.stack(weights, 1).ravel(), np.stack(columns, 1).ravel(), ends)
    return sparse.csr_matrix(parts, shape=(len(down), height * width))
