"""Throughput of a training on labels, as a share of that of timm's own training; at least 0.95.

    python benchmarks/timm_loop.py

nsfast: a Learner of `build_learner`, fitted as `nsfast.training.train` does: `WeightAverage`, `Checkpoint` and
`Schedule`, label smoothing, labeled pictures of 3 x 32 x 32 alone. RandAugment, stochastic depth and dropout are off.

Alternative: `TimmLoop`, a loop in the form of timm's train.py (a script, not in its package) from timm's parts:
`PrefetchLoader`, which normalises, `LabelSmoothingCrossEntropy`, `create_optimizer_v2`, `StepLRScheduler`, `ModelEmaV3`
and its meters. Its batches are rows of one uint8 tensor, as fast collate would hand over, with no decoding and no
workers counted. It has a copy of the same network, the same batch, the same optimizer (AdamW fused, which timm's script
leaves off unless asked for; RMSProp is timm's own for both) and the paper's staircase, which both step after every
batch. tests/test_benchmarks.py holds both to the same weights after two epochs of the same batches.

Pictures lie channels-last for both. The copy's weights lie as nsfast's do, so that the gate is of the loop alone; a
line without a gate has them channels-last as well, as with timm's `--channels-last`.

What is clocked is the training part of an epoch: neither validates nor writes its checkpoint within it.
"""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import numpy as np
import torch
from fastai.callback.core import Callback
from fastai.learner import Learner
from table import show
from timing import Result, interleaved, ratios, timed
from timm.data.loader import PrefetchLoader
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import StepLRScheduler
from timm.utils import AverageMeter, ModelEmaV3

from nsfast.images import Split
from nsfast.training import Recipe
from nsfast.training.average import WeightAverage
from nsfast.training.checkpoint import Checkpoint
from nsfast.training.learner import build_learner
from nsfast.training.schedule import Schedule, schedule_of

LOG_EVERY = 50  # batches, as in timm's script
NO_NOISE = {"dropout": 0.0, "stochastic_depth": 0.0, "randaugment_n": 0}
STAIRCASE = {"schedule": "staircase", "warmup_epochs": 3.0}
OPTIMIZERS = {
    "adamw": {"opt": "adamw", "fused": True},
    "rmsprop": {"opt": "rmsproptf", "momentum": 0.9, "eps": 1e-3},
}
# recipe and the words for it; steps in a round
CASES = (
    ("ResNet-18, AdamW", 6, {"architecture": "resnet18", "batch": 64, "learning_rate": 1e-3}),
    (
        "EfficientNet-B0, RMSProp",
        8,
        {
            "architecture": "efficientnet-b0",
            "batch": 32,
            "optimizer": "rmsprop",
            "learning_rate": 2e-3,
            "weight_decay": 1e-5,
        },
    ),
)
log = logging.getLogger(__name__)


def labeled_learner(
    recipe: Recipe,
    pixels: int = 32,
    channels: int = 3,
    classes: int = 10,
    count: int = 0,
    device: str = "cpu",
) -> Learner:
    """Return the Learner of a training on labeled pictures alone, which are random.

    Args:
        recipe: with `steps_per_epoch`.
        pixels, channels: size of the pictures.
        count: of the pictures; 0 for as many as an epoch has.
    """
    random = np.random.default_rng(0)

    def split(number: int) -> Split:
        pictures = random.integers(0, 256, (number, pixels, pixels, channels), np.uint8)
        return Split(np.arange(number), pictures, random.integers(0, classes, number))

    statistics = [0.5] * channels, [0.25] * channels
    labeled, validation = split(count or recipe.steps_per_epoch * recipe.batch), split(2)
    return build_learner(recipe, classes, statistics, labeled, validation, device=torch.device(device))


class Clocked(Schedule):
    """The schedule of the learning rate, which also clocks the training part of an epoch, its set-up included.

    A callback of its own would be called, and so be counted, in every step.
    """

    def __init__(self, recipe: Recipe, learner: Learner, clock: Callable[[], float] = process_time):
        super().__init__(schedule_of(recipe, len(learner.dls.train_ds)), sys.maxsize)
        self.clock = clock

    def before_epoch(self):
        self.begun = self.clock()

    def before_validate(self):
        self.seconds = self.clock() - self.begun


def fit_labeled(learner: Learner, recipe: Recipe, clocked: Clocked, *callbacks: Callback) -> float:
    """Train for one epoch as `nsfast.training.train` does; return the seconds of the training part."""
    with learner.no_bar(), learner.no_logging(), redirect_stdout(io.StringIO()):
        learner.fit(1, wd=[recipe.weight_decay, 0.0], cbs=[*callbacks, clocked])
    return clocked.seconds


