"""Weather of ImageNet-C: snow, frost, fog and spatter; brightness, which draws nothing, is in `batched`.

Every function takes float images (n, height, width, channels) in [0, 1], the constants of `table.SEVERITIES` and a
generator for each picture, and returns new images of the same shape, not yet cut off at 0 and 1.

Source: github.com/hendrycks/robustness, `make_imagenet_c.py` and `make_cifar_c.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy import ndimage

from nsfast.robustness.corruptions.blur import streaked
from nsfast.robustness.corruptions.drops import water_drops
from nsfast.robustness.corruptions.table import SMALL_BELOW
from nsfast.robustness.corruptions.textures import frost_crop

Generators = Sequence[np.random.Generator]

SMALL_FROST_STEP = 5
"""Pictures of CIFAR's size see frost reduced to a fifth, as make_cifar_c.py does, without smoothing."""

WATER, MUD = np.array((175, 238, 238)) / 255, np.array((63, 42, 20)) / 255
LUMA = np.array((0.299, 0.587, 0.114))


def frost(images: np.ndarray, constants: tuple[float, float], generators: Generators) -> np.ndarray:
    """Lay a random crop of frost (`textures`) over the picture.

    Args:
        constants: weights of the picture and of the frost, which may sum to more than 1.
    """
    of_picture, of_frost = constants
    height, width, channels = images.shape[1:]
    step = SMALL_FROST_STEP if min(height, width) < SMALL_BELOW else 1
    crops = np.empty((len(images), height, width, 3))
    for crop, generator in zip(crops, generators, strict=True):
        crop[:] = frost_crop(height, width, step, generator)
    return of_picture * images + of_frost * coloured(crops / 255, channels)


def fog(images: np.ndarray, constants: tuple[float, float], generators: Generators) -> np.ndarray:
    """Add a plasma fractal, then scale so that the brightest pixel stays as bright as it could get.

    Args:
        constants: amount of fog, decay of the fractal's roughness from one scale to the next.
    """
    amount, decay = constants
    height, width = images.shape[1:3]
    side = 1 << (max(height, width) - 1).bit_length()
    draws = np.empty((len(images), side * side - 1), np.float32)
    for draw, generator in zip(draws, generators, strict=True):
        generator.random(out=draw, dtype=np.float32)
    fogs = plasma(side, decay, draws)[:, :height, :width, None]
    brightest = images.max(axis=(1, 2, 3), keepdims=True)
    return (images + amount * fogs) * brightest / (brightest + amount)


def plasma(side: int, decay: float, draws: np.ndarray) -> np.ndarray:
    """Return height maps made by the diamond-square algorithm on a torus, each scaled to go from 0 to 1.

    Args:
        side: height and width, a power of two.
        decay: what the amplitude is divided by when the scale is halved; the amplitude enters as its square.
        draws: float32 (n, side * side - 1), uniform in [0, 1).

    Returns:
        float32 (n, side, side).
    """
    maps = np.zeros((len(draws), side, side), np.float32)
    used, step, amplitude = 0, side, 100.0

    def moved(total: np.ndarray) -> np.ndarray:
        nonlocal used
        count = total[0].size
        draw = draws[:, used : used + count].reshape(total.shape)
        used += count
        return total / 4 + np.float32(amplitude**2) * (2 * draw - 1)

    while step >= 2 and len(maps):
        half = step // 2
        corners = maps[:, ::step, ::step]
        pairs = corners + np.roll(corners, -1, 1)
        middles = maps[:, half::step, half::step] = moved(pairs + np.roll(pairs, -1, 2))
        right, below = corners + np.roll(corners, -1, 2), pairs
        maps[:, ::step, half::step] = moved(middles + np.roll(middles, 1, 1) + right)
        maps[:, half::step, ::step] = moved(middles + np.roll(middles, 1, 2) + below)
        step, amplitude = half, amplitude / decay
    maps -= maps.min(axis=(1, 2), keepdims=True)
    return maps / maps.max(axis=(1, 2), keepdims=True)


