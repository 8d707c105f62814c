"""Corruptions without chance, in torch: a batch at a time, on whatever device holds the pictures.

Every function takes images, float64 (n, channels, height, width) in [0, 1], and the constants of `table.SEVERITIES`,
and returns new images of the same shape, not yet cut off at 0 and 1. Float64, because a corrupted picture is cut off
to whole grey levels: what a device rounds differently must not show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F

from nsfast.robustness.corruptions.jpeg import jpeg


def contrast(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Pull every channel towards its mean; `factor` is what stays."""
    mean = images.mean((2, 3), keepdim=True)
    return (images - mean) * factor + mean


def brightness(images: torch.Tensor, amount: float) -> torch.Tensor:
    """Add `amount` to the value of HSV, the largest of the channels; hue and saturation stay."""
    value = images.amax(1, keepdim=True)
    brighter = (value + amount).clamp(0, 1)
    return torch.where(value > 0, images * (brighter / value), brighter)


def saturate(images: torch.Tensor, constants: tuple[float, float]) -> torch.Tensor:
    """Multiply the saturation of HSV by a factor and add to it; hue and value stay.

    Args:
        constants: the factor, what is added. What has no hue is taken for red, as in scikit-image; a picture of one
            channel has no saturation and stays.
    """
    factor, added = constants
    if images.shape[1] == 1:
        return images.clone()
    value = images.amax(1, keepdim=True)
    spread = value - images.amin(1, keepdim=True)
    red = torch.tensor([0.0, 1.0, 1.0], dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    # the share of the way from white to the pure colour that each channel loses: 0 for the largest, 1 for the smallest
    lost = torch.where(spread > 0, (value - images) / spread, red)
    saturation = torch.where(value > 0, spread / value, torch.zeros_like(value))
    return value * (1 - (saturation * factor + added).clamp(0, 1) * lost)


def gaussian_blur(images: torch.Tensor, deviation: float) -> torch.Tensor:
    """Blur with a Gaussian of standard `deviation`, in pixels; the border is repeated."""
    return smooth(images, deviation, truncate=4, border="edge")


def smooth(images: torch.Tensor, deviation: float, truncate: float, border: str) -> torch.Tensor:
    """Blur (..., height, width) with a Gaussian that ends at `truncate` deviations.

    Args:
        border: what lies beyond the picture, as numpy's `pad` names it: "edge" or "symmetric".
    """
    rows, columns = (
        torch.from_numpy(gaussian_matrix(side, deviation, truncate, border)).to(images.device)
        for side in images.shape[-2:]
    )
    return rows @ images @ columns.T


@cache
def gaussian_matrix(side: int, deviation: float, truncate: float, border: str) -> np.ndarray:
    """Return the matrix (side, side), read as float64, that blurs a column of so many pixels.

    Source: scipy's `gaussian_filter1d`, radius int(truncate * deviation + 0.5).
    """
    radius = int(truncate * deviation + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / deviation) ** 2) if radius else np.ones(1)
    beyond = np.pad(np.arange(side), radius, mode=border)
    matrix = np.zeros((side, side))
    for row in range(side):
        np.add.at(matrix[row], beyond[row : row + len(weights)], weights / weights.sum())
    return matrix


def defocus_blur(images: torch.Tensor, constants: tuple[float, float]) -> torch.Tensor:
    """Blur with `disk(radius, deviation)`, the picture mirrored at its border."""
    kernel = torch.tensor(disk(*constants), device=images.device)
    reach = len(kernel) // 2
    height, width = images.shape[2:]
    rows, columns = (
        torch.from_numpy(np.pad(np.arange(side), reach, mode="reflect")).to(images.device)
        for side in (height, width)
    )
    padded = images[:, :, rows][..., columns]
    sides = [_fast(side) for side in padded.shape[2:]]
    # the disk is symmetric: to convolve is to correlate
    spectrum = torch.fft.rfft2(padded, s=sides) * torch.fft.rfft2(kernel, s=sides)
    whole = torch.fft.irfft2(spectrum, s=sides)
    return whole[..., 2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width]