class InMemory:
    """Batches of uint8 pictures and class indices, rows of one tensor each, in an order that is drawn every epoch."""

    def __init__(self, pixels: torch.Tensor, labels: torch.Tensor, batch: int):
        self.pixels, self.labels, self.batch = pixels, labels, batch

    def __len__(self) -> int:
        return len(self.pixels) // self.batch

    def draw(self) -> torch.Tensor:
        """Return the rows of an epoch's batches, (steps, batch)."""
        return torch.randperm(len(self.pixels))[: len(self) * self.batch].view(len(self), self.batch)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for rows in self.draw():
            yield self.pixels.index_select(0, rows), self.labels.index_select(0, rows)


class TimmLoop:
    """The same training in the form of timm's script and with timm's parts.

    Args:
        learner: whose network is copied, as it is now, and whose pictures are used, all of them once an epoch.
        recipe: of the learner, with the schedule "staircase".
        channels_last: whether weights are laid channels-last too, as timm's script does when it is asked for.
    """

    def __init__(self, learner: Learner, recipe: Recipe, channels_last: bool = False):
        data, normalize = learner.dls.train_ds, learner.model.normalize
        self.model = deepcopy(learner.model.body)
        if channels_last:
            self.model.to(memory_format=torch.channels_last)
        batches = InMemory(data.pixels, data.targets.argmax(1), recipe.batch)
        statistics = [tuple(each.flatten().tolist()) for each in (normalize.mean, normalize.std)]
        channels, device = data.pixels.shape[1], data.pixels.device
        self.loader = PrefetchLoader(batches, *statistics, channels=channels, device=device)
        self.loss = LabelSmoothingCrossEntropy(recipe.label_smoothing)
        self.optimizer = create_optimizer_v2(
            self.model,
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            **OPTIMIZERS[recipe.optimizer],
        )
        self.schedule = StepLRScheduler(
            self.optimizer,
            decay_t=recipe.decay_epochs * len(batches),
            decay_rate=recipe.decay_factor,
            warmup_t=int(recipe.warmup_epochs * len(batches)),
            warmup_prefix=False,
            t_in_epochs=False,
        )
        self.average, self.updates = ModelEmaV3(self.model, decay=recipe.ema), 0

    def epoch(self) -> None:
        """Train for one epoch."""
        update_time, data_time, losses = AverageMeter(), AverageMeter(), AverageMeter()
        self.model.train()
        begun = time.time()
        for number, (x, y) in enumerate(self.loader):
            x = x.contiguous(memory_format=torch.channels_last)
            data_time.update(time.time() - begun)
            loss = self.loss(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            losses.update(loss.item(), len(x))
            self.updates += 1
            self.optimizer.zero_grad()
            self.average.update(self.model, step=self.updates)
            update_time.update(time.time() - begun)
            if number % LOG_EVERY == 0:
                rates = [group["lr"] for group in self.optimizer.param_groups]
                log.info(
                    "%d: loss %.3g (%.3g), %.3f s (%.3f), of it data %.3f, rate %.3e",
                    *(number, losses.val, losses.avg, update_time.val, update_time.avg, data_time.avg),
                    sum(rates) / len(rates),
                )
            self.schedule.step_update(self.updates, metric=losses.avg)
            begun = time.time()


def results(cases=CASES) -> list[Result]:
    """Measure; return the lines of the table.

    Args:
        cases: of each training its words, steps in a round and recipe.
    """
    lines = []
    for words, steps, changes in cases:
        recipe = Recipe(steps_per_epoch=steps, ema=0.999, **{**NO_NOISE, **STAIRCASE, **changes})
        learner = labeled_learner(recipe)
        loops = [TimmLoop(learner, recipe, laid) for laid in (False, True)]
        clocked, average = Clocked(recipe, learner), WeightAverage(recipe.ema)
        with TemporaryDirectory() as folder:
            saver = Checkpoint(Path(folder) / "checkpoint.safetensors", {}, recipe.seed, average)
            ours, theirs, laid = interleaved(
                lambda parts=(learner, recipe, clocked, average, saver): fit_labeled(*parts),
                *(timed(loop.epoch) for loop in loops),
            )
        pictures = [steps * recipe.batch / seconds for seconds in theirs]
        lines += [
            Result(f"training, {words}, throughput / timm's", ratios(theirs, ours), at_least=0.95),
            Result("  timm's weights laid channels-last", ratios(laid, ours)),
            Result("  timm's itself, as nsfast's, pictures", pictures, "/s"),
        ]
    return lines


if __name__ == "__main__":
    sys.exit(show(results()))
