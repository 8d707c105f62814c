"""Pictures as square tiles, and many tiles as one PNG, so that a page is one image for the browser."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

GREY, WHITE = 200, 255
LARGE = 100_000
"""Bytes from which on a PNG is too large to be sent with every page."""


def tiles_of(pictures: Any, rows: np.ndarray, side: int) -> tuple[np.ndarray, dict[int, str]]:
    """Return pictures as square tiles, and what is wrong with those that are not there.

    A picture fills a tile as far as its proportions allow, on white. A small one is enlarged with sharp pixels, a large
    one reduced with antialiasing. One that is not there is grey.

    Args:
        pictures: (n, height, width, 1 or 3) uint8, or `PictureFiles`, or None where there are none.
        rows: integers (k,), which of them.
        side: of a tile in pixels.

    Returns:
        uint8 (k, side, side, 3), and the reason by the place (0 to k - 1) of each picture that is not there.
    """
    rows = np.asarray(rows, np.int64)
    tiles = np.full((len(rows), side, side, 3), GREY, np.uint8)
    if pictures is None:
        return tiles, dict.fromkeys(range(len(rows)), "no pictures are known, only labels")
    if hasattr(pictures, "read"):
        pixels, places, problems = pictures.read(rows)
    else:
        pixels, places, problems = np.asarray(pictures[rows]), np.arange(len(rows)), {}
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or pixels.dtype != np.uint8:
        what = f"pictures are {pixels.dtype} {pixels.shape[1:]}; uint8 (height, width, 1 or 3) can be shown"
        return tiles, {**dict.fromkeys(range(len(rows)), what), **problems}
    if len(places):
        tiles[places] = _square(pixels, side)
    return tiles, problems


def sprite_of(tiles: np.ndarray, columns: int = 6) -> bytes:
    """Return tiles as one PNG, row by row, white behind the last; as a JPEG where a PNG is too large.

    Args:
        tiles: uint8 (k, side, side, 3).
        columns: tiles in a row, at least 1.
    """
    columns = max(columns, 1)
    count, side = tiles.shape[:2]
    lines = max(-(-count // columns), 1)
    sheet = np.full((lines * columns, side, side, 3), WHITE, np.uint8)
    sheet[:count] = tiles
    sheet = sheet.reshape(lines, columns, side, side, 3).swapaxes(1, 2)
    buffer = io.BytesIO()
    image = Image.fromarray(sheet.reshape(lines * side, columns * side, 3))
    image.save(buffer, "PNG", compress_level=1)
    if buffer.tell() > LARGE:  # photographs, of which a JPEG is a seventh of the size
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def _square(pixels: np.ndarray, side: int) -> np.ndarray:
    """Tiles (k, side, side, 3) of pictures (k, height, width, channels)."""
    height, width = pixels.shape[1:3]
    scale = side / max(height, width)
    tall, wide = (max(round(length * scale), 1) for length in (height, width))
    if scale >= 1:
        down, across = (
            ((np.arange(wanted) + 0.5) * length / wanted).astype(np.int64)
            for wanted, length in ((tall, height), (wide, width))
        )
        pixels = pixels[:, down][:, :, across]
    else:
        images = (
            Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture) for picture in pixels
        )
        reduced = [image.resize((wide, tall), Image.Resampling.LANCZOS, reducing_gap=3.0) for image in images]
        pixels = np.stack([np.asarray(image) for image in reduced]).reshape(len(pixels), tall, wide, -1)
    tiles = np.full((len(pixels), side, side, 3), WHITE, np.uint8)
    top, left = (side - tall) // 2, (side - wide) // 2
    tiles[:, top : top + tall, left : left + wide] = pixels
    return tiles
