"""The selected pictures' labels as training reads them: one memory map, row i of which is row i of the selection.

It is a .npy file, without pickle. A row is the likeliest k classes (uint16) and their probabilities (float16), 40 bytes
for ten; or, of a table that keeps whole distributions, the probability (float16) of every class.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nsfast.errors import NsfastError
from nsfast.files import atomic
from nsfast.labels.shards import damaged
from nsfast.labels.table import LabelTable

if TYPE_CHECKING:
    from nsfast.training.targets import Distributions

PART = 1 << 21
"""Bytes of distributions that are held at once."""


def write_targets(labels: LabelTable, selection: str | Path, path: str | Path) -> Path:
    """Write the selected pictures' distributions as a memory map; its length does not change how much memory it takes.

    A picture whose class in the selection is not its class in the table was given it by a person: it is that class with
    probability 1.

    Args:
        labels: the label table.
        selection: Parquet file of ids, in rising order, and classes.
        path: of the memory map.

    Returns:
        `path`.

    Raises:
        NsfastError: a selected picture has no label, a file is damaged, or the disk is full.
    """
    kind, found = _row_type(labels), 0
    columns, rows_at_once = ("id", "class", *labels.vector_columns), max(1, PART // kind.itemsize)
    try:
        with _Selected(selection) as chosen, atomic(path) as temporary, open(temporary, "wb") as file:
            about = {"descr": np.lib.format.dtype_to_descr(kind.base), "fortran_order": False}
            np.lib.format.write_array_header_1_0(file, {**about, "shape": (len(chosen), *kind.shape)})
            start = file.tell()
            file.truncate(start + len(chosen) * kind.itemsize)
            for batch in labels.batches(columns, rows_at_once):
                places, rows = _chosen_rows(chosen, batch, kind, len(labels.classes))
                found += len(places)
                # written and not mapped: pages of a map count as memory, and a full disk would end the process
                for first, last in _runs(places):
                    file.seek(start + int(places[first]) * kind.itemsize)
                    file.write(rows[first:last])
            if found != len(chosen):
                raise NsfastError(
                    f"{len(chosen) - found:,} of the {len(chosen):,} pictures selected in {selection} have no label in "
                    f"{labels.folder}; run balancing again"
                )
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise NsfastError(
            f"cannot write {path} ({error.strerror}); run balancing again when that is set right"
        ) from None
    return Path(path)


def read_targets(path: str | Path, classes: int) -> Distributions:
    """Open what `write_targets` wrote; the arrays stay in the file.

    Raises:
        NsfastError: the file is missing, damaged, or of another number of classes.
    """
    from nsfast.training.targets import Distributions

    found, some = Distributions.mapped(path, classes), 1 << 20
    for start in range(0, len(found) if found.top else 0, some):
        largest = int(found.top_classes[start : start + some].max())
        if largest >= classes:  # of a GPU it would end the process
            raise NsfastError(f"{path} names class {largest}, but there are {classes}; run balancing again")
    return found


class _Selected:
    """The rows of a selection, read where they are needed; a context that closes the file."""

    def __init__(self, path: str | Path):
        self.path = path
        with self._named():
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
            groups = [self._file.metadata.row_group(number) for number in range(self._file.num_row_groups)]
            column = self._file.schema_arrow.names.index("id")
            limits = [group.column(column).statistics for group in groups if group.num_rows]
            limits = np.array([(each.min, each.max) for each in limits], np.int64).reshape(-1, 2)
        self._first, self._last = limits.T
        self._ends = np.cumsum([0, *(group.num_rows for group in groups)])

    def __enter__(self) -> _Selected:
        return self

    def __exit__(self, *error) -> None:
        self._file.close()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def between(self, low: int, high: int) -> tuple[int, np.ndarray, np.ndarray]:
        """Return rows that hold all ids from `low` to `high`: the number of the first, their ids, their classes."""
        begin, end = np.searchsorted(self._last, low), np.searchsorted(self._first, high, side="right")
        with self._named():
            rows = self._file.read_row_groups(range(begin, end), ["id", "class"])
            return int(self._ends[begin]), rows["id"].to_numpy(), rows["class"].to_numpy()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Let what is wrong with the file be said of it."""
        try:
            yield
        except (pa.ArrowException, OSError, AttributeError, KeyError, ValueError) as error:
            raise damaged(self.path, str(error).splitlines()[0]) from None


def _row_type(labels: LabelTable) -> np.dtype:
    """What a row of the memory map is."""
    if not (top := labels.origin.top):
        return np.dtype(("<f2", (len(labels.classes),)))
    return np.dtype([("classes", "<u2", (top,)), ("probabilities", "<f2", (top,))])


def _chosen_rows(
    chosen: _Selected, batch: dict[str, np.ndarray], kind: np.dtype, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows of the selection are in a batch of the table, in rising order, and what is kept of each."""
    start, ids, given = chosen.between(batch["id"].min(), batch["id"].max())
    _, place, row = np.intersect1d(ids, batch["id"], return_indices=True)
    rows = np.empty(len(row), kind)
    relabeled = np.flatnonzero(given[place] != batch["class"][row])
    new = given[place][relabeled].astype(np.int64)
    if kind.names:
        rows["classes"], rows["probabilities"] = batch["top_classes"][row], batch["top_probabilities"][row]
        # the class that is certain, and some others that have nothing
        rows["classes"][relabeled] = (new[:, None] + np.arange(rows["classes"].shape[1])) % classes
        rows["probabilities"][relabeled] = np.arange(rows["classes"].shape[1]) == 0
    else:
        rows[:] = batch["probabilities"][row]
        rows[relabeled] = 0
        rows[relabeled, new] = 1
    return start + place, rows


def _runs(places: np.ndarray) -> list[tuple[int, int]]:
    """Return from where to where rising numbers follow each other without a gap."""
    if not len(places):
        return []
    gaps = np.flatnonzero(np.diff(places) != 1) + 1
    return list(zip([0, *gaps.tolist()], [*gaps.tolist(), len(places)], strict=True))