@cache
def disk(radius: float, deviation: float) -> np.ndarray:
    """Return the kernel of an unfocused lens: a disk whose edge a Gaussian has smoothed.

    Args:
        radius: of the disk, in pixels.
        deviation: standard deviation of the Gaussian, in pixels.

    Returns:
        float64 (size, size), size odd, read only, without the border of zeros that the reference keeps. The
        sum is 1, or up to 1.013 where the disk reaches the border (radius 8 and 10), as in the reference.

    Source: `disk` in make_cifar_c.py, which mirrors the disk at the kernel's own border while smoothing it.
    """
    from scipy.ndimage import correlate1d

    reach, taps = (8, 1) if radius <= 8 else (int(radius), 2)
    offsets = np.arange(-reach, reach + 1)
    kernel = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.float64)
    kernel /= kernel.sum()
    gauss = np.exp(-(np.arange(-taps, taps + 1) ** 2) / (2 * deviation**2))
    gauss /= gauss.sum()
    for axis in (0, 1):
        kernel = correlate1d(kernel, gauss, axis=axis, mode="mirror")
    used = np.flatnonzero(kernel.max(axis=0) > 1e-12)
    kernel = kernel[used[0] : used[-1] + 1, used[0] : used[-1] + 1]
    kernel.flags.writeable = False
    return kernel


def _fast(length: int) -> int:
    from scipy.fft import next_fast_len

    return next_fast_len(length, real=True)


def zoom_blur(images: torch.Tensor, constants: tuple[float, float]) -> torch.Tensor:
    """Average the picture and its centre at growing magnifications.

    Args:
        constants: end and step of the factors, which begin at 1; they are what `np.arange` makes of them.
    """
    stop, step = constants
    factors = np.arange(1, stop, step)
    height, width = images.shape[2:]
    # all planes as the channels of one picture, and a pixel's beside each other: interpolated five times as fast
    planes = images.reshape(1, -1, height, width).contiguous(memory_format=torch.channels_last)
    total = planes.clone()
    for factor in factors:
        (top, rows, high), (left, columns, wide) = (_centre(side, factor) for side in (height, width))
        centre = planes[:, :, top : top + rows, left : left + columns]
        zoomed = F.interpolate(centre, size=(high, wide), mode="bilinear", align_corners=True)
        top, left = (high - height) // 2, (wide - width) // 2
        total += zoomed[:, :, top : top + height, left : left + width]
    return (total / (len(factors) + 1)).reshape(images.shape)


def _centre(side: int, factor: float) -> tuple[int, int, int]:
    """Return the first pixel that is magnified, how many are, and how many come of them, at least `side`."""
    kept = int(np.ceil(side / factor))
    return (side - kept) // 2, kept, round(kept * factor)


def pixelate(images: torch.Tensor, scale: float) -> torch.Tensor:
    """Reduce to `scale` of the size by averaging, and enlarge again without smoothing; equal to Pillow's BOX."""
    height, width = images.shape[2:]
    rows, columns = int(height * scale), int(width * scale)
    levels = (images * 255).round()
    for matrix in (box_matrix(width, columns), box_matrix(height, rows)):
        weights = torch.from_numpy(matrix).to(images.device)
        levels = torch.floor((levels @ weights.T + 2**21) / 2**22).clamp(0, 255).transpose(2, 3)
    down, across = (
        torch.from_numpy(((np.arange(many) + 0.5) * (few / many)).astype(np.int64)).to(images.device)
        for many, few in ((height, rows), (width, columns))
    )
    return levels[:, :, down][..., across] / 255


@cache
def box_matrix(many: int, few: int) -> np.ndarray:
    """Return Pillow's weights (few, many) that reduce `many` pixels to `few`, in units of 2**-22; whole numbers.

    Source: `precompute_coeffs` and `normalize_coeffs_8bpc` of Pillow's Resample.c.
    """
    matrix = np.zeros((few, many))
    scale = many / few
    for row in range(few):
        centre = (row + 0.5) * scale
        pixels = np.arange(max(0, int(centre - scale / 2 + 0.5)), min(many, int(centre + scale / 2 + 0.5)))
        away = (pixels - centre + 0.5) / scale
        inside = pixels[(away > -0.5) & (away <= 0.5)]
        matrix[row, inside] = int(0.5 + 2**22 / len(inside))
    return matrix


def jpeg_compression(images: torch.Tensor, quality: int) -> torch.Tensor:
    """Store as JPEG of this quality, and read; equal to libjpeg, level for level."""
    return jpeg((images * 255).round(), quality) / 255


BATCHED: dict[str, Callable[[torch.Tensor, float | Sequence[float]], torch.Tensor]] = {
    "defocus_blur": defocus_blur,
    "zoom_blur": zoom_blur,
    "brightness": brightness,
    "contrast": contrast,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
    "gaussian_blur": gaussian_blur,
    "saturate": saturate,
}
"""The corruptions that draw nothing, by name."""
