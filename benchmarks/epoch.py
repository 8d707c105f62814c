"""Seconds in which an epoch over ten million pseudo-labeled pictures is drawn; below 0.5.

    python benchmarks/epoch.py

nsfast: from the start of `JointDL` to its first batch of 16 labeled and 112 pseudo-labeled pictures, out of a million
and ten million; an epoch is one pass over the latter. The pictures themselves take no time here, so this is the drawing
of all rows. The gate is in seconds, not a ratio.

For information: the same of fastai's `TfmdDL`, shuffled, over a million items, times ten.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from fastai.data.core import TfmdDL
from table import show
from timing import Result, interleaved, timed

from nsfast.training.batches import JointDL

MILLION, LABELED, PSEUDO = 10**6, 16, 112


class NoPictures:
    """Whatever rows a batch is asked for, nothing is fetched."""

    n_inp = 1

    def __len__(self) -> int:
        return 11 * MILLION

    def __getitem__(self, row: int) -> tuple[float, float]:
        return 0.0, 0.0

    def take(self, index: np.ndarray, draw: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(index)), torch.zeros(len(index))


def results() -> list[Result]:
    """Measure; return the lines of the table."""
    groups = [np.arange(MILLION), np.arange(MILLION, 11 * MILLION)]
    sizes = dict(labeled=LABELED, pseudo=PSEUDO, epoch_by="pseudo")
    joint = JointDL(NoPictures(), groups, shuffle=True, num_workers=0, **sizes)
    plain = TfmdDL(range(MILLION), bs=LABELED + PSEUDO, shuffle=True, num_workers=0)
    ours, theirs = interleaved(
        *(timed(lambda loader=loader: next(iter(loader))) for loader in (joint, plain))
    )
    return [
        Result("an epoch's order, 10 million pictures", ours, "s", at_most=0.5),
        Result("  fastai's own, 1 million, times 10", [10 * seconds for seconds in theirs], "s"),
    ]


if __name__ == "__main__":
    sys.exit(show(results()))
