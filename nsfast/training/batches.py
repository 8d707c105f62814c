"""Joint batches: each holds exactly `batch` labeled and `batch * ratio` pseudo-labeled pictures, labeled ones first."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from copy import copy
from itertools import islice

import numpy as np
import torch
from fastai.data.core import DataLoaders, TfmdDL
from fastai.torch_core import TensorBase, TensorCategory, TensorImage, TitledStr, num_distrib
from fasttransform import Transform

from nsfast.errors import NsfastError, choice

EPOCH_BY = ("labeled", "pseudo")


class Pictures:
    """Small pictures and targets as tensors on the device; a batch is one indexing of each.

    Args:
        pixels: one or two arrays (n, height, width, channels) uint8: the labeled, then the pseudo-labeled pictures.
        targets: (n,) int64 class indices or (n, classes) float32 distributions, over all pictures.
        split_idx: 0 for training, 1 for validation; fastai's random transforms look at it.
        device: where the pictures lie.
        vocab: class names, by which fastai's `show_batch` and `show_results` call the targets.

    Raises:
        NsfastError: another number of targets than of pictures.
    """

    # inputs in an item; otherwise fastai draws a noised batch to find out, at the first step that it takes
    n_inp = 1

    def __init__(
        self,
        pixels: list[np.ndarray],
        targets: torch.Tensor,
        split_idx: int,
        device="cpu",
        vocab: Sequence[str] | None = None,
    ):
        count, (height, width, channels) = sum(map(len, pixels)), pixels[0].shape[1:]
        self.pixels = torch.empty(count, channels, height, width, dtype=torch.uint8, device=device)
        start = 0
        for array in pixels:
            for part in np.array_split(
                array, max(1, len(array) // 65536)
            ):  # a memory map is read piece by piece
                end = start + len(part)
                self.pixels[start:end] = torch.from_numpy(np.array(part)).to(device).permute(0, 3, 1, 2)
                start = end
        if len(targets) != count:
            raise NsfastError(f"{len(targets)} targets for {count} pictures; give one each")
        self.targets, self.split_idx, self.vocab = targets.to(device), split_idx, vocab
        found = targets.shape[1] if targets.ndim == 2 else int(targets.max()) + 1 if count else 0
        self.c = found if vocab is None else len(vocab)  # number of classes

    @contextmanager
    def set_split_idx(self, split_idx: int):
        """Count as another split for a while, as fastai's `tta` asks for."""
        before, self.split_idx = self.split_idx, split_idx
        try:
            yield self
        finally:
            self.split_idx = before

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: np.ndarray) -> tuple[TensorImage, torch.Tensor]:
        """Return uint8 pictures (n, channels, height, width) and their targets, in the order of `index`."""
        rows = torch.from_numpy(index).to(self.pixels.device, non_blocking=True)
        kind = TensorBase if self.targets.ndim == 2 else TensorCategory
        return TensorImage(self.pixels.index_select(0, rows)), kind(self.targets.index_select(0, rows))

    def __getitem__(self, i: int) -> tuple[TensorImage, torch.Tensor]:
        x, y = self.take(np.array([i]))
        return x[0], y[0]

    def decode(self, item: tuple, full: bool = True) -> tuple:
        """Return picture and target with a title, as fastai shows them; a distribution by its largest."""
        picture, target = item
        which = int(target.argmax()) if target.ndim else int(target)
        title = str(which if self.vocab is None else self.vocab[which])
        return picture, TitledStr(f"{title} {float(target.max()):.2f}" if target.ndim else title)

    def new_empty(self) -> Pictures:
        """Return the same without pictures, for `Learner.export`."""
        empty = copy(self)
        empty.pixels, empty.targets = self.pixels[:0].clone(), self.targets[:0].clone()
        return empty


class ToFloat(Transform):
    """uint8 pictures to float32 on 0..1; order 10, where fastai's IntToFloat stands."""

    order = 10

    def encodes(self, x: TensorImage):
        # as a plain tensor: the operations of a subclass cost several times as much
        return TensorImage(x.as_subclass(torch.Tensor).float().div_(255))

    def decodes(self, x: TensorImage):
        return x.mul(255).round().clamp(0, 255).to(torch.uint8)


