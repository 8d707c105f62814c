"""Attacks as questions to models: pictures made worse for each model, and what it then says of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from nsfast.errors import NsfastError, choice
from nsfast.files import fingerprint
from nsfast.images import Split
from nsfast.robustness.answers import Question, Version
from nsfast.robustness.attacks.autoattack import auto_attack, require_autoattack
from nsfast.robustness.attacks.ball import Ball, random_sign
from nsfast.robustness.attacks.gradient import Aim, Look, logits_of, look
from nsfast.robustness.attacks.pgd import Descent, descend
from nsfast.robustness.attacks.pixels import at_once, held_still
from nsfast.robustness.content import content_of
from nsfast.streams import stream_seed

ATTACKS = ("random_sign", "fgsm", "pgd", "autoattack")

Batch = tuple[slice, Tensor, Aim]
"""Which rows, float32 pictures (k, channels, height, width) in [0, 1], and what the attack wants of them."""


def attack_questions(
    split: Split,
    epsilons: Sequence[float],
    names: Sequence[str] = ("random_sign", "fgsm", "pgd"),
    steps: int = 10,
    restarts: int = 1,
    seed: int = 0,
    norm: str = "linf",
    step_size: float | None = None,
    random_start: bool = True,
    loss: str = "cross_entropy",
    batch: int = 0,
) -> list[Question]:
    """Return a question for each attack and epsilon: what does a model say of the pictures that are worst for it?

    FGSM of all epsilons takes one gradient of each model, from which PGD goes on.

    Args:
        split: pictures with labels.
        epsilons: in steps of 1/255, above 0.
        names: of "random_sign" (the control), "fgsm", "pgd" and "autoattack" (an extra, slow).
        steps, restarts, step_size, random_start, loss: of PGD, as for `pgd`; it keeps the worst picture.
        seed: of random starts and signs.
        norm: "l2" adds "-l2" to the names of the versions.
        batch: as for `pgd`; the answers do not depend on it, up to the last bits of float32.

    Raises:
        NsfastError: no labels, an unknown name, a number out of its range, AutoAttack is missing.
    """
    if split.labels is None:
        raise NsfastError(
            "attacks need the true classes, and these pictures have no labels; attack the test split"
        )
    for name in names:
        choice("attack", name, ATTACKS)
    if "autoattack" in names:
        require_autoattack()
    if not all(epsilon > 0 for epsilon in epsilons):
        raise NsfastError(
            f"epsilon {min(epsilons):g} is among the attacks' {len(epsilons)}; epsilons are above 0, "
            "and the clean pictures a question of their own"
        )
    pictures, looks = content_of(split), _FirstLooks(split.labels, loss, batch)
    asked = []
    for name in names:
        for epsilon in epsilons:
            descent = Descent(epsilon, steps, step_size, norm, random_start, restarts, loss=loss)
            made_of = [pictures, name, float(epsilon), norm]
            made_of += {"fgsm": [loss], "pgd": [repr(descent), seed]}.get(name, [seed])
            asked.append(
                Question(
                    version=Version("attack", name if norm == "linf" else f"{name}-{norm}", float(epsilon)),
                    ids=split.ids,
                    labels=np.asarray(split.labels),
                    key=fingerprint(made_of),
                    pictures=lambda: split.pixels,
                    logits=_asker(name, descent, looks, seed),
                )
            )
    return asked


def _asker(
    name: str, descent: Descent, looks: _FirstLooks, seed: int
) -> Callable[[nn.Module, np.ndarray], Tensor]:
    """Return the function that attacks a model's pictures and asks it, batch by batch."""

    def ask_model(model: nn.Module, pixels: np.ndarray) -> Tensor:
        epsilon, norm = descent.epsilon, descent.norm
        generator = torch.Generator().manual_seed(stream_seed(seed, "attack", name, epsilon, norm))
        streams, out = descent.streams(generator), []
        with held_still(model) as device:
            for part, images, aim in looks.batches(model, pixels, device):
                if name == "pgd":
                    first = looks.of(model, part, images, aim)
                    logits = descend(model, images, aim, descent, streams, first)[1]
                else:
                    if name == "random_sign":
                        changed = random_sign(images, epsilon, generator, norm)
                    elif name == "fgsm":
                        gradient = looks.of(model, part, images, aim).gradient
                        changed = Ball(images, epsilon, norm).step(images, gradient, epsilon)
                    else:
                        changed = auto_attack(
                            model,
                            images,
                            aim.classes,
                            epsilon,
                            norm,
                            seed=stream_seed(seed, part.start) % 2**32,
                        )
                    logits = logits_of(model, changed)
                out.append(logits.cpu())
        return torch.cat(out)

    return ask_model


class _FirstLooks:
    """What the unchanged pictures show each model: kept for the next epsilon where it is small enough.

    Several threads may ask, each for its own model.
    """

    LIMIT = 2**28
    """Bytes of the gradients of one model that are kept; above it they are taken again for every question."""

    def __init__(self, labels: np.ndarray, loss: str, batch: int):
        self.labels, self.loss, self.batch = np.asarray(labels, np.int64), loss, batch
        self.kept: WeakKeyDictionary[nn.Module, tuple] = WeakKeyDictionary()
        self.lock = threading.Lock()

    def batches(self, model: nn.Module, pixels: np.ndarray, device: torch.device) -> Iterator[Batch]:
        """Yield the pictures as the model takes them."""
        if hasattr(pixels, "at") and getattr(model, "pixels", None):
            pixels = pixels.at(model.pixels)
        step = at_once(self.batch, getattr(model, "pixels", None) or pixels.shape[1])
        for start in range(0, len(pixels), step):
            part = slice(start, min(start + step, len(pixels)))
            images = torch.from_numpy(np.array(pixels[part])).to(device).permute(0, 3, 1, 2).float().div_(255)
            yield part, images, Aim(torch.from_numpy(self.labels[part]).to(device), loss=self.loss)

    def of(self, model: nn.Module, part: slice, images: Tensor, aim: Aim) -> Look:
        """Return what these pictures show."""
        weights = [(parameter.data_ptr(), parameter._version) for parameter in model.parameters()]
        with self.lock:
            trained, looks = self.kept.get(model, (None, {}))
            if trained != weights:  # the same network, trained on since
                looks = {}
                self.kept[model] = weights, looks
        if part.start not in looks:
            found = look(model, images, aim)
            if images[0].numel() * 4 * len(self.labels) > self.LIMIT:
                return found
            looks[part.start] = found
        return looks[part.start]
