"""A student's training as nsfast makes it, without noise unless asked for, on random pictures."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

import numpy as np
import torch
from fastai.callback.core import Callback
from fastai.callback.schedule import ParamScheduler, combined_cos
from fastai.learner import Learner

from nsfast.images import Split
from nsfast.training import Recipe
from nsfast.training.learner import PseudoLabeled, build_learner

LABELED, RATIO, SMOOTHING = 16, 7, 0.1
RATE, WEIGHT_DECAY, WARMUP = 1e-3, 0.05, 0.1


def student(
    steps: int,
    architecture: str = "resnet18",
    pixels: int = 32,
    channels: int = 3,
    batch: int = LABELED * (1 + RATIO),
    classes: int = 10,
    device: str = "cpu",
    **noise,
) -> Learner:
    """Return the Learner of a student: soft pseudo-labels, an eighth of a batch labeled, random pictures.

    Args:
        steps: in an epoch.
        pixels, channels: size of the pictures.
        noise: of the recipe; none by default.
    """
    noise = {"dropout": 0.0, "stochastic_depth": 0.0, "randaugment_n": 0, **noise}
    labeled = batch // (1 + RATIO)
    recipe = Recipe(
        architecture, steps_per_epoch=steps, batch=labeled, ratio=RATIO, label_smoothing=SMOOTHING, **noise
    )
    random = np.random.default_rng(0)

    def split(count: int) -> Split:
        pictures = random.integers(0, 256, (count, pixels, pixels, channels), np.uint8)
        return Split(np.arange(count), pictures, random.integers(0, classes, count))

    pseudo = split(16 * labeled * RATIO).pixels
    soft = random.dirichlet(np.ones(classes), len(pseudo)).astype(np.float32)
    labels = PseudoLabeled(pseudo, soft, np.ones(len(pseudo), np.int64))
    statistics = [0.5] * channels, [0.25] * channels
    # validation, which no side counts, is two pictures
    return build_learner(
        recipe, classes, statistics, split(16 * labeled), split(2), labels, torch.device(device)
    )


class Clocked(ParamScheduler):
    """The schedule of the learning rate, which also clocks the training part of an epoch, its set-up included.

    A callback of its own would be called, and so be counted, in every step.
    """

    def __init__(self, schedules: dict, clock: Callable[[], float]):
        super().__init__(schedules)
        self.clock = clock

    def before_epoch(self):
        self.start = self.clock()

    def before_validate(self):
        self.seconds = self.clock() - self.start


def fit(learner: Learner, *callbacks: Callback, clock: Callable[[], float] = process_time) -> float:
    """Train for one epoch as `nsfast.training.train` does; return the seconds of the training part."""
    schedule = Clocked({"lr": combined_cos(WARMUP, RATE / 25, RATE, RATE / 1e3)}, clock)
    with learner.no_bar(), learner.no_logging():
        learner.fit(1, wd=[WEIGHT_DECAY, 0.0], cbs=[schedule, *callbacks])
    return schedule.seconds
