"""Projected gradient descent: many small steps within the ball, from several starts, the worst picture kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nsfast.errors import NsfastError, choice, within
from nsfast.robustness.attacks.ball import NORMS, Ball
from nsfast.robustness.attacks.gradient import LOSSES, Aim, Look, check_targets, logits_of, look
from nsfast.robustness.attacks.pixels import at_once, checked_classes, checked_images, held_still

KEEP = ("worst", "last")


@dataclass(frozen=True)
class Descent:
    """How PGD goes; arguments as of `pgd`."""

    epsilon: float
    steps: int = 10
    step_size: float | None = None
    norm: str = "linf"
    random_start: bool = True
    restarts: int = 1
    keep: str = "worst"
    loss: str = "cross_entropy"

    def __post_init__(self):
        within("epsilon (in steps of 1/255)", self.epsilon, 0)
        within("steps", self.steps, 1)
        within("restarts", self.restarts, 1)
        choice("norm", self.norm, NORMS)
        choice("keep", self.keep, KEEP)
        choice("loss", self.loss, LOSSES)
        if self.step_size is not None:
            within("step_size (in steps of 1/255)", self.step_size, 0)
        if self.restarts > 1 and not self.random_start:
            raise NsfastError(
                f"restarts is {self.restarts} without a random start, which would do the same again; "
                "set random_start=True or restarts=1"
            )

    @property
    def size(self) -> float:
        """Length of a step, in steps of 1/255."""
        return 2.5 * self.epsilon / self.steps if self.step_size is None else self.step_size

    def streams(self, generator: torch.Generator) -> list[torch.Generator]:
        """Return a random stream for each restart, so that the batch does not matter."""
        seeds = torch.randint(2**62, (self.restarts,), generator=generator).tolist()
        return [torch.Generator().manual_seed(seed) for seed in seeds]


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    steps: int = 10,
    step_size: float | None = None,
    norm: str = "linf",
    targets: Tensor | None = None,
    random_start: bool = True,
    restarts: int = 1,
    keep: str = "worst",
    loss: str = "cross_entropy",
    generator: torch.Generator | None = None,
    batch: int = 0,
) -> Tensor:
    """Return the worst pictures that projected gradient descent finds within epsilon of the images.

    No picture stops early, and pictures that the model gets wrong anyway are attacked like the others.

    Args:
        model, images, labels, epsilon, batch: as for `fgsm`.
        steps: gradient steps from each start, 1 or more.
        step_size: of one step, in steps of 1/255; 2.5 * epsilon / steps by default, as Madry et al. do.
        norm: "linf" for the largest change of a pixel, "l2" for the norm of the whole change, both in steps of 1/255.
        targets: int64 (n,), classes that the model shall say instead; none may be the true class.
        random_start: whether to begin at a random point of the ball instead of the image.
        restarts: number of random starts; of each picture the worst counts.
        keep: "worst" for the worst of all pictures met on the way, the image itself and FGSM's among them, so that PGD
            is weaker than neither for any picture; "last" for where the steps end, as most libraries do (of several
            restarts the worst end). Worst is misclassified (targeted: as the target), then the largest loss.
        loss: "cross_entropy", or "log_odds" for the same directions where a network is so certain that the
            cross-entropy's gradient vanishes in float32 (see `Aim`).
        generator: of the random starts, seeded, on the CPU; None for one seeded with 0.

    Returns:
        float32 images in [0, 1], none further than epsilon / 255 from where it was; on the images' device.

    Raises:
        NsfastError: images that are not floats in [0, 1], labels or targets that do not fit, a number out of its range,
            restarts without a random start.

    Source: Madry et al., 1706.06083, section 2.1.
    """
    descent = Descent(epsilon, steps, step_size, norm, random_start, restarts, keep, loss)
    images = checked_images(images)
    classes = checked_classes("labels", labels, images)
    if targets is not None:
        classes = check_targets(targets, classes, images)
    streams = descent.streams(generator or torch.Generator().manual_seed(0))
    step, out = at_once(batch, images.shape[-1]), torch.empty_like(images, dtype=torch.float32)
    with held_still(model) as device:
        for start in range(0, len(images), step):
            part = slice(start, start + step)
            aim = Aim(classes[part].to(device), targets is not None, loss)
            pictures = images[part].to(device, torch.float32)
            out[part] = descend(model, pictures, aim, descent, streams, ask_last=False)[0]
    return out


def descend(
    model: nn.Module,
    images: Tensor,
    aim: Aim,
    descent: Descent,
    streams: Sequence[torch.Generator],
    first: Look | None = None,
    ask_last: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """Attack one batch of a network that is held still.

    Args:
        images: float32 (n, channels, height, width) in [0, 1], on the network's device.
        streams: one for each restart; each gives this batch the numbers after those of the batch before.
        first: what the images themselves show, if it is known.
        ask_last: whether the last pictures' logits are needed where they do not decide what is kept.

    Returns:
        The pictures, and their logits (n, classes), None where nobody asked.
    """
    ball, worst = Ball(images, descent.epsilon, descent.norm), _Worst(aim)
    if first is None and (descent.keep == "worst" or not descent.random_start):
        first = look(model, images, aim)
    if descent.keep == "worst":
        worst.offer(images, first.logits, first.losses)
        one_step = ball.step(images, first.gradient, descent.epsilon)
        worst.offer(one_step, logits_of(model, one_step))
    for stream in streams:
        pictures = ball.start(stream) if descent.random_start else images
        for number in range(descent.steps):
            seen = first if pictures is images else look(model, pictures, aim)
            if descent.keep == "worst" and number:  # a random start is no attack
                worst.offer(pictures, seen.logits, seen.losses)
            pictures = ball.step(pictures, seen.gradient, descent.size)
        if descent.keep == "last" and descent.restarts == 1 and not ask_last:
            return pictures, None
        worst.offer(pictures, logits_of(model, pictures))
    return worst.pictures, worst.logits


class _Worst:
    """Keeps of each picture the worst version that it is offered."""

    def __init__(self, aim: Aim):
        self.aim, self.pictures = aim, None

    def offer(self, pictures: Tensor, logits: Tensor, losses: Tensor | None = None) -> None:
        losses = self.aim.losses(logits) if losses is None else losses
        reached = self.aim.reached(logits)
        if self.pictures is None:
            self.pictures, self.logits, self.losses, self.reached = pictures, logits, losses, reached
            return
        worse = (reached & ~self.reached) | ((reached == self.reached) & (losses > self.losses))
        self.pictures = torch.where(worse[:, None, None, None], pictures, self.pictures)
        self.logits = torch.where(worse[:, None], logits, self.logits)
        self.losses = torch.where(worse, losses, self.losses)
        self.reached = torch.where(worse, reached, self.reached)
