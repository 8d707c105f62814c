"""AutoAttack, the field's strongest standard attack, through the package `pyautoattack` (an extra)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from nsfast.errors import NsfastError, choice, within
from nsfast.robustness.attacks.ball import NORMS, Ball
from nsfast.robustness.attacks.gradient import logits_of
from nsfast.robustness.attacks.pixels import checked_classes, checked_images, device_of, held_still

VERSIONS = ("standard", "plus", "rand")
PARTS = ("apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square")

_ONE_AT_A_TIME = threading.Lock()  # it seeds torch's global stream, which all threads share


def require_autoattack() -> None:
    """Raise NsfastError with the line that installs it if AutoAttack is missing."""
    if find_spec("pyautoattack") is None:
        raise NsfastError("AutoAttack needs the package pyautoattack; pip install 'nsfast[autoattack]'")


def auto_attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    norm: str = "linf",
    version: str = "standard",
    attacks: Sequence[str] | None = None,
    seed: int = 0,
    batch: int = 0,
) -> Tensor:
    """Return the pictures that AutoAttack finds within epsilon of the images; images it cannot turn stay as they are.

    Its own warnings, of networks whose answers are random or whose gradients vanish, go to the log "auto-attack".

    Args:
        model, images, labels, epsilon: as for `pgd`.
        norm: "linf" or "l2".
        version: "standard" (four attacks in turn on what is still right, minutes for a hundred small pictures), "plus",
            or "rand" for networks with random answers.
        attacks: some of "apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t" and "square" instead of a version's; the first
            two are a fast start, "apgd-ce" and "apgd-t" come close to the whole.
        seed: of its random starts.
        batch: pictures at once, 0 for 128.

    Returns:
        float32 images in [0, 1], none further than epsilon / 255 from where it was; on the images' device.

    Raises:
        NsfastError: the package is missing, an unknown name, images or labels that do not fit.

    Source: Croce and Hein, 2003.01690.
    """
    require_autoattack()
    choice("norm", norm, NORMS)
    choice("version of AutoAttack", version, VERSIONS)
    for name in attacks or ():
        choice("attack of AutoAttack", name, PARTS)
    within("epsilon (in steps of 1/255)", epsilon, 0)
    images = checked_images(images).float()
    labels = checked_classes("labels", labels, images)
    if not len(images) or not epsilon:
        return images.clone()
    from pyautoattack import AutoAttack

    device = device_of(model)
    seeded = [device] if device.type == "cuda" else []
    with _ONE_AT_A_TIME, held_still(model), torch.random.fork_rng(seeded):
        runner = AutoAttack(
            model,
            attacks=list(attacks) if attacks else None,
            device=device,
            eps=epsilon / 255,
            norm={"linf": "Linf", "l2": "L2"}[norm],
            seed=seed,
            version="custom" if attacks else version,
        )
        # its targeted attacks try the likeliest classes, of which a small problem has fewer than nine
        others = logits_of(model, images[:1].to(device)).shape[1] - 1
        for part in (runner.apgd_targeted, runner.fab):
            part.n_target_classes = min(9, others)
        found, _ = runner.run_standard_evaluation(
            images.to(device), labels.to(device), batch_size=batch or 128
        )
    return Ball(images, epsilon, norm).brought_back(found.detach().to(images.device))
