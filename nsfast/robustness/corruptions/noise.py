"""Noise of ImageNet-C: Gaussian, shot, impulse and speckle.

Every function takes float images (n, height, width, channels) in [0, 1], the constants of `table.SEVERITIES` and a
generator for each picture, and returns new images of the same shape, not yet cut off at 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Generators = Sequence[np.random.Generator]


def gaussian_noise(images: np.ndarray, deviation: float, generators: Generators) -> np.ndarray:
    """Add a Gaussian of standard `deviation` to every value."""
    return images + deviation * _normal(images, generators)


def speckle_noise(images: np.ndarray, deviation: float, generators: Generators) -> np.ndarray:
    """Add to every value itself times a Gaussian of standard `deviation`."""
    return images * (1 + deviation * _normal(images, generators))


def shot_noise(images: np.ndarray, photons: float, generators: Generators) -> np.ndarray:
    """Count photons: a Poisson variable of mean value times `photons`, divided by `photons`."""
    counts = [generator.poisson(image * photons) for image, generator in zip(images, generators, strict=True)]
    return np.stack(counts) / photons


def impulse_noise(images: np.ndarray, amount: float, generators: Generators) -> np.ndarray:
    """Set a share `amount` of the values to 0 or 1, each as often as the other."""
    draws = np.empty(images.shape)
    for draw, generator in zip(draws, generators, strict=True):
        generator.random(out=draw)
    return np.where(draws < amount, draws < amount / 2, images)


def _normal(images: np.ndarray, generators: Generators) -> np.ndarray:
    """Standard normal variables in the shape of the images, each picture's from its own generator."""
    draws = np.empty(images.shape)
    for draw, generator in zip(draws, generators, strict=True):
        generator.standard_normal(out=draw)
    return draws
