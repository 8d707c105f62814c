"""Which way the loss rises: gradients with respect to the pixels, and the one step along them (FGSM)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nsfast.errors import NsfastError, choice, within
from nsfast.robustness.attacks.ball import Ball
from nsfast.robustness.attacks.pixels import at_once, checked_classes, checked_images, held_still, plain

LOSSES = ("cross_entropy", "log_odds")


@dataclass
class Aim:
    """What an attack wants: away from the true classes, or towards targets.

    Args:
        classes: int64 (n,), true classes, or targets if `targeted`.
        targeted: whether the classes are to be reached instead of left.
        loss: "cross_entropy"; or "log_odds", the logarithm of how much likelier all other classes are than this one.
            The gradients of the two point in exactly the same direction, -log p_y = log(1 + exp(log odds)), but that of
            log odds does not vanish in float32 where the network is certain.
    """

    classes: Tensor
    targeted: bool = False
    loss: str = "cross_entropy"

    def __post_init__(self):
        choice("loss", self.loss, LOSSES)
        self.highest = int(self.classes.max()) if len(self.classes) else 0

    def take(self, rows: Tensor) -> Aim:
        """Return the aim for some of the pictures."""
        return Aim(self.classes[rows], self.targeted, self.loss)

    def losses(self, logits: Tensor) -> Tensor:
        """Return (n,) what the attack raises, from logits (n, classes)."""
        if self.highest >= logits.shape[1]:
            raise NsfastError(
                f"a label is {self.highest}, but the model has {logits.shape[1]} classes (0 to {logits.shape[1] - 1}); "
                "give class indices of this model"
            )
        if self.loss == "cross_entropy":
            found = nn.functional.cross_entropy(logits, self.classes, reduction="none")
        else:
            own = self.classes[:, None]
            others = logits.scatter(1, own, -torch.inf).logsumexp(1)
            found = others - logits.gather(1, own)[:, 0]
        return -found if self.targeted else found

    def reached(self, logits: Tensor) -> Tensor:
        """Return bool (n,), whether the attack has what it wants."""
        hit = logits.argmax(1) == self.classes
        return hit if self.targeted else ~hit


class Look(NamedTuple):
    """What a forward and a backward pass show of n pictures."""

    logits: Tensor
    """float32 (n, classes)."""
    losses: Tensor
    """float32 (n,)."""
    gradient: Tensor
    """float32 of the pictures' shape, of the summed loss, which does not shrink with the batch; not-a-number is 0."""


def look(model: nn.Module, pictures: Tensor, aim: Aim) -> Look:
    """Go through a network, which is held still, and back to the pixels."""
    with torch.enable_grad():
        pixels = pictures.detach().requires_grad_()
        logits = plain(model(pixels)).float()
        losses = aim.losses(logits)
        gradient = torch.autograd.grad(losses.sum(), pixels)[0]
    return Look(logits.detach(), losses.detach(), gradient.nan_to_num())


def logits_of(model: nn.Module, pictures: Tensor) -> Tensor:
    """Return logits float32 (n, classes) of a network that is held still, without gradients."""
    with torch.no_grad():
        return plain(model(pictures)).float()


def input_gradient(model: nn.Module, images: Tensor, labels: Tensor, batch: int = 0) -> Tensor:
    """Return the gradient of the summed cross-entropy with respect to the pixels, taken in eval mode.

    The mode of every module comes back, also after an error, and no parameter keeps a gradient.

    Args:
        model, images, labels, batch: as for `fgsm`.

    Returns:
        float32 (n, channels, height, width) on the images' device.

    Raises:
        NsfastError: images that are not floats in [0, 1], labels that do not fit.
    """
    images = checked_images(images)
    labels = checked_classes("labels", labels, images)
    step = at_once(batch, images.shape[-1])
    gradient = torch.empty(images.shape, dtype=torch.float32, device=images.device)
    with held_still(model) as device:
        for start in range(0, len(images), step):
            part = slice(start, start + step)
            pictures = images[part].to(device, torch.float32)
            gradient[part] = look(model, pictures, Aim(labels[part].to(device))).gradient
    return gradient


def fgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    batch: int = 0,
    targets: Tensor | None = None,
    norm: str = "linf",
) -> Tensor:
    """Return the images, every pixel moved by epsilon in the direction that raises the loss.

    Several epsilons share one gradient: call `input_gradient` once and `sign_step` for each of them. Pictures that the
    model gets wrong anyway are attacked like the others.

    Args:
        model: takes pixels in [0, 1] (see `PixelModel`) and returns logits (n, classes).
        images: float (n, channels, height, width) in [0, 1].
        labels: int64 (n,), the true classes.
        epsilon: largest change of a pixel, in steps of 1/255, 0 or more.
        batch: pictures in one backward pass, 0 for 128 of up to 224 pixels; in eval mode it does not change the result.
        targets: int64 (n,), classes that the model shall say instead; the step then lowers their loss.
        norm: "l2" for one step of that length along the gradient itself.

    Returns:
        float32 images in [0, 1], none further than epsilon / 255 from where it was; on the images' device.

    Raises:
        NsfastError: images that are not floats in [0, 1], labels that do not fit, a negative epsilon.

    Source: Goodfellow et al., 1412.6572, section 4.
    """
    images = checked_images(images).float()
    ball = Ball(images, epsilon, norm)
    if targets is None:
        return ball.step(images, input_gradient(model, images, labels, batch), epsilon)
    check_targets(targets, checked_classes("labels", labels, images), images)
    return ball.step(images, -input_gradient(model, images, targets, batch), epsilon)


def check_targets(targets: Tensor, labels: Tensor, images: Tensor) -> Tensor:
    """Return targets as a plain int64 tensor (n,) if none is the true class; raise otherwise."""
    targets = checked_classes("targets", targets, images)
    same = (targets == labels.to(targets.device)).nonzero().flatten()
    if len(same):
        raise NsfastError(
            f"the target of picture {int(same[0])} is its true class {int(targets[same[0]])}; choose another class"
        )
    return targets


def zero_gradient_share(gradient: Tensor) -> float:
    """Return the share (0 to 1) of pictures whose whole gradient is 0, which an attack cannot move.

    A large share means that the accuracy under attack is too good to be true: the loss of an overconfident
    network is flat to the last bit.

    Args:
        gradient: (n, channels, height, width), n at least 1, from `input_gradient`.
    """
    within("number of pictures", len(gradient), 1)
    return (gradient.flatten(1) == 0).all(dim=1).float().mean().item()