def snow(images: np.ndarray, constants: tuple[float, ...], generators: Generators) -> np.ndarray:
    """Let flakes fall at a random angle, twice, the second time turned by half a turn, over a whitened picture.

    Args:
        constants: mean and deviation of the flakes, their zoom, threshold, radius and deviation of their motion, share
            of the picture that is not whitened.
    """
    mean, deviation, zoom, threshold, radius, spread, kept = constants
    flakes = snow_flakes(images.shape[1:3], mean, deviation, zoom, threshold, generators)
    for flake, generator in zip(flakes, generators, strict=True):
        flake[:] = streaked(flake, radius, spread, generator.uniform(-135, -45))
    return snowed(images, flakes, kept)


def snow_flakes(
    size: tuple[int, int],
    mean: float,
    deviation: float,
    zoom: float,
    threshold: float,
    generators: Generators,
) -> np.ndarray:
    """Return flakes at rest: Gaussian noise magnified, and what is below the threshold taken away.

    Returns:
        float64 (n, height, width) in [0, 1], in whole grey levels.
    """
    rows, columns = (_zoom_matrix(side, zoom) for side in size)
    shape = (rows.shape[1], columns.shape[1])
    noise = [generator.normal(mean, deviation, shape) for generator in generators]
    flakes = rows @ np.array(noise).reshape(-1, *shape) @ columns.T
    flakes[flakes < threshold] = 0
    return np.floor(np.clip(flakes, 0, 1) * 255) / 255


@cache
def _zoom_matrix(side: int, zoom: float) -> np.ndarray:
    """Return the matrix (side, pixels) that magnifies the centre of a line and keeps the centre of what comes of it.

    It is linear, between the middles of the first and the last pixel (`scipy.ndimage.zoom` of order 1).
    """
    kept = int(np.ceil(side / zoom))
    made = round(kept * zoom)
    positions = np.arange(made) * ((kept - 1) / max(made - 1, 1))
    matrix = np.maximum(1 - np.abs(positions[:, None] - np.arange(kept)), 0)
    first = (made - side) // 2
    return matrix[first : first + side]


def snowed(images: np.ndarray, flakes: np.ndarray, kept: float) -> np.ndarray:
    """Whiten images, but for a share of them, and add flakes and the same flakes turned by half a turn.

    Args:
        flakes: float (n, height, width) in [0, 1]; rounded to whole grey levels.
    """
    flakes = np.rint(flakes * 255) / 255
    gray = images if images.shape[3] == 1 else (images @ LUMA)[..., None]
    white = np.maximum(images, gray * 1.5 + 0.5)
    return kept * images + (1 - kept) * white + (flakes + flakes[:, ::-1, ::-1])[..., None]


def spatter(images: np.ndarray, constants: tuple[float, ...], generators: Generators) -> np.ndarray:
    """Spatter the picture with water, or with mud.

    Args:
        constants: mean and deviation of the liquid, its smoothness, threshold, strength of the water or smoothness of
            the mud, 0 for water and 1 for mud.
    """
    mean, deviation, smoothness, threshold, strength, mud = constants
    liquid = spatter_liquid(images.shape[1:3], mean, deviation, smoothness, threshold, generators)
    if not mud:
        return watered(images, liquid, strength)
    wet = (liquid > threshold).astype(float)
    share = ndimage.gaussian_filter(wet, (0, strength, strength), mode="nearest")[..., None]
    share[share < 0.8] = 0
    return images * (1 - share) + share * coloured(MUD, images.shape[3])


def watered(images: np.ndarray, liquid: np.ndarray, strength: float) -> np.ndarray:
    """Add the light of water drops to images; without liquid a picture stays as it is.

    Args:
        liquid: float (n, height, width), 0 where there is none.
        strength: of the light, 0 to 1.
    """
    return images + strength * water_drops(liquid)[..., None] * coloured(WATER, images.shape[3])


def spatter_liquid(
    size: tuple[int, int],
    mean: float,
    deviation: float,
    smoothness: float,
    threshold: float,
    generators: Generators,
) -> np.ndarray:
    """Return smoothed Gaussian noise float64 (n, height, width), what is below the threshold taken away."""
    noise = [generator.normal(mean, deviation, size) for generator in generators]
    smooth = (0, smoothness, smoothness)
    liquid = ndimage.gaussian_filter(np.array(noise).reshape(-1, *size), smooth, mode="nearest")
    liquid[liquid < threshold] = 0
    return liquid


def coloured(colours: np.ndarray, channels: int) -> np.ndarray:
    """Return colours (..., 3) as they are for colour pictures, as their luma (..., 1) for gray ones."""
    return colours if channels == 3 else colours @ LUMA[:, None]
