"""The fits that a recipe asks for, one after the other: each is a recipe of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from nsfast.errors import NsfastError
from nsfast.training.recipe import Recipe
from nsfast.training.schedule import scaled_rate, schedule_of

NO_NOISE_ON_PICTURES = {"randaugment_n": 0, "crop": "none", "flip": False, "cutout": 0}


@dataclass(frozen=True)
class Phase:
    """One fit.

    Args:
        name: "joint", "pretrain", "labeled" or "finetune".
        recipe: of this fit.
        labeled: whether the labeled pictures take part; else the pseudo-labeled ones alone.
        frozen: how many of the first blocks are held still.
    """

    name: str
    recipe: Recipe
    labeled: bool = True
    frozen: int = 0


def phases(recipe: Recipe, labeled: int, pseudo: int = 0) -> list[Phase]:
    """Return the fits of a recipe in order.

    Args:
        recipe: of the whole training.
        labeled, pseudo: how many labeled and pseudo-labeled pictures there are, copies counted.

    Raises:
        NsfastError: fine-tuning at the last rate of a schedule that has none.
    """
    plain = replace(recipe, order="joint", finetune_epochs=0.0)
    found = []
    if recipe.epochs and recipe.order == "pretrain" and recipe.ratio:
        steps = recipe.steps_per_epoch or max(1, labeled // recipe.batch)
        found.append(Phase("pretrain", replace(plain, steps_per_epoch=steps), labeled=False))
        plain = replace(plain, ratio=0, epoch_by="labeled", steps_per_epoch=steps)
        found.append(Phase("labeled", plain))
    elif recipe.epochs:
        found.append(Phase("joint", plain))
    if recipe.finetune_epochs:
        steps = max(1, math.floor(recipe.finetune_epochs * labeled / recipe.batch))
        rate = recipe.finetune_learning_rate
        if rate and recipe.learning_rate_batch:
            rate = scaled_rate(rate, recipe.batch, recipe.learning_rate_batch)
        if not rate:
            rate = _last_rate(recipe, found[-1].recipe if found else plain, labeled, pseudo)
        changes = dict(epochs=1, steps_per_epoch=steps, ratio=0, epoch_by="labeled", **NO_NOISE_ON_PICTURES)
        changes |= dict(schedule="constant", learning_rate=rate, learning_rate_batch=0, start="scratch")
        changes |= dict(resolution=recipe.finetune_resolution or recipe.resolution, final_learning_rate=0.0)
        found.append(Phase("finetune", replace(plain, **changes), frozen=recipe.finetune_frozen))
    return found


def _last_rate(recipe: Recipe, last: Recipe, labeled: int, pseudo: int) -> float:
    """The rate at the last step of the fit before, from which fine-tuning goes on, as released."""
    each, batch = labeled, recipe.batch
    if last.epoch_by == "pseudo":
        each, batch = pseudo, recipe.batch * recipe.ratio
    steps = recipe.epochs * last.steps_per_epoch or max(recipe.epochs, recipe.epochs * each // batch)
    rate = 0.0
    if steps or recipe.schedule != "staircase":  # that of the others does not depend on the steps
        rate = schedule_of(recipe, labeled)(max(0, steps - 1), max(1, steps), 1.0)
    if not rate > 0:
        raise NsfastError(
            "finetune_learning_rate is 0, which goes on at the last rate of training, but there is none above 0; set it"
        )
    return rate
