"""Whether an attack's result can be believed: what must hold if gradients show the way (Carlini et al., 1902.06705).

A network whose gradients are masked (too flat, too rough, or cut off) looks robust to FGSM and PGD and is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, nn

from nsfast.errors import NsfastError, choice, within
from nsfast.images import Split
from nsfast.robustness.answers import Asked
from nsfast.robustness.attacks.gradient import Aim, zero_gradient_share
from nsfast.robustness.attacks.measuring import Measuring
from nsfast.robustness.attacks.pgd import Descent, pgd
from nsfast.streams import hash_order

SLACK = 0.02
"""By how much an accuracy may be off before it counts: two pictures of a hundred, as random starts differ."""
POINTING = 0.95
"""The smallest share of pictures whose gradient leads further than chance; it is 1 for ordinary networks."""
MOST_ZERO = 0.01
"""The largest share of pictures without any gradient."""
LARGE, LARGE_ACCURACY = 128, 0.05
"""An epsilon (in 1/255) that lets every picture become the same gray, and the accuracy that may be left under it."""


@dataclass(frozen=True)
class Check:
    """Whether one thing holds that must hold of a model under attack.

    Args:
        model: its name.
        name: of the check.
        value: what was measured; `says` tells of what.
        passed: whether it is as it must be.
        says: the numbers in a sentence, and what it means if they are wrong.
    """

    model: str
    name: str
    value: float
    passed: bool
    says: str


def sanity(
    models: Mapping[str, nn.Module],
    split: Split,
    epsilon: float = 8,
    steps: int = 10,
    sweep: Sequence[int] = (1, 10, 20),
    pictures: int = 100,
    source: str | None = None,
    asked: Asked | None = None,
    seed: int = 0,
    norm: str = "linf",
    loss: str = "cross_entropy",
    batch: int = 0,
    workers: int = 1,
) -> list[Check]:
    """Check of each model that attacks on it can be believed, with some pictures at one epsilon.

    PGD is a plain one here, without FGSM among its starts, so that the two can be compared; a picture counts as fooled
    if any step fools it.

    Args:
        models: by name.
        split: pictures with labels.
        epsilon: in steps of 1/255, above 0.
        steps: of PGD, as reported; it joins the sweep.
        sweep: numbers of steps that are compared; (1, 5, 10, 20, 50) for a full sweep.
        pictures: how many are attacked at most, drawn by id.
        source: the model whose adversarial pictures are shown to the others: "teacher" if there is one, else the first.
        asked: answers of `ask` to attacks; their order is checked over every epsilon, too.
        seed, norm, loss, batch: as for `attack_questions`.
        workers: models checked at once; the checks do not depend on it.

    Returns:
        The checks, model by model: "random signs", "one step", "direction", "more steps", "converged",
        "large epsilon", "zero gradients", "transfer" (of models other than the source), "order" (with `asked`).
        "converged" tells how far the number of steps suffices; the others, if they fail, that gradients are masked.

    Raises:
        NsfastError: no model, no labels, a name or number that does not fit.
    """
    if not models:
        raise NsfastError("there is no model to check; give at least one")
    if split.labels is None or not len(split):
        raise NsfastError(
            "attacks are checked on pictures with labels, and there are none; give the test split"
        )
    most = LARGE if norm == "linf" else LARGE * np.prod(split.pixels.shape[1:]) ** 0.5
    within("epsilon (in steps of 1/255)", epsilon, 1e-6, most)
    within("pictures", pictures, 1)
    source = source or ("teacher" if "teacher" in models else next(iter(models)))
    choice("model", source, models)
    sweep = tuple(sorted({*sweep, steps}))
    descents = {count: Descent(epsilon, count, norm=norm, loss=loss) for count in sweep}
    rows = np.sort(np.argsort(hash_order(split.ids, seed, "sanity"), kind="stable")[:pictures])
    part = split.take(rows)
    measuring = Measuring(part, descents[steps], seed, batch)
    transferred = None
    if len(models) > 1:
        images, labels = measuring.images_of(models[source]), measuring.labels
        transferred = pgd(
            models[source],
            *(images, labels, epsilon, steps),
            **dict(norm=norm, loss=loss, batch=batch, generator=measuring.generator("transfer")),
        )

    def checks(name: str) -> list[Check]:
        moved = None if name == source else transferred
        return _checks(name, models[name], measuring, descents, steps, moved, source)

    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(checks, models))
    if asked is not None:
        ordered = order_checks(asked, models)
        found = [[*several, *(c for c in ordered if c.model == several[0].model)] for several in found]
    return [check for several in found for check in several]


def _checks(
    name: str,
    model: nn.Module,
    measuring: Measuring,
    descents: Mapping[int, Descent],
    steps: int,
    transferred: Tensor | None,
    source: str,
) -> list[Check]:
    """Return all checks of one model; arguments as of `sanity`."""
    descent, found = descents[steps], []
    images = measuring.images_of(model)

    def check(what: str, value: float, passed: bool, says: str, wrong: str) -> None:
        found.append(Check(name, what, value, bool(passed), says if passed else f"{says}: {wrong}"))

    gradient = measuring.gradient(model, images)
    by_steps = {count: measuring.under_steps(model, images, one) for count, one in descents.items()}
    pgd_accuracy, at = by_steps[steps], f"at epsilon {descent.epsilon:g}/255"
    under = f"{pgd_accuracy:.1%} under PGD with {steps} steps {at}"

    def compare(what: str, logits: Tensor, where: str, wrong: str) -> None:
        accuracy = measuring.accuracy(logits)
        more = accuracy - pgd_accuracy
        check(what, more, _small(-more), f"accuracy {accuracy:.1%} {where}, {under}", wrong)

    by_chance = measuring.logits(model, measuring.random_signs(images))
    compare("random signs", by_chance, "under random signs", "PGD is weaker than chance")
    one_step = measuring.logits(model, measuring.one_step(images, gradient))
    compare("one step", one_step, "under FGSM", "many steps find less than one; the loss is rough")

    aim = Aim(measuring.labels, loss="log_odds")  # which says more than 0 where the network is certain
    share = (aim.losses(one_step.double()) > aim.losses(by_chance.double())).double().mean().item()
    says = f"for {share:.1%} of the pictures FGSM raises the loss more than random signs do {at}"
    check("direction", share, share >= POINTING, says, "the gradients do not show where the loss rises")
    values = list(by_steps.values())
    rise = max([later - earlier for earlier, later in zip(values, values[1:], strict=False)], default=0.0)
    listed = ", ".join(f"{count} {accuracy:.1%}" for count, accuracy in by_steps.items())
    wrong = "more steps find less; the loss is rough"
    check("more steps", rise, _small(rise), f"accuracy by steps of PGD {at}: {listed}", wrong)

    left = pgd_accuracy - min(values)
    says = f"{steps} steps leave {left:.1%} that up to {max(by_steps)} steps still find"
    check("converged", left, _small(left), says, "accuracy under PGD is an upper bound; take more steps")

    large = Descent(LARGE, max(20, steps), norm=descent.norm, loss=descent.loss)
    if descent.norm == "l2":  # as far as every pixel going that far
        large = replace(large, epsilon=LARGE * images[0].numel() ** 0.5)
    accuracy = measuring.under_steps(model, images, large)
    wrong = "a network without masked gradients keeps nothing; do not believe its accuracy under attack"
    check(
        *("large epsilon", accuracy, accuracy <= LARGE_ACCURACY),
        *(f"accuracy {accuracy:.1%} under PGD where every pixel may move by {LARGE}/255", wrong),
    )
    share = zero_gradient_share(gradient)
    wrong = "these cannot be attacked and count as robust" + (
        "; try loss='log_odds'" if descent.loss == "cross_entropy" else ""
    )
    check("zero gradients", share, share <= MOST_ZERO, f"{share:.1%} of the pictures have no gradient", wrong)
    if transferred is not None:
        logits, where = measuring.logits(model, transferred), f"on the pictures that PGD made for {source}"
        compare(
            "transfer", logits, where, "another model's pictures fool it better; its gradients are masked"
        )
    return found


def _small(excess: float) -> bool:
    """Whether an accuracy is above another by no more than random starts explain."""
    return excess <= SLACK + 1e-9


def order_checks(asked: Asked, models: Sequence[str]) -> list[Check]:
    """Return for each model whether its answers under attack are in order, over every epsilon that was asked.

    PGD must not leave more than FGSM or random signs of the same epsilon, nor more at a larger epsilon.

    Args:
        asked: answers of `ask`; those to other questions than attacks are passed over.
    """
    found = []
    for model in models:
        accuracies = {
            (version.name, version.level): float(answers[model].right.mean())
            for version, answers in asked.items()
            if version.set == "attack" and model in answers
        }
        excesses = []
        for (name, level), accuracy in accuracies.items():
            attack, dash, norm = name.partition("-")
            if attack != "pgd":
                continue
            weaker = [(f"{other}{dash}{norm}", level) for other in ("fgsm", "random_sign")]
            weaker += [(name, smaller) for other, smaller in accuracies if other == name and smaller < level]
            excesses += [
                (accuracy - accuracies[other], f"{name} {level:g}/255 leaves {accuracy:.1%}", other)
                for other in weaker
                if other in accuracies
            ]
        if excesses:
            worst, says, (name, level) = max(excesses)
            says = f"{says}, {name} {level:g}/255 leaves {accuracies[name, level]:.1%}"
            passed = _small(worst)
            says += "" if passed else ": a stronger attack finds less; the gradients are masked"
            found.append(Check(model, "order", worst, passed, says))
    return found
