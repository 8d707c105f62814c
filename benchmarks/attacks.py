"""Attacked pictures per second of processor time, nsfast / torchattacks: FGSM and PGD; each at least 1.

    python benchmarks/attacks.py

nsfast: `fgsm`, and `pgd` with 10 steps that keeps the last picture, as torchattacks does, so that both go forward and
back equally often. Alternative: torchattacks's FGSM and PGD at the same epsilon, step size and random start. Both take
the same batches of the same pictures, 384 of 16 x 16 pixels, through the same network (`nsfast.models`, "small").

The line without a gate is an accuracy under attack as it is reported: nsfast's `pgd` that keeps the worst picture, with
the image and FGSM among what it tries, which is two forward passes and a backward pass more; torchattacks's pictures
are asked once.

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

PICTURES, PIXELS, BATCH, EPSILON, STEPS = 384, 16, 128, 8, 10


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

    def theirs(attack) -> list[torch.Tensor]:
        return [attack(pictures, true) for pictures, true in batches]

    def ask(pictures: list[torch.Tensor]) -> list[torch.Tensor]:
        with torch.no_grad():
            return [network(part).argmax(1) for part in pictures]

    def found(keep: str) -> torch.Tensor:
        return pgd(network, images, labels, EPSILON, STEPS, step_size, keep=keep, batch=BATCH)

    fast, fast_theirs, last, last_theirs, worst, asked = interleaved(
        timed(lambda: fgsm(network, images, labels, EPSILON, BATCH), 4),
        timed(lambda: theirs(one_step), 4),
        timed(lambda: found("last")),
        timed(lambda: theirs(descent)),
        timed(lambda: found("worst")),
        timed(lambda: ask(theirs(descent))),
    )
    return [
        Result("FGSM, images/s, nsfast / torchattacks", ratios(fast_theirs, fast), at_least=1.0),
        Result("PGD, images/s, nsfast / torchattacks", ratios(last_theirs, last), at_least=1.0),
        Result("  accuracy under PGD, the worst picture / the last", ratios(asked, worst)),
        Result("  PGD", [PICTURES / seconds for seconds in last], "images/s"),
    ]


if __name__ == "__main__":
    sys.exit(show(results()))
