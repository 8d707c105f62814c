"""RandAugment (arXiv 1909.13719) per image and on the device, as a function and as a fastai callback."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from fastai.callback.core import Callback
from fastai.torch_core import TensorImage
from fasttransform import DisplayedTransform

from nsfast.errors import choice, within
from nsfast.noise.operations import GEOMETRIC, POINT, affine, argument_at

OPERATIONS = (
    *(
        "AutoContrast",
        "Equalize",
        "Invert",
        "Rotate",
        "Posterize",
        "Solarize",
        "Color",
        "Contrast",
        "Brightness",
    ),
    *("Sharpness", "ShearX", "ShearY", "TranslateX", "TranslateY"),
)


def rand_augment(
    x: torch.Tensor,
    n: int = 2,
    m: float = 9,
    operations: Sequence[str] = OPERATIONS,
    fill: float = 0.5,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Apply `n` operations, drawn for each picture by itself, at magnitude `m`.

    Args:
        x: float pictures (batch, 1 or 3 channels, height, width) on 0..1.
        n: operations per picture, 0 or more.
        m: magnitude in levels of 10, as in the released Noisy Student code; 0..30.
        operations: names to draw from, the paper's 14 by default.
        fill: grey value 0..1 of pixels from outside the picture (the released code's 128/255 is close to 0.5).
        generator: source of randomness on the CPU; torch's global one by default.

    Returns:
        A new tensor of the same shape, dtype and device.
    """
    within("randaugment_n", n, 0, 16)
    within("randaugment_m", m, 0, 30)
    for name in operations:
        choice("operation", name, OPERATIONS)
    x = x.clone()
    count, size = len(x), x.shape[-1]
    for _ in range(n):
        drawn = torch.randint(len(operations), (count,), generator=generator)
        sign = torch.randint(2, (count,), generator=generator) * 2.0 - 1
        moved, matrices = [], []
        for number, name in enumerate(operations):
            rows = (drawn == number).nonzero()[:, 0]
            if not len(rows):
                continue
            argument = torch.full((len(rows),), float(argument_at(name, m, size)))
            if name in GEOMETRIC:
                moved.append(rows)
                matrices.append(GEOMETRIC[name](argument * sign[rows]))
            else:
                rows = rows.to(x.device)
                x[rows] = POINT[name](x[rows], argument.to(x.device))
        if moved:
            rows = torch.cat(moved).to(x.device)
            x[rows] = affine(x[rows], torch.cat(matrices).to(x), fill)
    return x


class RandAugmentTransform(DisplayedTransform):
    """`rand_augment` as a batch transform of the training split, between IntToFloat (10) and Normalize (99)."""

    order, split_idx = 20, 0

    def __init__(self, n: int = 2, m: float = 9, operations: Sequence[str] = OPERATIONS, fill: float = 0.5):
        super().__init__()
        self.n, self.m, self.operations, self.fill = n, m, tuple(operations), fill

    def encodes(self, x: TensorImage):
        plain = x.as_subclass(torch.Tensor)
        return TensorImage(rand_augment(plain, self.n, self.m, self.operations, self.fill))


class RandAugment(Callback):
    """Noise the training pictures of a fit with RandAugment; validation, `get_preds` and labeling never see it.

    The transform is in the batches of the training part of each epoch alone, so that `get_preds` and `validate` of the
    training split are clean too.

    Args:
        n: operations per picture.
        m: magnitude in levels of 10.
        operations: names to draw from.
        fill: grey value 0..1 of pixels from outside.
    """

    order = -5

    def __init__(self, n: int = 2, m: float = 9, operations: Sequence[str] = OPERATIONS, fill: float = 0.5):
        super().__init__()
        self.transform = RandAugmentTransform(n, m, operations, fill)
        rand_augment(torch.zeros(0, 1, 8, 8), n, m, operations, fill)

    def before_train(self):
        self.after_train()
        pipeline = self.dls.train.after_batch
        # a new list: `add` would change the one that loaders made by `new` share
        pipeline.fs = (pipeline.fs + [self.transform]).sorted(key="order")

    def after_train(self):
        pipeline = self.dls.train.after_batch
        pipeline.fs = pipeline.fs.filter(lambda transform: transform is not self.transform)

    after_cancel_train = after_cancel_epoch = after_cancel_fit = after_train
