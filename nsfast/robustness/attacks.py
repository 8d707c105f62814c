"""Adversarial pictures: the fast gradient sign method, and random signs as its control.

Everything here works on pixels in [0, 1] and counts epsilon in steps of 1/255, as the paper does in its study
of adversarial robustness (1911.04252: FGSM, epsilon on the scale 0 to 255). `PixelModel` holds the
normalisation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nsfast.errors import NsfastError, within


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
        device = _device(model)
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


def fgsm(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float, batch: int = 256) -> Tensor:
    """Return the images, every pixel moved by epsilon in the direction that raises the loss.

    Several epsilons share one gradient: call `input_gradient` once and `sign_step` for each of them.

    Args:
        model: takes pixels in [0, 1] (see `PixelModel`) and returns logits (n, classes).
        images: float (n, channels, height, width) in [0, 1].
        labels: int64 (n,), the true classes.
        epsilon: largest change of a pixel, in steps of 1/255, 0 or more.
        batch: pictures in one backward pass; in eval mode it does not change the result.

    Returns:
        float32 images in [0, 1], no pixel further than epsilon / 255 from where it was; on the images'
        device.

    Raises:
        NsfastError: images that are not floats in [0, 1], labels that do not fit, a negative epsilon.

    Source: Goodfellow et al., 1412.6572, section 4.
    """
    return sign_step(images, input_gradient(model, images, labels, batch), epsilon)


def input_gradient(model: nn.Module, images: Tensor, labels: Tensor, batch: int = 256) -> Tensor:
    """Return the gradient of the summed cross-entropy with respect to the pixels, taken in eval mode.

    The loss is summed, so that a picture's gradient does not shrink with its batch. The mode of every module
    comes back, also after an error, and no parameter keeps a gradient.

    Args:
        model, images, labels, batch: as for `fgsm`.

    Returns:
        float32 (n, channels, height, width) on the images' device.

    Raises:
        NsfastError: images that are not floats in [0, 1], labels that do not fit.
    """
    images, labels = _plain(images), _plain(labels)
    _check(images)
    if labels.shape != images.shape[:1]:
        raise NsfastError(
            f"labels have shape {tuple(labels.shape)}; {len(images)} images need ({len(images)},)"
        )
    within("batch", batch, 1)
    device = _device(model)
    gradient = torch.empty(images.shape, dtype=torch.float32, device=images.device)
    with _eval_mode(model), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        for start in range(0, len(images), batch):
            part = slice(start, start + batch)
            pixels = images[part].detach().to(device, torch.float32, copy=True).requires_grad_()
            loss = nn.functional.cross_entropy(
                _plain(model(pixels)), labels[part].to(device), reduction="sum"
            )
            gradient[part] = torch.autograd.grad(loss, pixels)[0].to(images.device)
    return gradient


def random_sign(images: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
    """Return the images, every pixel moved by epsilon up or down at random: the control beside an attack.

    Args:
        images, epsilon: as for `fgsm`; so are the images returned.
        generator: seeded, on the CPU, so that every model and every machine meets the same pictures.
    """
    images = _plain(images)
    signs = torch.randint(0, 2, images.shape, generator=generator) * 2 - 1
    return sign_step(images, signs.to(images.device), epsilon)


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
    images, direction = _plain(images), _plain(direction)
    _check(images)
    within("epsilon (in steps of 1/255)", epsilon, 0)
    images = images.detach().float()
    moved = (images.double() + direction.sign().double() * (epsilon / 255)).clamp(0, 1).float()
    # float32 may round to the far side of the ball; one step of that type back is inside again
    outside = (moved.double() - images.double()).abs() > epsilon / 255
    return torch.where(outside, torch.nextafter(moved, images), moved)


def zero_gradient_share(gradient: Tensor) -> float:
    """Return the share (0 to 1) of pictures whose whole gradient is 0, which an attack cannot move.

    A large share means that the accuracy under attack is too good to be true: the loss of an overconfident
    network is flat to the last bit.

    Args:
        gradient: (n, channels, height, width), n at least 1, from `input_gradient`.
    """
    within("number of pictures", len(gradient), 1)
    return (gradient.flatten(1) == 0).all(dim=1).float().mean().item()


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """Put the model into eval mode; afterwards every module has its own mode again, frozen ones included."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _device(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _plain(tensor: Tensor) -> Tensor:
    """Take off fastai's tensor classes, which refuse to mix."""
    return torch.as_tensor(tensor).as_subclass(Tensor)


def _check(images: Tensor) -> None:
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
