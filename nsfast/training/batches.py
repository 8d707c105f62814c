"""Joint batches: each holds exactly `batch` labeled and `batch * ratio` pseudo-labeled pictures, labeled ones first."""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch
from fastai.data.core import DataLoaders, TfmdDL
from fastai.torch_core import num_distrib

from nsfast.errors import NsfastError, choice
from nsfast.streams import stream_seed
from nsfast.training.pictures import Dense, TensorTopK, ToFloat

EPOCH_BY = ("labeled", "pseudo")


class JointDL(TfmdDL):
    """A loader of joint batches over one merged dataset.

    With groups and when shuffling, every batch is `labeled` indices of the first group followed by `pseudo` of the
    second; each group is gone through in a random order that is drawn anew at every wrap. Otherwise it is a plain
    loader. With `processes`, each has its share of every batch, with the same ratio, and of the plain pictures; the
    order is one for all, whatever their number. Wrapped by fastai's `DistributedDL` instead, `labeled` and `pseudo` are
    per process, and the number of batches a multiple of theirs.

    Args:
        dataset: any dataset of fastai; one with `take` (`Pictures`) is asked for whole batches.
        groups: two arrays of rows: the labeled pictures, and the pseudo-labeled ones, a row as often as it has copies.
        labeled, pseudo: pictures of each kind in a batch, over all processes.
        epoch_by: whether an epoch is one pass over the "labeled" or over the "pseudo"-labeled pictures.
        steps: optimizer steps in an epoch, whatever `epoch_by` says; 0 to leave it to that.
        accumulate: batches in an optimizer step.
        rank, processes: which process this is, of how many.

    `epoch` and `skip` may be set before an epoch: which one it is (a pass need not be a whole number of steps, so the
    lengths of epochs differ by one), and how many of its batches are left out at its beginning.

    Raises:
        NsfastError: an unknown `epoch_by`, pictures of a kind that has none, or a batch that does not divide.
    """

    def __init__(
        self,
        dataset=None,
        groups=None,
        labeled: int = 0,
        pseudo: int = 0,
        epoch_by: str = "labeled",
        steps: int = 0,
        accumulate: int = 1,
        rank: int = 0,
        processes: int = 1,
        **kwargs,
    ):
        self.labeled, self.pseudo, self.steps, self.accumulate = labeled, pseudo, steps, accumulate
        self.rank, self.processes, self.epoch, self.skip, self.draws = rank, processes, 0, 0, 0
        self.epoch_by = choice("epoch_by", epoch_by, EPOCH_BY)
        self.groups = groups if groups is None else [_small(np.asarray(group)) for group in groups]
        self.joint = bool(kwargs.get("shuffle")) and groups is not None
        if self.joint:
            for count, group, kind in zip((labeled, pseudo), self.groups, EPOCH_BY, strict=True):
                if count and not len(group):
                    raise NsfastError(f"a batch is to have {count} {kind} pictures, but there are none")
                if count % processes:
                    raise NsfastError(
                        f"a batch of {count} {kind} pictures does not divide over {processes} processes; "
                        f"make it a multiple of {processes}"
                    )
            if not (labeled, pseudo)[EPOCH_BY.index(epoch_by)] and not steps:
                raise NsfastError(f"epoch_by is {epoch_by!r}, but a batch has no such pictures; give steps")
        kwargs["bs"] = (labeled + pseudo) // processes if self.joint else kwargs.get("bs", 256)
        super().__init__(dataset, **kwargs)

    def new(self, dataset=None, cls=None, **kwargs):
        if dataset is not None and not len(dataset):  # `Learner.export`
            kwargs = {"groups": None, "shuffle": False, **kwargs}
        names = ("groups", "labeled", "pseudo", "epoch_by", "steps", "accumulate", "rank", "processes")
        return super().new(dataset, cls, **{**{name: getattr(self, name) for name in names}, **kwargs})

    def __len__(self) -> int:
        if not self.joint:
            mine = len(range(self.rank, self.n, self.processes))
            return super().__len__() if self.processes == 1 else -(-mine // self.bs)
        steps = self.steps or max(1, self._passed(self.epoch + 1) - self._passed(self.epoch))
        if self.processes == 1:
            wrapped = max(1, num_distrib())
            steps = max(1, steps // wrapped) * wrapped
        return steps * self.accumulate

    def _passed(self, epochs: int) -> int:
        """Whole steps in that many passes."""
        which = EPOCH_BY.index(self.epoch_by)
        return epochs * len(self.groups[which]) // ((self.labeled, self.pseudo)[which] * self.accumulate)

    def steps_in(self, epochs: int) -> int:
        """Return how many optimizer steps that many epochs have."""
        return epochs * self.steps or max(epochs, self._passed(epochs))

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
        kinds = [(self.labeled, "labeled"), (self.pseudo, "pseudo-labeled")]
        batch = " + ".join(f"{count} {words}" for count, words in kinds if count)
        why = "set by steps" if self.steps else f"one pass over the {self.epoch_by} pictures"
        parts = f", {self.accumulate} to a step" if self.accumulate > 1 else ""
        return f"an epoch is {len(self):,} batches of {batch} pictures{parts} ({why}): {', '.join(passes)}"

    def get_idxs(self) -> np.ndarray | list[int]:
        if not self.joint:
            rows = super().get_idxs()
            return rows if self.processes == 1 else rows[self.rank :: self.processes]
        generator = torch.Generator().manual_seed(self.rng.getrandbits(63))
        self.draws = self.rng.getrandbits(63)
        order = np.empty((len(self), self.labeled + self.pseudo), np.result_type(*self.groups))
        _fill(order[:, : self.labeled], self.groups[0], generator)
        _fill(order[:, self.labeled :], self.groups[1], generator)
        if self.processes > 1:
            kinds = (order[:, : self.labeled], order[:, self.labeled :])
            order = np.hstack([np.array_split(kind, self.processes, axis=1)[self.rank] for kind in kinds])
        return order[self.skip :].ravel()

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
        samples, number = iter(samples), self.skip + self.offs
        while len(index := np.fromiter(islice(samples, self.bs), np.int64)):
            # by the number of the batch: the same in any worker, and after a break
            draw = stream_seed(self.draws, number, self.rank) if self.joint else None
            yield self.dataset.take(index, draw)
            number += self.num_workers


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
    train,
    groups,
    valid,
    labeled: int,
    pseudo: int,
    steps: int,
    device,
    epoch_by: str = "labeled",
    accumulate: int = 1,
    workers: int = 0,
    rank: int = 0,
    processes: int = 1,
    transforms: tuple = (),
    validation_batch: int = 256,
) -> DataLoaders:
    """Return fastai `DataLoaders` of joint training batches and plain validation batches.

    Args:
        train, valid: datasets with `take`, see `nsfast.training.pictures`.
        groups, labeled, pseudo, steps, epoch_by, accumulate, rank, processes: see `JointDL`.
        workers: processes that make the batches; 0 where taking them is one indexing.
        transforms: of the batches of both, beside `ToFloat` and, for kept distributions, `Dense`.
        validation_batch: pictures in a validation batch.
    """
    options = dict(num_workers=workers, device=device, rank=rank, processes=processes)
    whole = [Dense(train.c)] if getattr(train, "kind", None) is TensorTopK else []
    options |= dict(after_batch=[*whole, ToFloat(), *transforms])
    sizes = dict(labeled=labeled, pseudo=pseudo, steps=steps, epoch_by=epoch_by, accumulate=accumulate)
    train_dl = JointDL(train, groups=groups, shuffle=True, **sizes, **options)
    return DataLoaders(train_dl, JointDL(valid, shuffle=False, bs=validation_batch, **options), device=device)
