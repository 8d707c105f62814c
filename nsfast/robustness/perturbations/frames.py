"""Frame by frame: what each perturbation makes of pictures.

Every function takes float images (n, height, width, channels) in [0, 1], what changes from frame to frame (`STEPS`),
the rest of the constants, and a generator for each picture; it yields as many frames as there are steps, each of the
shape of the images, not yet cut off at 0 and 1. What the reference makes whole grey levels on the way is made so here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch

from nsfast.robustness.corruptions.apply import CUT_OFF
from nsfast.robustness.corruptions.batched import brightness as brighter
from nsfast.robustness.corruptions.batched import smooth
from nsfast.robustness.corruptions.blur import streaked
from nsfast.robustness.corruptions.noise import gaussian_noise, shot_noise, speckle_noise
from nsfast.robustness.corruptions.weather import snow_flakes, snowed, spatter_liquid, watered
from nsfast.robustness.perturbations.warp import affine, mirrored, tilted, warped

Frames = Iterator[np.ndarray]
Generators = Sequence[np.random.Generator]


def noisy(
    corruption: Callable, images: np.ndarray, steps: np.ndarray, amount: float, generators: Generators
) -> Frames:
    """Yield the clean picture, then noise that is new in each frame."""
    yield images
    for _ in steps[1:]:
        yield corruption(images, amount, generators)


def motion_blur(images: np.ndarray, steps: np.ndarray, constants: tuple, _: Generators) -> Frames:
    """Yield pictures blurred along a line that turns."""
    for angle in steps:
        yield np.rint(_streaked(images, *constants, angle) * 255) / 255


def zoom_blur(images: np.ndarray, steps: np.ndarray, margin: float, _: Generators) -> Frames:
    """Yield the mean of all magnifications so far."""
    total = np.zeros_like(images)
    for number, zoomed in enumerate(_affine("scale", images, steps, margin, ()), 1):
        total += zoomed
        yield total / number


def snow(images: np.ndarray, steps: np.ndarray, constants: tuple, generators: Generators) -> Frames:
    """Yield the same flakes, falling at an angle that turns."""
    flakes, motion, kept = constants
    still = snow_flakes(images.shape[1:3], *flakes, generators)[..., None]
    for angle in steps:
        yield snowed(images, _streaked(still, *motion, angle)[..., 0], kept)


def brightness(images: np.ndarray, steps: np.ndarray, constants: tuple, _: Generators) -> Frames:
    """Yield pictures that grow from dark to bright."""
    first = torch.from_numpy(images).permute(0, 3, 1, 2)
    for amount in steps:
        yield brighter(first, float(amount)).permute(0, 2, 3, 1).numpy()


def gaussian_blur(images: np.ndarray, steps: np.ndarray, constants: tuple, _: Generators) -> Frames:
    """Yield pictures blurred more and more."""
    first = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    for deviation in steps:
        yield smooth(first, float(deviation), *constants, "edge").permute(0, 2, 3, 1).numpy()


def spatter(images: np.ndarray, steps: np.ndarray, constants: tuple, generators: Generators) -> Frames:
    """Yield the same water, running down."""
    first, strength, runs = constants
    liquid = spatter_liquid(images.shape[1:3], *first, generators)
    one_by_one = np.eye(images.shape[1])
    down = np.stack([np.convolve(one, runs, mode="same") for one in one_by_one], axis=1)
    for _ in steps:
        yield watered(images, liquid, strength)
        liquid = down @ liquid


def translate(images: np.ndarray, steps: np.ndarray, margin: float, _: Generators) -> Frames:
    """Yield pictures that move to the right, by whole pixels."""
    wide, (down, across) = mirrored(images, margin)
    (height, width), far = images.shape[1:3], int(np.abs(steps).max())
    wide = np.pad(wide, ((0, 0), (0, 0), (far, far), (0, 0)))
    for shift in steps.astype(int):
        left = far + across - shift
        yield wide[:, down : down + height, left : left + width]


def tilt(images: np.ndarray, steps: np.ndarray, margin: float, _: Generators) -> Frames:
    """Yield pictures tilted about both axes."""
    wide, margins = mirrored(images * 255, margin)
    for angle in steps:
        matrix = tilted(wide.shape[1:3], margins, float(angle))
        yield np.rint(warped(wide, matrix, images.shape[1:3])) / 255


def _affine(what: str, images: np.ndarray, steps: np.ndarray, margin: float, _: Generators) -> Frames:
    """Yield pictures turned, sheared or scaled; `what` is that argument of `affine`."""
    wide, margins = mirrored(images * 255, margin)
    for step in steps:
        matrix = affine(wide.shape[1:3], margins, **{what: float(step)})
        yield np.floor(warped(wide, matrix, images.shape[1:3]) + CUT_OFF) / 255


def _streaked(images: np.ndarray, radius: int, deviation: float, angle: float) -> np.ndarray:
    """Return images blurred by one motion, all at once."""
    n, height, width, channels = images.shape
    beside = np.moveaxis(images, 0, 2).reshape(height, width, n * channels)
    return np.moveaxis(streaked(beside, radius, deviation, angle).reshape(height, width, n, channels), 2, 0)


MADE: dict[str, Callable[..., Frames]] = {
    "gaussian_noise": partial(noisy, gaussian_noise),
    "shot_noise": partial(noisy, shot_noise),
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "brightness": brightness,
    "translate": translate,
    "rotate": partial(_affine, "angle"),
    "tilt": tilt,
    "scale": partial(_affine, "scale"),
    "speckle_noise": partial(noisy, speckle_noise),
    "gaussian_blur": gaussian_blur,
    "spatter": spatter,
    "shear": partial(_affine, "shear"),
}
"""What makes the frames, by perturbation."""
