"""Joint batches: each holds exactly `batch` labeled and `batch * ratio` pseudo-labeled pictures, labeled ones first."""

from __future__ import annotations

import numpy as np
import torch
from fastai.data.core import DataLoaders, TfmdDL
from fastai.torch_core import TensorBase, TensorImage
from fasttransform import Transform


class Pictures:
    """Pictures and targets in memory, gathered a batch at a time.

    Args:
        pixels: one or two arrays (n, height, width, channels) uint8: the labeled, then the pseudo-labeled pictures.
        targets: (n,) int64 class indices or (n, classes) float32 distributions, over all pictures.
        split_idx: 0 for training, 1 for validation; fastai's random transforms look at it.
    """

    # inputs in an item; otherwise fastai draws a noised batch to find out, at the first step that it takes
    n_inp = 1

    def __init__(self, pixels: list[np.ndarray], targets: torch.Tensor, split_idx: int):
        self.pixels, self.targets, self.split_idx = pixels, targets, split_idx
        self.starts = np.cumsum([0, *map(len, pixels)])

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: np.ndarray) -> tuple[TensorImage, torch.Tensor]:
        """Return uint8 pictures (n, channels, height, width) and their targets, in the order of `index`."""
        out = np.empty((len(index), *self.pixels[0].shape[1:]), np.uint8)
        for start, array in zip(self.starts, self.pixels, strict=False):
            here = (index >= start) & (index < start + len(array))
            out[here] = array[index[here] - start]
        picture = torch.from_numpy(out).permute(0, 3, 1, 2).contiguous()
        return TensorImage(picture), TensorBase(self.targets[torch.from_numpy(index)])

    def __getitem__(self, i: int) -> tuple[TensorImage, torch.Tensor]:
        x, y = self.take(np.array([i]))
        return x[0], y[0]


class ToFloat(Transform):
    """uint8 pictures to float32 on 0..1; order 10, where fastai's IntToFloat stands."""

    order = 10

    def encodes(self, x: TensorImage):
        return x.float().div_(255)

    def decodes(self, x: TensorImage):
        return x.mul(255).round().clamp(0, 255).to(torch.uint8)


class JointDL(TfmdDL):
    """A loader of joint batches over one merged dataset.

    When shuffling, every batch is `labeled` indices of the first group followed by `pseudo` of the second; each group
    is gone through in a random order that is drawn anew at every wrap. When not shuffling it is the plain order.

    Args:
        dataset: `Pictures`; the first `groups[0]` are labeled, the rest of `groups` gives rows of the pseudo-labeled
            ones, a row as often as it has copies.
        labeled, pseudo: pictures of each kind in a batch.
        steps: batches in an epoch; 0 for one pass over the labeled pictures.
    """

    def __init__(
        self, dataset=None, groups=None, labeled: int = 0, pseudo: int = 0, steps: int = 0, **kwargs
    ):
        self.groups, self.labeled, self.pseudo, self.steps = groups, labeled, pseudo, steps
        kwargs["bs"] = labeled + pseudo if kwargs.get("shuffle") else kwargs.get("bs", 256)
        super().__init__(dataset, **kwargs)

    def new(self, dataset=None, cls=None, **kwargs):
        same = dict(groups=self.groups, labeled=self.labeled, pseudo=self.pseudo, steps=self.steps)
        return super().new(dataset, cls, **{**same, **kwargs})

    def __len__(self) -> int:
        if not self.shuffle:
            return super().__len__()
        return self.steps or max(1, len(self.groups[0]) // self.labeled)

    def get_idxs(self) -> list[int]:
        if not self.shuffle:
            return super().get_idxs()
        random = np.random.default_rng(self.rng.getrandbits(63))
        streams = [
            self._cycle(g, k * len(self), random)
            for g, k in zip(self.groups, (self.labeled, self.pseudo), strict=True)
        ]
        return np.concatenate([s.reshape(len(self), -1) for s in streams], axis=1).ravel().tolist()

    @staticmethod
    def _cycle(rows: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
        """Return `count` of the rows, going through all of them in a new random order at every wrap."""
        if not count:
            return np.empty(0, np.int64)
        return np.concatenate([random.permutation(rows) for _ in range(-(-count // len(rows)))])[:count]

    def create_batches(self, samples):
        if not hasattr(self.dataset, "take"):
            yield from super().create_batches(samples)
            return
        index = np.fromiter(samples, np.int64)
        for start in range(0, len(index), self.bs):
            yield self.dataset.take(index[start : start + self.bs])


def joint_loaders(
    train: Pictures, groups, valid: Pictures, labeled: int, pseudo: int, steps: int, device
) -> DataLoaders:
    """Return fastai `DataLoaders` of joint training batches and plain validation batches.

    Args:
        groups: two int64 arrays of rows of `train`: labeled ones, and pseudo-labeled ones repeated by their copies.
        labeled, pseudo, steps: see `JointDL`.
    """
    options = dict(num_workers=0, device=device, after_batch=[ToFloat()])
    train_dl = JointDL(
        train, groups=groups, labeled=labeled, pseudo=pseudo, steps=steps, shuffle=True, **options
    )
    return DataLoaders(train_dl, JointDL(valid, shuffle=False, bs=256, **options), device=device)
