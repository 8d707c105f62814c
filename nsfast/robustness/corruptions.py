"""Corruptions of ImageNet-C on uint8 arrays of any size, gray or colour (Hendrycks & Dietterich, 1903.12261).

Names and constants are those of github.com/hendrycks/robustness: `make_cifar_c.py` (table `small`) and
`make_imagenet_c.py` (table `imagenet`). A score measured on pictures made here is a "C-style error";
never call it "ImageNet-C mCE": the released sets are JPEG files, and the mCE divides by AlexNet's errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from nsfast.errors import NsfastError, choice
from nsfast.streams import numpy_stream

SMALL_BELOW = 64
"""Pictures whose shorter side has fewer pixels than this take the constants of CIFAR-C."""

SEVERITIES = {
    "small": {
        "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
        "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    },
    "imagenet": {
        "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
        "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
    },
}
"""Constants by table and corruption for severity 1 to 5. Noise: standard deviation on the scale 0 to 1. Blur:
radius of the disk and deviation that smooths its edge, in pixels. Contrast: factor about a channel's mean."""

CORRUPTIONS = tuple(SEVERITIES["small"])
"""The corruptions `corrupt` knows, in ImageNet-C's order."""


def corrupt(
    pixels: np.ndarray,
    name: str,
    severity: int,
    seed: int = 0,
    ids: Sequence | None = None,
    table: str = "auto",
) -> np.ndarray:
    """Return every picture corrupted by `name` at `severity`, the same whatever pictures stand beside it.

    Args:
        pixels: uint8 (n, height, width, channels), 1 or 3 channels.
        name: one of `CORRUPTIONS`.
        severity: 1 (mild) to 5.
        seed: the run's seed; noise depends on it, the name, the severity and the picture's id alone.
        ids: (n,) the stable id of each picture, strings or integers; its position when left out.
        table: "small" (CIFAR-C), "imagenet", or "auto": small when the shorter side is below 64 pixels.

    Returns:
        A new uint8 array of the same shape, cut off (not rounded) to whole grey levels as the reference does.

    Raises:
        NsfastError: unknown name, severity or table; wrong dtype or shape; a number of ids that does not fit.

    Source: Hendrycks & Dietterich 2019, section 4, and the repository named above.
    """
    pixels = np.asarray(pixels)
    choice("corruption", name, CORRUPTIONS)
    choice("table", table, ("auto", *SEVERITIES))
    if isinstance(severity, bool) or severity not in (1, 2, 3, 4, 5):
        raise NsfastError(f"severity of {name} is {severity!r}; it must be 1, 2, 3, 4 or 5")
    _check(pixels)
    ids = range(len(pixels)) if ids is None else ids
    if len(ids) != len(pixels):
        raise NsfastError(f"{len(ids)} ids for {len(pixels)} pictures; give one id for each picture")
    if table == "auto":
        table = "small" if min(pixels.shape[1:3]) < SMALL_BELOW else "imagenet"
    constants = SEVERITIES[table][name][severity - 1]
    corrupted = np.empty_like(pixels)
    for position, identity in enumerate(ids):
        image = pixels[position] / 255.0
        if name == "gaussian_noise":
            image = add_noise(image, constants, numpy_stream(seed, name, severity, identity))
        elif name == "defocus_blur":
            image = defocus(image, *constants)
        else:
            image = reduce_contrast(image, constants)
        # a millionth of a grey level: what floating point loses must not decide where a value is cut off
        corrupted[position] = np.clip(image, 0, 1) * 255 + 1e-6
    return corrupted


def add_noise(image: np.ndarray, deviation: float, generator: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise of standard `deviation` to a float image (height, width, channels) in [0, 1]."""
    return image + generator.normal(scale=deviation, size=image.shape)


def reduce_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Pull a float image (height, width, channels) towards each channel's mean; `factor` is what stays."""
    mean = image.mean(axis=(0, 1), keepdims=True)
    return (image - mean) * factor + mean


def defocus(image: np.ndarray, radius: float, deviation: float) -> np.ndarray:
    """Blur a float image (height, width, channels) with `disk(radius, deviation)`, mirrored at the edge."""
    kernel = disk(radius, deviation)[:, :, None]
    reach = len(kernel) // 2
    if reach <= 5:
        from scipy.ndimage import correlate

        return correlate(image, kernel, mode="mirror")
    from scipy.signal import fftconvolve  # the disk is symmetric: to convolve is to correlate

    padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    return fftconvolve(padded, kernel, mode="valid", axes=(0, 1))


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


def _check(pixels: np.ndarray) -> None:
    if pixels.dtype != np.uint8:
        raise NsfastError(f"pixels are {pixels.dtype}; scale them to 0..255 and turn them into uint8")
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
        raise NsfastError(
            f"pixels have shape {pixels.shape}; they must be (n, height, width, channels), 1 or 3 channels"
        )
