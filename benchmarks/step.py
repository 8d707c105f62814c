"""Throughput of a student's training, as a share of that of a plain PyTorch loop; at least 0.95.

    python benchmarks/step.py

nsfast: the Learner of `nsfast.training.train.build_learner`, fitted with `train`'s schedule and weight decay; batches
of 16 labeled and 112 pseudo-labeled pictures of 3 x 32 x 32, timm's ResNet-18, fused AdamW. RandAugment, stochastic
depth, dropout and the weight average are off, as the loop has none; a line without a gate says what they cost
together. The training part of an epoch is clocked, its set-up included and validation left out, since the loop has none
(`student.Clocked`).

Alternative: `bare.BareLoop`, with the same network, uint8 pictures in memory, rows drawn anew each epoch, soft targets
smoothed on the labeled pictures, loss, optimizer, parameter groups and schedule. tests/test_benchmarks.py holds both to
the same weights after an epoch of the same batches.
"""

from __future__ import annotations

import sys

from bare import BareLoop
from student import fit, student
from table import show
from timing import Result, interleaved, ratios, timed

from nsfast.training.average import WeightAverage

STEPS = 8


def results() -> list[Result]:
    """Measure; return the lines of the table."""
    learner = student(STEPS)
    noised = student(STEPS, dropout=0.5, stochastic_depth=0.2, randaugment_n=2)
    ours, full, bare = interleaved(
        lambda: fit(learner),
        lambda: fit(noised, WeightAverage(0.999)),
        timed(BareLoop(learner).epoch),
        rounds=9,
    )
    return [
        Result("student step, throughput / plain PyTorch loop", ratios(bare, ours), at_least=0.95),
        Result("  with all noise and the average / plain loop without", ratios(bare, full)),
    ]


if __name__ == "__main__":
    sys.exit(show(results()))
