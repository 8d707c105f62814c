"""Time of an update of the weight average, in per cent of a training step; at most 3.

    python benchmarks/average.py

nsfast: `WeightAverage.after_step` on timm's ResNet-18, weights and batch-norm statistics.

What it is divided by: a step of `bare.BareLoop` with the same network, 128 pictures of 3 x 32 x 32 (see step.py), which
is the fastest step there is to add it to.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

from bare import BareLoop
from student import student
from table import show
from timing import Result, interleaved, ratios, timed

from nsfast.training.average import WeightAverage

STEPS, UPDATES = 4, 40


def results() -> list[Result]:
    """Measure; return the lines of the table."""
    bare, average = BareLoop(student(STEPS)), WeightAverage()
    average.learn = SimpleNamespace(model=bare.model)
    average.install()
    update, step = interleaved(timed(average.after_step, UPDATES), timed(bare.epoch))
    share = ratios(update, step, factor=100 * STEPS / UPDATES)
    return [Result("weight average, time / training step", share, "%", at_most=3)]


if __name__ == "__main__":
    sys.exit(show(results()))
