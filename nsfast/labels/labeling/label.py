"""Labeling: un-noised teachers look at every unlabeled picture once and write what they think, shard by shard.

While the teachers look at a batch one thread reads the next, and another writes the shard before: what is held is a few
batches of pictures and two shards of labels, however many pictures there are. Batches are cut within shards, so that a
shard has the same bytes whoever makes it; how processes share the work stands in `unfinished` and `claims`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from nsfast.errors import NsfastError, within
from nsfast.images import Split
from nsfast.labels.labeling.claims import place_among_processes
from nsfast.labels.labeling.teachers import Batch, Reader, Teachers
from nsfast.labels.labeling.unfinished import PATIENCE, UnfinishedTable
from nsfast.labels.origin import Origin
from nsfast.labels.predict import ahead, evaluating
from nsfast.labels.shards import Rows, rows_of
from nsfast.labels.table import LabelTable
from nsfast.progress import Progress
from nsfast.training.targets import Distributions

if TYPE_CHECKING:
    from nsfast.images.index import PictureIndex


def label(
    models: nn.Module | Sequence[nn.Module],
    pictures: Split | PictureIndex,
    origin: Origin,
    folder: str | Path,
    *,
    batch: int = 0,
    shard: int = 65536,
    compile: bool = False,
    flip: bool = False,
    workers: int = 2,
    rank: int | None = None,
    processes: int | None = None,
    contents: bool = True,
    replace: bool = False,
) -> LabelTable:
    """Label pictures and return the table when all of it is there; any number of processes may work on one folder.

    Shards of the same origin that are done are kept, whoever was killed while making others. A picture that cannot be
    decoded has no row; the table lists it with the reason (`quarantined`).

    Args:
        models: one teacher, or several whose probabilities are averaged; in eval mode meanwhile, without any noise.
        pictures: a `Split`, whose labels are not looked at, or an index of pictures.
        origin: what the table says of itself; so many classes of a distribution are kept as its `top`.
        folder: where the table goes; on a drive that all processes share.
        batch: pictures in a forward pass; 0 for 256 of up to 224 pixels, fewer in proportion to the area above.
        shard: pictures in a Parquet file.
        compile: compile the networks (torch.compile).
        flip: average over the pictures and their mirror images.
        workers: threads that decode.
        rank, processes: which process this is, from 0, and of how many; by default what torchrun or SLURM say. It says
            where each begins, no more: what one leaves undone another does.
        contents: write content codes beside each shard, which tell whether pictures are tested on, too.
        replace: make a finished table of another origin anew.

    Raises:
        NsfastError: no pictures; a finished table of another origin in the folder, unless `replace`; another labeling
            at work in it; a full disk; a teacher of other classes, or whose probabilities are no numbers.
    """
    models = [models] if isinstance(models, nn.Module) else list(models)
    for what, value, low in (("shard", shard, 1), ("batch", batch, 0), ("workers", workers, 1)):
        within(what, value, low)
    within("the number of pictures", len(pictures), 1)
    rank, processes = place_among_processes(rank, processes)
    table = UnfinishedTable(folder, origin, len(pictures), shard, contents)
    if (whole := table.finished(pictures, replace)) is not None:
        return whole
    teachers = Teachers(models, pictures, len(origin.classes), batch, compile, flip)
    reader = Reader(pictures, teachers, shard, workers, contents)
    with table.room(), table.claims, evaluating(*models):
        if (whole := table.prepare(pictures, replace)) is not None:
            return whole
        table.look()
        report = _Report(table)
        while True:
            if len(table.done) == table.shards and (whole := table.finish(pictures)) is not None:
                report(now=True)
                return whole
            free = table.unclaimed(first=rank * table.shards // processes)
            if not _label_shards(table, teachers, reader, free, report):
                time.sleep(PATIENCE)  # others are at work on all that is left
                report()
            table.look()


def _label_shards(
    table: UnfinishedTable, teachers: Teachers, reader: Reader, shards: Iterable[int], report: _Report
) -> bool:
    """Label and write these shards; return whether there was any."""
    shard, in_hand, writing = None, 0, None
    with ThreadPoolExecutor(1) as writer:
        for batch in ahead(reader, reader.jobs(shards)):
            shard = shard or _Shard(batch.shard, len(table.rows(batch.shard)))
            shard.add(batch, _labels(teachers, batch, table.origin.top))
            in_hand += batch.seen
            if writing is not None and (batch.last or writing.done()):
                in_hand -= writing.result()  # and no more than one shard waits
                writing = None
            if batch.last:
                writing, shard = writer.submit(shard.write, table), None
            report(in_hand)
        if writing is not None:
            writing.result()
    return writing is not None


def _labels(teachers: Teachers, batch: Batch, top: int) -> Rows:
    """What is kept of what the teachers say of a batch."""
    rows = rows_of(batch.ids, teachers(batch.views), top)
    if len(wrong := rows.ids[np.isnan(rows.confidence)]):
        raise NsfastError(
            f"a teacher's probabilities of picture {wrong[0]} are not numbers; train it again, or with a lower "
            "learning rate, or label in float32"
        )
    return rows


class _Shard:
    """The labels of one shard, in arrays that are made once: those of each batch would leave memory in shreds.

    Args:
        number: of the shard.
        pictures: how many it is of.
    """

    def __init__(self, number: int, pictures: int):
        self.number, self.pictures, self.count = number, pictures, 0
        self.columns: dict[str, np.ndarray] = {}
        self.quarantined: list[tuple[int, str]] = []

    def add(self, batch: Batch, rows: Rows) -> None:
        """Take a batch's labels."""
        self.classes, stop = rows.vectors.classes, self.count + len(rows)
        columns = {"ids": rows.ids, "predicted": rows.predicted, "confidence": rows.confidence}
        columns |= {"probabilities": rows.vectors.probabilities, "top_classes": rows.vectors.top_classes}
        columns |= dict(zip(("exact", "look"), batch.codes or (), strict=False))
        for name, some in columns.items():
            if some is None:
                continue
            if name not in self.columns:
                self.columns[name] = np.empty((self.pictures, *some.shape[1:]), some.dtype)
            self.columns[name][self.count : stop] = some
        self.count = stop
        self.quarantined += batch.quarantined

    def write(self, table: UnfinishedTable) -> int:
        """Write the shard; return how many pictures it is of."""
        found = {name: whole[: self.count] for name, whole in self.columns.items()}
        vectors = Distributions(found["probabilities"], self.classes, found.get("top_classes"))
        rows = Rows(found["ids"], found["predicted"], found["confidence"], vectors)
        codes = (found["exact"], found["look"]) if "exact" in found else None
        table.write(self.number, rows, self.quarantined, codes)
        return self.pictures


class _Report:
    """Says now and then how many pictures all processes have labeled.

    Args:
        table: what is being made.
        every: seconds between two looks at it.
    """

    def __init__(self, table: UnfinishedTable, every: float = 2.0):
        self.table, self.every, self.due, self.said = table, every, 0.0, -1
        self.progress = Progress("picture", table.pictures, table.pictures_done, rate=True)

    def __call__(self, in_hand: int = 0, now: bool = False) -> None:
        """Report the shards that are done, by whomever, and this process's pictures `in_hand`."""
        if (time.monotonic() < self.due and not now) or self.said == self.table.pictures:
            return
        self.table.look()
        self.said = min(self.table.pictures_done + in_hand, self.table.pictures)
        self.progress.update(self.said)
        self.due = time.monotonic() + self.every
