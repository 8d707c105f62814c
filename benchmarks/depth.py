"""Time of stochastic depth that computes the surviving pictures only, as a share of masking's; at most 0.88.

    python benchmarks/depth.py

nsfast: `StochasticDepth(0.2, "uniform")`, so a mean survival of 0.8, on 12 residual blocks of 64 channels with batch
normalisation (`nsfast.models.SmallBlock`), forward and backward, 128 pictures of 16 x 16.

Alternative: the same callback with `subset=False`, which computes every branch and multiplies that of the dropped
pictures by zero, as timm's DropPath and torchvision's StochasticDepth do. 0.8 would be the ideal. The last lines have
both against the network without stochastic depth.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace

import torch
from table import show
from timing import Result, interleaved, ratios, timed
from torch import nn

from nsfast.models import SmallBlock
from nsfast.noise import StochasticDepth

BLOCKS, CHANNELS, BATCH, PIXELS, RATE = 12, 64, 128, 16, 0.2


def results() -> list[Result]:
    """Measure; return the lines of the table."""
    network = nn.Sequential(*(SmallBlock(CHANNELS, CHANNELS, 1) for _ in range(BLOCKS)))
    x = torch.randn(BATCH, CHANNELS, PIXELS, PIXELS, requires_grad=True)
    step = timed(lambda: network(x).square().mean().backward())

    def dropping(subset: bool) -> Callable[[], float]:
        depth = StochasticDepth(RATE, "uniform", subset)
        depth.learn = SimpleNamespace(model=network)
        forms = [form for _, _, form in depth.plan(network)]
        assert forms == BLOCKS * ["subset" if subset else "mask"], forms

        def side() -> float:
            depth.install()
            try:
                return step()
            finally:
                depth.undo()

        return side

    subset, mask, none = interleaved(dropping(True), dropping(False), step)
    return [
        Result("stochastic depth, time, subset / masking", ratios(subset, mask), at_most=0.88),
        Result("  subset / no stochastic depth", ratios(subset, none)),
        Result("  masking / no stochastic depth", ratios(mask, none)),
    ]


if __name__ == "__main__":
    sys.exit(show(results()))
