"""Attacked pictures per second of processor time, nsfast / torchattacks: FGSM and PGD; each at least 1.

    python benchmarks/attacks.py

nsfast: `fgsm`, and `pgd` with 10 steps that keeps the last picture, as torchattacks does, so that both go forward and
back equally often; each called with all pictures, 512 of 16 x 16 pixels, which it takes in batches of its own choice.
Alternative: torchattacks's FGSM and PGD, called with the same pictures at the same epsilon, step size and random start,
which it takes all at once; on the same network ("small").

Lines without a gate: both with batches of 128, where nearly all of the time is the network's; and an accuracy under
attack as it is reported: nsfast's `pgd` that keeps the worst picture, the image and FGSM among them, which is two
forward passes and a backward pass more, against torchattacks's pictures, asked once.

torchattacks pins old versions of other packages and is no dependency: `pip install --no-deps torchattacks`. Where it is
missing, there is nothing to compare with, and a line says so.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

import torch
from table import show
from timing import Result, interleaved, ratios, timed

from nsfast.models import build_model
from nsfast.robustness.attacks import fgsm, pgd

PICTURES, PIXELS, BATCH, EPSILON, STEPS = 512, 16, 128, 8, 10


def results() -> list[Result]:
    """Measure; return the lines of the table, none without torchattacks."""
    if find_spec("torchattacks") is None:
        print(
            "attacks: torchattacks is not installed (pip install --no-deps torchattacks); nothing to compare with"
        )
        return []
    import torchattacks

    torch.manual_seed(0)
    network = build_model("small", classes=10, channels=1).eval()
    images, labels = torch.rand(PICTURES, 1, PIXELS, PIXELS), torch.randint(0, 10, (PICTURES,))
    batches = list(zip(images.split(BATCH), labels.split(BATCH), strict=True))
    step_size = 2.5 * EPSILON / STEPS
    one_step = torchattacks.FGSM(network, EPSILON / 255)
    descent = torchattacks.PGD(network, EPSILON / 255, step_size / 255, STEPS, random_start=True)

    def ours(keep: str) -> torch.Tensor:
        return pgd(network, images, labels, EPSILON, STEPS, step_size, keep=keep)

    def in_batches(attack) -> list[torch.Tensor]:
        return [attack(pictures, true) for pictures, true in batches]

    def asked(pictures: list[torch.Tensor]) -> list[torch.Tensor]:
        with torch.no_grad():
            return [network(part).argmax(1) for part in pictures]

    sides = {
        "fgsm": timed(lambda: fgsm(network, images, labels, EPSILON), 4),
        "their fgsm": timed(lambda: one_step(images, labels), 4),
        "their fgsm in batches": timed(lambda: in_batches(one_step), 4),
        "last": timed(lambda: ours("last")),
        "their last": timed(lambda: descent(images, labels)),
        "their last in batches": timed(lambda: in_batches(descent)),
        "worst": timed(lambda: ours("worst")),
        "their last, asked": timed(lambda: asked(in_batches(descent))),
    }
    seconds = dict(zip(sides, interleaved(*sides.values()), strict=True))

    def faster(theirs: str, own: str) -> list[float]:
        return ratios(seconds[theirs], seconds[own])

    return [
        Result("FGSM, images/s, nsfast / torchattacks", faster("their fgsm", "fgsm"), at_least=1.0),
        Result("  in batches of 128", faster("their fgsm in batches", "fgsm")),
        Result("PGD, images/s, nsfast / torchattacks", faster("their last", "last"), at_least=1.0),
        Result("  in batches of 128", faster("their last in batches", "last")),
        Result("  the worst pictures' accuracy / the last ones'", faster("their last, asked", "worst")),
        Result("  PGD of 10 steps", [PICTURES / each for each in seconds["last"]], "images/s"),
    ]


if __name__ == "__main__":
    sys.exit(show(results()))
