"""What is attacked: a network on pixels in [0, 1], held still while gradients with respect to the pixels are taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nsfast.errors import NsfastError, within
from nsfast.models.network import pictures_at_once


class PixelModel(nn.Module):
    """A classifier that takes pixels in [0, 1] and normalises them itself.

    fastai normalises in the DataLoader, so an attack on `learn.model` alone would clip the wrong numbers.

    Args:
        model: maps normalised images (n, channels, height, width) to logits (n, classes).
        mean, std: of each channel, on the scale 0 to 1; one value each for gray pictures.

    Raises:
        NsfastError: mean and std differ in length, or a std is not positive.
    """

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        mean, std = (
            torch.as_tensor(value, dtype=torch.float32).reshape(1, -1, 1, 1) for value in (mean, std)
        )
        if mean.shape != std.shape:
            raise NsfastError(
                f"mean has {mean.numel()} channels and std {std.numel()}; give one value per channel"
            )
        if not (std > 0).all():
            raise NsfastError(
                f"std is {std.flatten().tolist()}; it must be positive (1 leaves the scale as it is)"
            )
        device = device_of(model)
        self.model = model
        self.register_buffer("mean", mean.to(device))
        self.register_buffer("std", std.to(device))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, classes) of images (n, channels, height, width) in [0, 1]."""
        if images.shape[1] != self.mean.shape[1]:
            raise NsfastError(
                f"images have {images.shape[1]} channels, mean and std {self.mean.shape[1]}; "
                "give images as (n, channels, height, width)"
            )
        return self.model((images - self.mean) / self.std)


@contextmanager
def held_still(model: nn.Module) -> Iterator[torch.device]:
    """Let a network be attacked: eval mode, full precision, no gradients of its parameters; gives its device.

    Afterwards every module has its own mode again, frozen ones included, and every parameter asks for gradients as
    before, also after an error. One network may be held by one thread at a time.
    """
    modes = [(module, module.training) for module in model.modules()]
    halves = [
        (m, m.autocast) for m in model.modules() if isinstance(getattr(m, "autocast", None), torch.dtype)
    ]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    device = device_of(model)
    try:
        model.eval()
        for module, _ in halves:
            module.autocast = None
        for parameter in trained:
            parameter.requires_grad_(False)
        with torch.autocast(device.type, enabled=False):
            yield device
    finally:
        for module, training in modes:
            module.training = training
        for module, autocast in halves:
            module.autocast = autocast
        for parameter in trained:
            parameter.requires_grad_(True)


def device_of(model: nn.Module) -> torch.device:
    """Return where a network's parameters are; the CPU if it has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def plain(tensor: Tensor) -> Tensor:
    """Take off fastai's tensor classes, which refuse to mix."""
    return torch.as_tensor(tensor).as_subclass(Tensor)


def at_once(batch: int, side: int) -> int:
    """Return the pictures in a backward pass: `batch`, or by default 128 of up to 224 pixels, fewer above."""
    within("batch (0 chooses one)", batch, 0)
    return batch or max(1, pictures_at_once(side) // 2)


def checked_images(images: Tensor) -> Tensor:
    """Return images as a plain tensor if they are floats (n, channels, height, width) in [0, 1]; raise otherwise."""
    images = plain(images)
    if not images.is_floating_point() or images.ndim != 4:
        raise NsfastError(
            f"images are {images.dtype} of shape {tuple(images.shape)}; they must be floats in [0, 1] of "
            "shape (n, channels, height, width): move the channels first and divide by 255"
        )
    if len(images) and not (images.min() >= 0 and images.max() <= 1):
        raise NsfastError(
            f"images range from {images.min():.3g} to {images.max():.3g}; they must lie in [0, 1]: "
            "attack pixels before normalisation and wrap the model in PixelModel"
        )
    return images.detach()


def checked_classes(what: str, classes: Tensor, images: Tensor) -> Tensor:
    """Return one class a picture as a plain int64 tensor (n,); raise otherwise."""
    classes = plain(classes)
    if classes.shape != images.shape[:1]:
        raise NsfastError(
            f"{what} have shape {tuple(classes.shape)}; {len(images)} images need ({len(images)},)"
        )
    if classes.is_floating_point() or (len(classes) and classes.min() < 0):
        raise NsfastError(
            f"{what} are {classes.dtype} from {classes.min()}; they must be class indices from 0"
        )
    return classes.long()
