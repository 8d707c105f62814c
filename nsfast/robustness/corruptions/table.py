"""Constants of the corruptions of ImageNet-C and CIFAR-C (Hendrycks & Dietterich, 1903.12261).

Source: github.com/hendrycks/robustness, `make_imagenet_c.py` (table `imagenet`) and `make_cifar_c.py` (table `small`).
"""

from __future__ import annotations

SMALL_BELOW = 64
"""Pictures whose shorter side has fewer pixels than this take the constants of CIFAR-C."""

SEVERITIES: dict[str, dict[str, tuple]] = {
    "small": {
        "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
        "shot_noise": (500, 250, 100, 75, 50),
        "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
        "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        "snow": (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
        "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
        "elastic_transform": (
            (0, 0, 0.08),
            (0.05, 0.2, 0.07),
            (0.08, 0.06, 0.06),
            (0.1, 0.04, 0.05),
            (0.1, 0.03, 0.03),
        ),
        "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
        "jpeg_compression": (80, 65, 58, 50, 40),
        "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),
        "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1),
        "spatter": (
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
        "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    },
    "imagenet": {
        "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
        "shot_noise": (60, 25, 12, 5, 3),
        "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),
        "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        "snow": (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
        "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
        # 244 / 224 of the side: the source says 244 pixels for pictures of 224
        "elastic_transform": tuple(
            tuple(244 / 224 * part for part in row)
            for row in (
                (2, 0.7, 0.1),
                (2, 0.08, 0.2),
                (0.05, 0.01, 0.02),
                (0.07, 0.01, 0.02),
                (0.12, 0.01, 0.02),
            )
        ),
        "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
        "jpeg_compression": (25, 18, 15, 10, 7),
        "speckle_noise": (0.15, 0.2, 0.35, 0.45, 0.6),
        "gaussian_blur": (1, 2, 3, 4, 6),
        "spatter": (
            (0.65, 0.3, 4, 0.69, 0.6, 0),
            (0.65, 0.3, 3, 0.68, 0.6, 0),
            (0.65, 0.3, 2, 0.68, 0.5, 0),
            (0.65, 0.3, 1, 0.65, 1.5, 1),
            (0.67, 0.4, 1, 0.65, 1.5, 1),
        ),
        "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    },
}
"""Constants by table and corruption for severity 1 to 5; lengths in pixels where nothing else is said.

gaussian_noise, speckle_noise: standard deviation on the scale 0 to 1. shot_noise: photons of a white pixel.
impulse_noise: share of values lost. defocus_blur: radius of the disk, deviation that smooths its edge. glass_blur:
deviation of the Gaussian, farthest shift, passes. motion_blur: radius and deviation of the one-sided Gaussian.
zoom_blur: end and step of the factors that begin at 1. snow: mean and deviation of the flakes, their zoom, threshold,
radius and deviation of their motion, share of the picture that stays. frost: weights of picture and frost. fog: amount,
decay of its fractal. brightness: added to HSV's value. contrast: factor about a channel's mean. elastic_transform:
strength, smoothness and corner shift, in shares of the shorter side. pixelate: scale. jpeg_compression: quality.
gaussian_blur: deviation. spatter: mean and deviation of the liquid, its smoothness, threshold, strength, 0 for water
and 1 for mud. saturate: factor of HSV's saturation, what is added to it.
"""

_EVERY = (
    "The released ImageNet-C is stored as JPEG files of quality 85; what is made here is not compressed, so it is "
    "another test, easier or harder. Of one channel, noise is one value a pixel."
)

DEVIATIONS: dict[str, str] = {
    "all": _EVERY,
    "glass_blur": "As in the reference, a pixel is copied from its neighbour, not swapped with it (numpy's views).",
    "motion_blur": "Made without ImageMagick, by its definition: the border is repeated, grey levels are cut off, not "
    "rounded.",
    "zoom_blur": "Height and width are zoomed each by its own length; the reference assumes squares.",
    "snow": "Made without ImageMagick; the flakes' motion is the one-sided Gaussian of motion_blur.",
    "frost": "The reference lays photographs of frost over the picture; here the textures are made in code.",
    "fog": "The map of the fog is as large as the picture needs, not always 256 pixels (32 for small pictures).",
    "elastic_transform": "Lengths follow the shorter side of the picture (the reference: 244 pixels, or 32 for small "
    "ones) and the affine map is exact, not rounded to 1/32 pixel. Severity is not monotone, as in the reference. "
    "That of imagecorruptions is another deformation, without the affine map.",
    "jpeg_compression": "A picture of one channel is stored as a gray JPEG; the reference stores its three equal "
    "channels.",
    "spatter": "Made without OpenCV: edges, distances and their equalisation are close to its own, not equal.",
    "saturate": "A picture of one channel has no colour and stays as it is.",
}
"""What differs from the released sets, by corruption; "all" holds for each of them."""


def table_for(height: int, width: int) -> str:
    """Return the table for pictures of this size: "small" when the shorter side is below 64 pixels, or "imagenet"."""
    return "small" if min(height, width) < SMALL_BELOW else "imagenet"