class JointDL(TfmdDL):
    """A loader of joint batches over one merged dataset.

    With groups and when shuffling, every batch is `labeled` indices of the first group followed by `pseudo` of the
    second; each group is gone through in a random order that is drawn anew at every wrap. Otherwise it is a plain
    loader. Under distributed training the number of batches is a multiple of the number of processes, so that fastai
    gives every process whole batches of the one order; `labeled` and `pseudo` are then per process.

    Args:
        dataset: any dataset of fastai; one with `take` (`Pictures`) is asked for whole batches.
        groups: two arrays of rows: the labeled pictures, and the pseudo-labeled ones, a row as often as it has copies.
        labeled, pseudo: pictures of each kind in a batch.
        epoch_by: whether an epoch is one pass over the "labeled" or over the "pseudo"-labeled pictures.
        steps: batches in an epoch, whatever `epoch_by` says; 0 to leave it to that.

    Raises:
        NsfastError: an unknown `epoch_by`, or pictures of a kind that has none.
    """

    def __init__(
        self,
        dataset=None,
        groups=None,
        labeled: int = 0,
        pseudo: int = 0,
        epoch_by: str = "labeled",
        steps: int = 0,
        **kwargs,
    ):
        self.labeled, self.pseudo, self.steps = labeled, pseudo, steps
        self.epoch_by = choice("epoch_by", epoch_by, EPOCH_BY)
        self.groups = groups if groups is None else [_small(np.asarray(group)) for group in groups]
        self.joint = bool(kwargs.get("shuffle")) and groups is not None
        if self.joint:
            for count, group, kind in zip((labeled, pseudo), self.groups, EPOCH_BY, strict=True):
                if count and not len(group):
                    raise NsfastError(f"a batch is to have {count} {kind} pictures, but there are none")
            if not (labeled, pseudo)[EPOCH_BY.index(epoch_by)] and not steps:
                raise NsfastError(f"epoch_by is {epoch_by!r}, but a batch has no such pictures; give steps")
        kwargs["bs"] = labeled + pseudo if self.joint else kwargs.get("bs", 256)
        super().__init__(dataset, **kwargs)

    def new(self, dataset=None, cls=None, **kwargs):
        if dataset is not None and not len(dataset):  # `Learner.export`
            kwargs = {"groups": None, "shuffle": False, **kwargs}
        names = ("groups", "labeled", "pseudo", "epoch_by", "steps")
        return super().new(dataset, cls, **{**{name: getattr(self, name) for name in names}, **kwargs})

    def __len__(self) -> int:
        if not self.joint:
            return super().__len__()
        which = EPOCH_BY.index(self.epoch_by)
        count = self.steps or max(1, len(self.groups[which]) // (self.labeled, self.pseudo)[which])
        processes = max(1, num_distrib())
        return max(1, count // processes) * processes

    def describe(self) -> str:
        """Say in a line what an epoch is."""
        passes = [
            f"{len(self) * count / len(group):.3g} x {len(group):,} {words}"
            for count, group, words in zip(
                (self.labeled, self.pseudo),
                self.groups,
                ("labeled", "pseudo-labeled (copies counted)"),
                strict=True,
            )
            if count
        ]
        batch = f"{self.labeled} labeled" + (f" + {self.pseudo} pseudo-labeled" if self.pseudo else "")
        why = "set by steps" if self.steps else f"one pass over the {self.epoch_by} pictures"
        return f"an epoch is {len(self):,} batches of {batch} pictures ({why}): {', '.join(passes)}"

    def get_idxs(self) -> np.ndarray | list[int]:
        if not self.joint:
            return super().get_idxs()
        generator = torch.Generator().manual_seed(self.rng.getrandbits(63))
        order = np.empty((len(self), self.bs), np.result_type(*self.groups))
        _fill(order[:, : self.labeled], self.groups[0], generator)
        _fill(order[:, self.labeled :], self.groups[1], generator)
        return order.ravel()

    def sample(self):
        """This worker's part of the order, in whole batches."""
        order = (
            self._DataLoader__idxs
        )  # what fastai took from `get_idxs`, or put in its place to show one picture
        if not isinstance(order, np.ndarray):
            return super().sample()
        return order.reshape(-1, self.bs)[self.offs :: self.num_workers].ravel()

    def create_batches(self, samples):
        if not hasattr(self.dataset, "take"):
            yield from super().create_batches(map(int, samples))
            return
        samples = iter(samples)
        while len(index := np.fromiter(islice(samples, self.bs), np.int64)):
            yield self.dataset.take(index)


def _small(rows: np.ndarray) -> np.ndarray:
    """Rows as int32 where they fit, which is what makes the shuffle of millions fast."""
    fits = not len(rows) or rows.max() < 2**31
    return np.ascontiguousarray(rows, np.int32 if fits else np.int64)


def _fill(place: np.ndarray, rows: np.ndarray, generator: torch.Generator) -> None:
    """Fill an array (steps, count) row by row, going through all `rows` in a new random order at every wrap."""
    if not place.size:
        return
    source, parts, left = torch.from_numpy(rows), [], place.size
    kind = torch.int32 if len(rows) < 2**31 else torch.int64
    while left > 0:
        order = torch.randperm(len(rows), generator=generator, dtype=kind)
        parts.append(source.index_select(0, order[:left]))
        left -= len(parts[-1])
    stream = parts[0] if len(parts) == 1 else torch.cat(parts)
    place[:] = stream.numpy().reshape(place.shape)


def joint_loaders(
    train: Pictures,
    groups,
    valid: Pictures,
    labeled: int,
    pseudo: int,
    steps: int,
    device,
    epoch_by: str = "labeled",
) -> DataLoaders:
    """Return fastai `DataLoaders` of joint training batches and plain validation batches.

    Args:
        groups, labeled, pseudo, steps, epoch_by: see `JointDL`.
    """
    options = dict(num_workers=0, device=device, after_batch=[ToFloat()])
    sizes = dict(labeled=labeled, pseudo=pseudo, steps=steps, epoch_by=epoch_by)
    train_dl = JointDL(train, groups=groups, shuffle=True, **sizes, **options)
    return DataLoaders(train_dl, JointDL(valid, shuffle=False, bs=256, **options), device=device)
