"""Write golden.npz: what imagecorruptions-imaug makes of one photograph, so that tests need not install it (434 MB).

    python tests/robustness/corruptions/make_golden.py

Of corruptions without chance, and of motion at given angles, a sample of the pixels is kept; of the others the mean
and the standard deviation of many pictures. The photograph is 32 x 32 pixels; the larger picture is 7 x 7 copies of it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_sample_image

GOLDEN = Path(__file__).with_name("golden.npz")
CERTAIN = (
    *("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"),
    *("gaussian_blur", "saturate"),
)
DRAWN = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "glass_blur", "motion_blur", "elastic_transform"),
    *("snow", "speckle_noise"),
)
SAMPLE = {32: 7, 224: 271}
"""Of the values of a picture, one of so many is kept: numbers that share no factor with width or channels."""
DRAWS = {32: 800, 224: 40}
ANGLES = (-41.0, -17.5, 3.0, 29.0, 44.0)
"""Of the motion, in degrees, one for each severity: with the angle given, nothing is drawn."""
STREAKS = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))


def photograph() -> np.ndarray:
    """Return uint8 (32, 32, 3), a piece of scikit-learn's photograph of a temple, every fourth pixel."""
    return load_sample_image("china.jpg")[100:228:4, 160:288:4]


def measured(photograph: np.ndarray) -> dict[str, np.ndarray]:
    """Return the figures of each size.

    levels_: uint8 (name, severity, sample). streaks_: float (severity, sample), motion at the angles given.
    moments_: mean and standard deviation, (name, severity, 2).
    """
    from imagecorruptions import corrupt
    from imagecorruptions.corruptions import _motion_blur

    np.random.seed(0)
    figures = {}
    for size in SAMPLE:
        picture = np.tile(photograph, (size // 32, size // 32, 1))
        figures[f"levels_{size}"] = np.array(
            [
                [corrupt(picture, s, name).reshape(-1)[:: SAMPLE[size]] for s in range(1, 6)]
                for name in CERTAIN
            ]
        )
        streaks = [_motion_blur(picture, *s, a).reshape(-1) for s, a in zip(STREAKS, ANGLES, strict=True)]
        figures[f"streaks_{size}"] = np.array(streaks, np.float32)[:, :: SAMPLE[size]]
        moments = []
        for name in DRAWN:
            for severity in range(1, 6):
                drawn = np.array([corrupt(picture, severity, name) for _ in range(DRAWS[size])])
                moments.append((drawn.mean(), drawn.std()))
        figures[f"moments_{size}"] = np.array(moments).reshape(len(DRAWN), 5, 2)
    return figures


if __name__ == "__main__":
    picture = photograph()
    np.savez_compressed(GOLDEN, photograph=picture, **measured(picture))
