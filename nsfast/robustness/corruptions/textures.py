"""Frost made in code, for the corruption whose original lays photographs over the picture.

The textures differ from the photographs of hendrycks/robustness: they have their mean colour, their contrast, and how
it is spread over coarse and fine detail, roughly; what is seen in them are needles of random direction, not ferns.
They repeat without a seam, so that a picture of any size finds a crop.
"""

from __future__ import annotations

from functools import cache

import numpy as np

SIDE = 512
"""Height and width of a texture, in pixels."""

PHOTOGRAPHS = (
    ((78, 149, 166), 18, 1.9),
    ((201, 205, 215), 22, 1.5),
    ((201, 205, 215), 22, 1.5),
    ((138, 153, 165), 29, 1.1),
    ((112, 123, 135), 43, 1.8),
)
"""Of each photograph that is drawn from: mean of red, green and blue, deviation of gray, and the power of frequency
with which its spectrum falls. Measured on frost1 to frost5 as imagecorruptions-imaug 1.1.5 ships them; there are six,
but hendrycks/robustness draws among five."""


@cache
def frost_texture(number: int) -> np.ndarray:
    """Return one texture, the same each time and everywhere.

    Args:
        number: 0 to 4, the photograph of `PHOTOGRAPHS` that it stands for.

    Returns:
        uint8 (SIDE, SIDE, 3), read only.
    """
    colour, deviation, fall = PHOTOGRAPHS[number]
    generator = np.random.default_rng([1903, 12261, number])
    gray = _noise(generator, fall + 0.4)
    for angle in generator.uniform(0, np.pi, 6):
        # where noise drawn out along the angle is near 0, a needle runs; another noise says where needles of it grow
        needles = np.exp(-8 * np.abs(_noise(generator, fall + 1, angle, length=6)))
        gray += 2.5 * needles * np.clip(_noise(generator, 3), 0, None)
    gray = np.clip((gray - gray.mean()) / gray.std(), -3, 3)
    texture = np.array(colour) + deviation * (gray / gray.std())[:, :, None]
    texture = np.clip(texture, 0, 255).astype(np.uint8)
    texture.flags.writeable = False
    return texture


def frost_crop(height: int, width: int, step: int, generator: np.random.Generator) -> np.ndarray:
    """Return a random crop of a random texture.

    Args:
        height, width: of the crop, in pixels.
        step: every so many pixels of the texture are taken; 1 for all.

    Returns:
        uint8 (height, width, 3).
    """
    texture = frost_texture(int(generator.integers(len(PHOTOGRAPHS))))
    top, left = generator.integers(SIDE, size=2)
    rows, columns = ((first + step * np.arange(n)) % SIDE for first, n in ((top, height), (left, width)))
    return texture[rows[:, None], columns]


def _noise(generator: np.random.Generator, fall: float, angle: float = 0, length: float = 1) -> np.ndarray:
    """Return periodic noise, float32 (SIDE, SIDE) of mean 0 and deviation 1, `length` times as long along `angle`.

    The power of its spectrum falls with `fall`'s power of frequency.
    """
    from scipy.fft import irfft2, rfft2

    spectrum = rfft2(generator.standard_normal((SIDE, SIDE), dtype=np.float32))
    down, across = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)
    along = np.cos(angle) * across + np.sin(angle) * down
    aside = np.cos(angle) * down - np.sin(angle) * across
    frequency = np.hypot(length * along, aside)
    frequency[0, 0] = np.inf  # no mean
    noise = irfft2(spectrum * frequency.astype(np.float32) ** np.float32(-fall / 2), s=(SIDE, SIDE))
    return noise / noise.std()
