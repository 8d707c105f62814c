"""RandAugment in a fastai Learner: a batch transform, and a callback that puts it into the training part of a fit."""

from __future__ import annotations

from contextlib import contextmanager

import torch
from fastai.torch_core import TensorImage
from fasttransform import DisplayedTransform

from nsfast.errors import within
from nsfast.noise.randaugment import RandAugmentSettings, rand_augment
from nsfast.while_training import WhileTraining


class RandAugmentTransform(DisplayedTransform):
    """`rand_augment` as a batch transform of the training split, between IntToFloat (10) and Normalize (99).

    Args:
        n, m, options: see `RandAugmentSettings`.
        first: see `RandAugment`.
    """

    order, split_idx = 20, 0

    def __init__(self, n: int = 2, m: float = 9, first: int | None = None, **options):
        super().__init__()
        if first is not None:
            within("first", first, 0)
        self.settings, self.first = RandAugmentSettings(n, m, **options), first

    def encodes(self, x: TensorImage):
        x = x.as_subclass(torch.Tensor)
        noised = rand_augment(x[: self.first], settings=self.settings)
        return TensorImage(noised if self.first is None else torch.cat([noised, x[self.first :]]))


class RandAugment(WhileTraining):
    """Noise the training pictures of a fit with RandAugment; validation, `get_preds`, `tta` and labeling never see it.

    Args:
        n: operations per picture.
        m: magnitude, 0..30.
        first: how many pictures of each batch, the first ones, are noised; None for all.
        options: see `RandAugmentSettings`.

    Raises:
        NsfastError: a setting outside its range, when the callback is made.
    """

    order = -5

    def __init__(self, n: int = 2, m: float = 9, first: int | None = None, **options):
        super().__init__()
        self.transform = RandAugmentTransform(n, m, first, **options)

    def install(self):
        pipeline = self._pipeline()
        # a new list: `add` would change the one that loaders made by `new` share
        pipeline.fs = (pipeline.fs + [self.transform]).sorted(key="order")

    def _pipeline(self):
        """The batch transforms of training, under the wrapper of distributed training too."""
        loader = self.learn.dls.train
        return vars(loader).get("dl", loader).after_batch

    def undo(self):
        pipeline = self._pipeline()
        pipeline.fs = pipeline.fs.filter(lambda transform: transform is not self.transform)

    @contextmanager
    def _installed(self):
        pipeline = self._pipeline()
        before = pipeline.fs
        self.before_train()  # in a fit, where it is in place, it must not be there twice
        try:
            yield self.learn.dls.train
        finally:
            pipeline.fs = before

    def one_batch(self):
        """Return a training batch as a fit will see it."""
        with self._installed() as loader:
            return loader.one_batch()

    def show_batch(self, **options):
        """Show a training batch as a fit will see it; `options` are those of fastai's `show_batch`."""
        import fastai.vision.data  # noqa: F401, knows how to show pictures

        with self._installed() as loader:
            return loader.show_batch(**options)
