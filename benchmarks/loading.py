"""Throughput of joint batches from memory, over that of fastai's loading item by item; at least 5.

    python benchmarks/loading.py

nsfast: an epoch over `JointDL` with `Pictures`, batches of 16 labeled and 112 pseudo-labeled pictures of 3 x 32 x 32,
`ToFloat` included.

Alternative: fastai's `Datasets` and `TfmdDL` over the same uint8 arrays and targets, each item made a `PILImage`, then
`ToTensor` and `IntToFloatTensor`; shuffled batches of 128, no workers, which would cost more processor time.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from fastai.data.core import Datasets, TfmdDL
from fastai.data.transforms import IntToFloatTensor, ToTensor
from fastai.torch_core import TensorBase
from fastai.vision.core import PILImage
from table import show
from timing import Result, interleaved, ratios, timed

from nsfast.training.batches import JointDL
from nsfast.training.pictures import Pictures, ToFloat

LABELED, PSEUDO, STEPS, CLASSES, REPEAT = 16, 112, 32, 10, 20


def results() -> list[Result]:
    """Measure; return the lines of the table."""
    random, count = np.random.default_rng(0), STEPS * (LABELED + PSEUDO)
    pixels = random.integers(0, 256, (count, 32, 32, 3), np.uint8)
    targets = torch.rand(count, CLASSES).softmax(1)
    joint = JointDL(
        Pictures([pixels], targets, 0),
        np.split(np.arange(count), [STEPS * LABELED]),
        labeled=LABELED,
        pseudo=PSEUDO,
        shuffle=True,
        num_workers=0,
        after_batch=[ToFloat()],
    )
    items = Datasets(
        range(count),
        tfms=[[lambda i: PILImage.create(pixels[i])], [lambda i: TensorBase(targets[i])]],
        n_inp=1,
    )
    per_item = TfmdDL(
        items,
        bs=LABELED + PSEUDO,
        shuffle=True,
        num_workers=0,
        after_item=[ToTensor()],
        after_batch=[IntToFloatTensor()],
    )
    for loader in (joint, per_item):
        x, y = loader.one_batch()
        assert len(loader) == STEPS and x.shape == (LABELED + PSEUDO, 3, 32, 32) and x.dtype == torch.float32
        assert y.shape == (LABELED + PSEUDO, CLASSES)
    ours, theirs = interleaved(
        timed(lambda: sum(1 for _ in joint), REPEAT), timed(lambda: sum(1 for _ in per_item))
    )
    return [Result("loading, throughput / fastai item by item", ratios(theirs, ours, REPEAT), at_least=5)]


if __name__ == "__main__":
    sys.exit(show(results()))
