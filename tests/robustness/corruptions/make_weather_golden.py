"""Write weather_golden.npz: what imagecorruptions-imaug makes of one photograph with given draws.

    python tests/robustness/corruptions/make_weather_golden.py

Its snow is measured with the zoom of hendrycks/robustness put in place: the package keeps the upper left of the
magnified flakes, not their centre.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from unittest import mock

import numpy as np

GOLDEN = Path(__file__).with_name("weather_golden.npz")
PHOTOGRAPH = Path(__file__).with_name("golden.npz")
NAMES = ("fog", "snow", "spatter")
SEEDS = {32: (0, 1, 2), 224: (3,)}
SAMPLE = {32: 11, 224: 271}
"""Of the values of a picture, one of so many is kept: numbers that share no factor with width or channels."""
DRAWS = 6000
"""Pictures of 32 x 32 pixels whose mean and standard deviation are kept."""


def photograph(size: int) -> np.ndarray:
    """Return uint8 (size, size, 3), copies of the photograph of golden.npz side by side."""
    with np.load(PHOTOGRAPH) as file:
        return np.tile(file["photograph"], (size // 32, size // 32, 1))


def centred_zoom(flakes: np.ndarray, factor: float) -> np.ndarray:
    """Magnify the centre of flakes (height, width, 1) and keep the centre of what comes of it."""
    from scipy.ndimage import zoom

    side = len(flakes)
    kept = int(np.ceil(side / factor))
    first = (side - kept) // 2
    large = zoom(flakes[first : first + kept, first : first + kept], (factor, factor, 1), order=1)
    first = (len(large) - side) // 2
    return large[first : first + side, first : first + side]


def measured() -> dict[str, np.ndarray]:
    """Return the figures: levels_ of each size, uint8 (name, severity, seed, sample), and moments, (name, severity, 2).

    Of spatter without any liquid the package divides 0 by 0, and what it makes of that is black: those pictures are
    left out of moments.
    """
    import imagecorruptions.corruptions
    from imagecorruptions import corrupt

    figures = {}
    with (
        mock.patch.object(imagecorruptions.corruptions, "clipped_zoom", centred_zoom),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", RuntimeWarning)
        for size, seeds in SEEDS.items():
            levels = []
            for name in NAMES:
                for severity in range(1, 6):
                    for seed in seeds:
                        np.random.seed(seed)
                        levels.append(corrupt(photograph(size), severity, name).reshape(-1)[:: SAMPLE[size]])
            figures[f"levels_{size}"] = np.array(levels).reshape(len(NAMES), 5, len(seeds), -1)
        moments = []
        for name in NAMES:
            for severity in range(1, 6):
                np.random.seed(severity)
                drawn = np.array([corrupt(photograph(32), severity, name) for _ in range(DRAWS)])
                drawn = drawn[drawn.any(axis=(1, 2, 3))]
                moments.append((drawn.mean(), drawn.std()))
        figures["moments"] = np.array(moments).reshape(len(NAMES), 5, 2)
    return figures


if __name__ == "__main__":
    np.savez_compressed(GOLDEN, **measured())
