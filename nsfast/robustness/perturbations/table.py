"""Frames, steps and constants of the perturbations of ImageNet-P and CIFAR-10-P (Hendrycks & Dietterich, 1903.12261).

Source: github.com/hendrycks/robustness, `make_imagenet_p.py` (table `imagenet`) and `make_cifar_p.py` (table `small`).
"""

from __future__ import annotations

import numpy as np

from nsfast.errors import choice
from nsfast.robustness.names import EXTRA_PERTURBATIONS, PERTURBATIONS

DIFFICULTIES = (1, 2, 3)

STEPS: dict[str, dict[str, tuple[float, float, int]]] = {
    "imagenet": {
        "motion_blur": (-120, 4, 31),
        "zoom_blur": (1, 0.004, 31),
        "snow": (-150, 4, 31),
        "brightness": (-0.3, 0.02, 31),
        "translate": (-20, 1, 41),
        "rotate": (-15, 1, 31),
        "tilt": (-15, 1, 31),
        "scale": (0.4, 0.025, 31),
        "gaussian_blur": (0.25, 0.035, 31),
        "shear": (-15, 1, 31),
    },
    "small": {
        "motion_blur": (-180, 9, 21),
        "zoom_blur": (1, 0.004, 31),
        "snow": (-150, 4, 31),
        "brightness": (-0.225, 0.015, 31),
        "translate": (-7, 1, 16),
        "rotate": (-15, 1, 31),
        "tilt": (-11.25, 0.75, 31),
        "scale": (0.7, 0.02, 31),
        "gaussian_blur": (0.3, 0.015, 31),
        "shear": (-15, 1, 31),
    },
}
"""What changes from frame to frame, where it begins, by how much it grows, and the number of frames.

motion_blur, snow: angle of the motion, in degrees. zoom_blur, scale: magnification. brightness: added to HSV's value.
translate: to the right, in pixels. rotate, tilt, shear: degrees. gaussian_blur: deviation, in pixels. Noise and spatter
have 31 frames and no such number.
"""

UNSTEPPED_FRAMES = 31

CONSTANTS: dict[str, dict[str, tuple]] = {
    "imagenet": {
        "gaussian_noise": (0.03, 0.05, 0.08),
        "shot_noise": (300, 120, 60),
        "speckle_noise": (0.05, 0.10, 0.15),
        "motion_blur": (10, 3),
        "snow": ((0.05, 0.3, 3, 0.5), (14, 4), 0.85),
        "gaussian_blur": (6,),
        "spatter": ((0.65, 0.27, 3.7, 0.69), 0.6, (0.05, 0.1, 0.15, 0.7)),
    },
    "small": {
        "gaussian_noise": (0.02, 0.04, 0.06),
        "shot_noise": (700, 400, 200),
        "speckle_noise": (0.05, 0.07, 0.10),
        "motion_blur": (6, 1.8),
        "snow": ((0.05, 0.3, 2, 0.5), (10, 2), 0.85),
        "gaussian_blur": (7,),
        "spatter": ((0.6, 0.265, 1.75, 0.7), 0.6, (0.2, 0.8)),
    },
}
"""What stays the same from frame to frame.

Noise, by difficulty: standard deviation on the scale 0 to 1, for shot noise the photons of a white pixel. motion_blur:
radius and deviation, in pixels. snow: mean, deviation, zoom and threshold of the flakes; radius and deviation of their
motion; share of the picture that is not whitened. gaussian_blur: deviations at which the kernel ends. spatter: mean,
deviation, smoothness and threshold of the liquid; strength; how it runs down from frame to frame.
"""

MARGIN = {"imagenet": 1 / 14, "small": 0}
"""What the geometric perturbations see beyond each border of a frame, as a share of its side: 224 out of 256 pixels."""

_BORDER = (
    "Of ImageNet's size, the reference cuts the frame out of a larger picture; here the 1/14 of the side that it sees "
    "beyond each border is mirrored, and what lies farther is black, as there. The middle is the picture's; "
    "torchvision of 2019 turned about a point half a pixel beside it."
)

DEVIATIONS: dict[str, str] = {
    "all": "The released ImageNet-P sequences are compressed films (H.264); frames made here are not compressed. Of "
    "one channel, noise is one value a pixel.",
    "motion_blur": "Made without ImageMagick, by its definition.",
    "snow": "Made without ImageMagick; height and width are zoomed each by its own length.",
    "spatter": "Made without OpenCV, equal to it but for rare distances from an edge. Where no liquid is, the picture "
    "stays; the reference divides by 0 and makes the frame black.",
    "translate": "Of ImageNet's size, the reference cuts the frame out of a larger picture; here 1/14 of the side is "
    "mirrored beyond each border, and what lies farther is black, as there. Shifts are whole pixels at any size.",
    "tilt": _BORDER + " Positions are exact, as in OpenCV 5; older ones round them to 1/32 pixel.",
    "shear": _BORDER
    + " Columns keep their height; torchvision of 2019 stretched them by 1 / cos(angle), up to 4%.",
    **dict.fromkeys(("zoom_blur", "rotate", "scale"), _BORDER),
}
"""What differs from the released sequences, by perturbation; "all" holds for each of them."""


def frames_of(name: str, table: str) -> int:
    """Return how many frames a sequence has, the first included.

    Args:
        name: of `PERTURBATIONS` or `EXTRA_PERTURBATIONS`.
        table: "imagenet" or "small".
    """
    return len(steps_of(name, table))


def steps_of(name: str, table: str) -> np.ndarray:
    """Return what changes from frame to frame (`STEPS`), float64 (frames,); of noise and spatter zeros."""
    choice("perturbation", name, PERTURBATIONS + EXTRA_PERTURBATIONS)
    choice("table", table, STEPS)
    first, step, frames = STEPS[table].get(name, (0, 0, UNSTEPPED_FRAMES))
    return np.round(first + step * np.arange(frames), 9)  # the published decimals, and 0 in the middle


def is_noise(name: str) -> bool:
    """Return whether frames are compared with the first one, the clean picture, and not with the one before.

    Source: hendrycks/robustness, ImageNet-P/test.py: so it is where "noise" is part of the name.
    """
    return "noise" in name
