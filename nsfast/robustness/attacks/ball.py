"""Where an attack may go: the pictures in [0, 1] that are no further than epsilon from the one attacked."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nsfast.errors import choice, within
from nsfast.robustness.attacks.pixels import checked_images, plain

NORMS = ("linf", "l2")


class Ball:
    """The pictures in [0, 1] that differ from `images` by at most epsilon, never more after float32's rounding.

    Args:
        images: float32 (n, channels, height, width) in [0, 1].
        epsilon: in steps of 1/255, 0 or more.
        norm: "linf" for the largest change of a pixel, "l2" for the root of the sum of the squared changes of all
            pixels and channels.
    """

    def __init__(self, images: Tensor, epsilon: float, norm: str = "linf"):
        within("epsilon (in steps of 1/255)", epsilon, 0)
        self.images, self.norm = images, choice("norm", norm, NORMS)
        # What float32 may add when it rounds a pixel of at most 1, a change, and (of "l2") a norm.
        pixels = images[0].numel() if norm == "l2" and len(images) else 1
        relative = {"linf": 2**-23, "l2": 2e-6}[norm]
        self.radius = max(0.0, epsilon / 255 * (1 - relative) - math.sqrt(pixels) * 2**-24)
        if norm == "linf":
            self.low, self.high = (images - self.radius).clamp_(0, 1), (images + self.radius).clamp_(0, 1)

    def take(self, rows: Tensor) -> Ball:
        """Return the ball of some of the pictures."""
        taken = Ball.__new__(Ball)
        taken.__dict__ = {
            name: value[rows] if isinstance(value, Tensor) else value for name, value in vars(self).items()
        }
        return taken

    def step(self, start: Tensor, direction: Tensor, size: float) -> Tensor:
        """Return the pictures that lie `size` further, brought back into the ball.

        Args:
            start: float32 pictures, of the images' shape.
            direction: the loss's gradient; its signs count in "linf", its direction in "l2". Where it is 0 the pictures
                stay.
            size: of the step in this norm, in steps of 1/255.
        """
        if self.norm == "linf":
            return self.brought_back(torch.add(start, direction.sign(), alpha=size / 255))
        # in float64, where not even the squares of the smallest gradients vanish
        unit = direction / _norms(direction).clamp_min(1e-300)
        return self.brought_back(start + (unit * (size / 255)).float())

    def brought_back(self, pictures: Tensor) -> Tensor:
        """Return the nearest pictures of the ball; of "l2" those on the way to the image that lie in it."""
        if self.norm == "linf":
            return torch.clamp(pictures, self.low, self.high)
        change = pictures - self.images
        factor = (self.radius / _norms(change).clamp_min(1e-300)).clamp_max(1)
        return (self.images + (change * factor).float()).clamp_(0, 1)

    def start(self, generator: torch.Generator) -> Tensor:
        """Return a random picture for each image, drawn picture by picture on the CPU, so that batches do not matter.

        In "linf" uniform in the ball; in "l2" in any direction alike, at a distance uniform from 0 to epsilon.
        """
        pixels = self.images[0].numel() if len(self.images) else 0
        if self.norm == "linf":
            drawn = torch.rand(len(self.images), pixels, generator=generator)
            change = (2 * drawn.view(self.images.shape) - 1) * self.radius
        else:
            drawn = torch.rand(len(self.images), 2 * pixels + 1, generator=generator)
            distance, one, other = drawn.split([1, pixels, pixels], dim=1)
            normal = (-2 * (1 - one).log()).sqrt() * (2 * math.pi * other).cos()  # Box and Muller
            normal = normal / _norms(normal).clamp_min(1e-300) * distance * self.radius
            change = normal.float().view(self.images.shape)
        return self.brought_back(self.images + change.to(self.images.device))


def sign_step(images: Tensor, direction: Tensor, epsilon: float) -> Tensor:
    """Return the images, every pixel moved by epsilon along the sign of `direction`.

    Args:
        images: float (n, channels, height, width) in [0, 1].
        direction: real numbers of the same shape; where it is 0 the pixel stays.
        epsilon: in steps of 1/255, 0 or more.

    Returns:
        float32 images in [0, 1], no pixel further than epsilon / 255 from where it was.

    Raises:
        NsfastError: images that are not floats in [0, 1], a negative epsilon.
    """
    images = checked_images(images).float()
    return Ball(images, epsilon).step(images, plain(direction), epsilon)


def random_sign(images: Tensor, epsilon: float, generator: torch.Generator, norm: str = "linf") -> Tensor:
    """Return the images, every pixel moved by the same amount up or down at random: the control beside an attack.

    Args:
        images, epsilon: as for `sign_step`; so are the images returned.
        generator: seeded, on the CPU, so that every model and every machine meets the same pictures.
        norm: in "linf" every pixel moves by epsilon, in "l2" by epsilon / sqrt(pixels), a change of norm epsilon.
    """
    images = checked_images(images).float()
    signs = torch.randint(0, 2, images.shape, generator=generator) * 2 - 1
    return Ball(images, epsilon, norm).step(images, signs.to(images), epsilon)


def _norms(change: Tensor) -> Tensor:
    """float64 L2 norm of each picture, in a shape that broadcasts over the picture."""
    dims = tuple(range(1, change.ndim))
    return torch.linalg.vector_norm(change, dim=dims, keepdim=True, dtype=torch.float64)
