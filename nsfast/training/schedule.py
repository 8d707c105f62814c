"""The learning rate of every optimizer step, as plain functions of it, and the callback that sets it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from fastai.callback.core import Callback

from nsfast.errors import NsfastError, choice
from nsfast.training.recipe import SCHEDULES, Recipe

Rate = Callable[[int, int, float], float]


def staircase(
    step: int,
    base: float,
    steps_per_epoch: float,
    warmup_epochs: float = 5.0,
    decay_epochs: float = 2.4,
    factor: float = 0.97,
) -> float:
    """Return the rate of a step: linear from 0, then `factor` lower at each stair; stairs count from step 0.

    As in the released code (utils.py), in float64 instead of float32: a stair may begin a step earlier or later.

    Args:
        step: optimizer steps done before this one, from 0.
        base: the highest rate.
        steps_per_epoch: labeled pictures over the labeled batch, not rounded.
        warmup_epochs, decay_epochs: epochs of the linear rise, and from stair to stair.
        factor: what a stair multiplies the rate by, above 0 up to 1.
    """
    warmup_steps = int(warmup_epochs * steps_per_epoch)
    if step < warmup_steps:
        return base * step / warmup_steps
    return base * factor ** math.floor(step / (steps_per_epoch * decay_epochs))


def decay_epochs_for(
    final: float, base: float, epochs: float, warmup_epochs: float = 5.0, factor: float = 0.97
) -> float:
    """Return the epochs from stair to stair for a rate that goes from `base` to `final` (released flag final_base_lr).

    The released code leaves the warm-up out of `epochs` but counts stairs from step 0, so `final` is reached that much
    before the end and the last rate is a few stairs lower; so it is here.

    Args:
        final, base: last and highest rate, 0 < final < base.
        epochs: passes over the labeled pictures in all, warm-up included.
        warmup_epochs: of the linear rise.
        factor: what a stair multiplies the rate by.

    Raises:
        NsfastError: rates or a factor that do not fall, or no epoch left after the warm-up.
    """
    if not 0 < final < base:
        raise NsfastError(
            f"final_learning_rate is {final:g}; it must be above 0 and below {base:g}, the highest"
        )
    if not 0 < factor < 1:
        raise NsfastError(f"decay_factor is {factor!r}; for a final_learning_rate it must be between 0 and 1")
    if epochs <= warmup_epochs:
        raise NsfastError(
            f"warmup_epochs is {warmup_epochs:g}, but there are {epochs:.3g} epochs in all, so that no "
            "final_learning_rate can be reached; lower it, or train longer"
        )
    return (epochs - warmup_epochs) / (math.log(final / base) / math.log(factor))


def scaled_rate(rate: float, batch: int, per: int = 256) -> float:
    """Return the rate for `batch` labeled pictures in a step, of one that is meant for `per` of them."""
    return rate * batch / per


def schedule_of(recipe: Recipe, labeled: int) -> Rate:
    """Return the rate of a recipe as a function of (optimizer step from 0, steps in all, fraction of training done).

    "cosine" is fastai's `combined_cos(warmup, rate / 25, rate, rate / 1000)` of the fraction, to the bit; "staircase"
    is the paper's, of the step (see `staircase`); "constant" is the same throughout.

    Args:
        recipe: its `learning_rate` and `final_learning_rate` are for `learning_rate_batch` pictures; 0: as they are.
        labeled: labeled pictures, of which "staircase" counts its epochs.

    Raises:
        NsfastError: an unknown schedule; when called, a `final_learning_rate` that cannot be reached.
    """
    choice("schedule", recipe.schedule, SCHEDULES)
    base = recipe.learning_rate
    if recipe.learning_rate_batch:
        base = scaled_rate(base, recipe.batch, recipe.learning_rate_batch)
    if recipe.schedule == "constant":
        return lambda step, total, fraction: base
    if recipe.schedule == "cosine":
        rise_and_fall = _cosine(recipe.warmup, base / 25, base, base / 1e3)
        return lambda step, total, fraction: rise_and_fall(fraction)
    steps_per_epoch = labeled / recipe.batch

    @cache
    def decay_epochs(total: int) -> float:
        if not recipe.final_learning_rate:
            return recipe.decay_epochs
        return decay_epochs_for(
            recipe.final_learning_rate,
            recipe.learning_rate,
            total / steps_per_epoch,
            recipe.warmup_epochs,
            recipe.decay_factor,
        )

    def stairs(step: int, total: int, fraction: float) -> float:
        return staircase(
            step, base, steps_per_epoch, recipe.warmup_epochs, decay_epochs(total), recipe.decay_factor
        )

    return stairs


def _cosine(warmup: float, low: float, high: float, last: float) -> Callable[[float], float]:
    """fastai's `combined_cos`, with its roundings to float32 but without its tensors: a thirtieth of its time."""
    begin, turn, end = map(np.float32, torch.cumsum(torch.tensor([0.0, warmup, 1 - warmup]), 0).tolist())

    def rate(fraction: float) -> float:
        at = np.float32(fraction)
        if at >= turn:
            part, first, second = float((at - turn) / (end - turn)), high, last
        else:
            part, first, second = float((at - begin) / (turn - begin)), low, high
        return first + (1 + math.cos(math.pi * (1 - part))) * (second - first) / 2

    return rate


class Schedule(Callback):
    """Sets the learning rate at the first batch of every optimizer step.

    `step` is the number of steps done: not batches whose gradients only accumulate, nor steps that mixed precision
    skips. A checkpoint sets it, and it goes on from there; a schedule is of one training. The rates, one per batch, are
    the Recorder's `hps` after the fit, for its `plot_sched`.

    Args:
        rate: of (step, total_steps, fraction), see `schedule_of`; the fraction is fastai's `pct_train`.
        total_steps: optimizer steps of the whole training.

    Raises:
        NsfastError: what `rate` raises.
    """

    order, run_valid = 60, False

    def __init__(self, rate: Rate, total_steps: int):
        super().__init__()
        self.rate, self.total_steps, self.step = rate, total_steps, 0
        self.hps = {"lr": []}
        # asked here already: fastai rewords what an event raises
        self.value = rate(0, total_steps, 0.0)
        self.begins, self.skipped = True, False

    def _nothing(self) -> None:
        pass

    # what a callback lacks, fastai looks up in the learner and the network, for every event of every batch
    after_pred = after_loss = before_backward = after_backward = before_step = after_batch = _nothing

    @property
    def training(self) -> bool:
        return self.learn.training

    def before_fit(self):
        self.hps, self.begins, self.skipped = {"lr": []}, True, False

    def before_batch(self):
        if self.begins:
            self.value = self.rate(self.step, self.total_steps, self.learn.pct_train)
            self.learn.opt.set_hyper("lr", self.value)
            self.begins = False
        self.hps["lr"].append(self.value)

    def after_cancel_step(self):
        self.skipped = True  # fastai calls `after_step` all the same

    def after_step(self):
        if not self.skipped:
            self.step += 1
        self.begins, self.skipped = True, False

    def after_fit(self):
        if hasattr(self.learn, "recorder"):
            self.learn.recorder.hps = self.hps
