"""What a step of nsfast costs beside the network, in milliseconds more than a plain PyTorch loop; at most 1.5.

    python benchmarks/overhead.py

nsfast: the student's Learner (see step.py) with its callbacks for soft targets and for the schedule, joint batches of
128 pictures, and a network that computes nothing but has 213 parameter tensors, about as many as EfficientNet-B0. Noise
and the weight average are left out: they are work, and average.py measures the latter.

Alternative: `bare.BareLoop` with the same network, batches, targets, loss and fused AdamW.
"""

from __future__ import annotations

import sys

import torch
from bare import BareLoop
from student import fit, student
from table import show
from timing import Result, interleaved, timed
from torch import nn

STEPS, TENSORS = 200, 213


class NullModel(nn.Module):
    """Ten pixels, scaled by the sum of 213 parameters, are the logits."""

    def __init__(self):
        super().__init__()
        self.tensors = tuple(nn.Parameter(torch.full((8,), 1e-3)) for _ in range(TENSORS))
        for number, tensor in enumerate(self.tensors):
            self.register_parameter(f"tensor_{number}", tensor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :10] * torch.cat(self.tensors).sum()


def results() -> list[Result]:
    """Measure; return the lines of the table."""
    learner = student(STEPS, "small", pixels=4, channels=1)
    learner.model = NullModel()
    ours, bare = interleaved(lambda: fit(learner), timed(BareLoop(learner).epoch), rounds=15)
    more = [1000 * (a - b) / STEPS for a, b in zip(ours, bare, strict=True)]
    return [
        Result(f"overhead of a step, {TENSORS} tensors, - plain PyTorch loop", more, "ms", at_most=1.5),
        Result("  plain PyTorch loop itself", [1000 * b / STEPS for b in bare], "ms"),
    ]


if __name__ == "__main__":
    sys.exit(show(results()))
