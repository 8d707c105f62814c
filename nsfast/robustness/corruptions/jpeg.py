"""What JPEG loses, in torch: the arithmetic of libjpeg without its files, so that it runs in batches on any device.

All numbers are whole and far below 2**53: float64 holds them exactly, and matrix products run where torch is fast.
Colours are stored at half the resolution (4:2:0), as libjpeg does unless it is told otherwise.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F

# Annex K of the JPEG standard: how coarsely each frequency is stored at quality 50
LUMINANCE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)


def jpeg(levels: torch.Tensor, quality: int) -> torch.Tensor:
    """Return pictures as they come back from a JPEG file.

    Args:
        levels: float64 (n, 1 or 3, height, width), whole grey levels 0..255; at least 5 pixels wide and high.
        quality: 1..100.

    Source: libjpeg-turbo's jccolor, jcsample, jfdctint, jcdctmgr, jidctint, jdsample and jdcolor.
    """
    if levels.shape[1] == 1:
        return _coded(levels, quantisation(LUMINANCE, quality))
    height, width = levels.shape[2:]
    luminance, blue, red = _from_colour(levels)
    luminance = _coded(luminance, quantisation(LUMINANCE, quality))
    coarse = quantisation(CHROMINANCE, quality)
    half = -(-width // 2)  # beyond it lies what only filled the blocks
    blue, red = (
        _enlarged(_coded(_halved(plane), coarse)[..., :half])[..., :height, :width] for plane in (blue, red)
    )
    return _to_colour(luminance, blue - 128, red - 128)


def quantisation(base: tuple[int, ...], quality: int) -> np.ndarray:
    """Return the steps (8, 8) in which frequencies are stored at a quality."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((np.array(base) * scale + 50) // 100, 1, 255).reshape(8, 8).astype(np.float64)


@cache
def cosines() -> np.ndarray:
    """Return libjpeg's cosine transform of 8 numbers, (8, 8), in units of 2**-13 / sqrt(8); its transpose goes back.

    The entries are not the rounded cosines, but what its sums of rounded products come to.
    """
    even = {0: (8192, 8192, 8192, 8192), 4: (8192, -8192, -8192, 8192)}
    even |= {2: (10703, 4433, -4433, -10703), 6: (4433, -10704, 10704, -4433)}
    odd = {1: (11363, 9633, 6437, 2260), 3: (9633, -2259, -11362, -6436)}
    odd |= {5: (6437, -11362, 2261, 9633), 7: (2260, -6436, 9633, -11363)}
    rows = [
        (*even[k], *even[k][::-1]) if k % 2 == 0 else (*odd[k], *(-part for part in odd[k][::-1]))
        for k in range(8)
    ]
    return np.array(rows, dtype=np.float64)


def _coded(plane: torch.Tensor, steps: np.ndarray) -> torch.Tensor:
    """Round the frequencies of each block of 8 x 8 pixels to multiples of their steps."""
    n, channels, height, width = plane.shape
    down, across = -(-height // 8), -(-width // 8)
    plane = F.pad(plane, (0, across * 8 - width, 0, down * 8 - height), mode="replicate") - 128
    blocks = plane.reshape(n, channels, down, 8, across, 8).transpose(3, 4)
    there = torch.from_numpy(cosines()).to(plane.device)
    steps = torch.from_numpy(steps).to(plane.device)
    frequencies = _shifted(there @ _shifted(blocks @ there.T, 11), 15) / 8
    stored = frequencies.sign() * torch.floor(frequencies.abs() / steps + 0.5) * steps
    blocks = _shifted(_shifted(there.T @ stored, 11) @ there, 18)
    plane = blocks.transpose(3, 4).reshape(n, channels, down * 8, across * 8) + 128
    return plane[..., :height, :width].clamp(0, 255)


def _shifted(whole: torch.Tensor, bits: int) -> torch.Tensor:
    """Divide by a power of two and round to whole numbers, halves upwards."""
    return torch.floor((whole + 2 ** (bits - 1)) / 2**bits)


def _from_colour(levels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return luminance and the two colour differences, each (n, 1, height, width)."""
    red, green, blue = levels.split(1, 1)
    luminance = 19595 * red + 38470 * green + 7471 * blue + 2**15
    to_blue = 32768 * blue - 11059 * red - 21709 * green + (128 << 16) + 2**15 - 1
    to_red = 32768 * red - 27439 * green - 5329 * blue + (128 << 16) + 2**15 - 1
    return tuple(torch.floor(plane / 2**16) for plane in (luminance, to_blue, to_red))


def _to_colour(luminance: torch.Tensor, to_blue: torch.Tensor, to_red: torch.Tensor) -> torch.Tensor:
    red = luminance + torch.floor((91881 * to_red + 2**15) / 2**16)
    green = luminance + torch.floor((2**15 - 22554 * to_blue - 46802 * to_red) / 2**16)
    blue = luminance + torch.floor((116130 * to_blue + 2**15) / 2**16)
    return torch.cat([red, green, blue], 1).clamp(0, 255)


def _halved(plane: torch.Tensor) -> torch.Tensor:
    """Average squares of 2 x 2 pixels; halves are rounded up and down in turn from column to column.

    The file holds whole blocks: columns are repeated up to 16 before they are averaged, rows only up to 2.
    """
    height, width = plane.shape[2:]
    plane = F.pad(plane, (0, -width % 16, 0, height % 2), mode="replicate")
    total = plane[..., ::2, ::2] + plane[..., ::2, 1::2] + plane[..., 1::2, ::2] + plane[..., 1::2, 1::2]
    bias = torch.arange(total.shape[3], device=plane.device) % 2 + 1
    return torch.floor((total + bias) / 4)


def _enlarged(plane: torch.Tensor) -> torch.Tensor:
    """Double height and width with a triangle as libjpeg does: 9, 3, 3 and 1 sixteenths of the nearest four."""
    around = F.pad(plane, (1, 1, 1, 1), mode="replicate")
    n, channels, height, width = plane.shape
    large = plane.new_empty(n, channels, height, 2, width, 2)
    for low in (0, 1):
        rows = 3 * around[:, :, 1:-1] + (around[:, :, 2:] if low else around[:, :, :-2])
        for right in (0, 1):
            beside = rows[..., 2:] if right else rows[..., :-2]
            large[:, :, :, low, :, right] = torch.floor((3 * rows[..., 1:-1] + beside + 8 - right) / 16)
    return large.reshape(n, channels, 2 * height, 2 * width)
