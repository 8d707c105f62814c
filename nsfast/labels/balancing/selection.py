"""The selection: which pictures the student sees with which class, and how often; a Parquet file in order of the ids.

Columns: `id` int64, as in the label table; `class` uint16; `copies` uint32, 1 or more. The file's metadata says where
it is from: `nsfast.selection`, JSON with the fingerprint of the labels' origin, the teacher and the round. What was
asked for stands in `balancing.json`, so that equal selections are equal to the byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nsfast.errors import NsfastError
from nsfast.labels.balancing.pieces import written_in_pieces
from nsfast.labels.shards import damaged, read_batches

COLUMNS = ("id", "class", "copies")
ABOUT = b"nsfast.selection"


@dataclass(frozen=True)
class Selection:
    """Selected pictures: ids (n,) int64 that rise, class indices (n,) int64, and copies (n,) int64, 1 or more."""

    ids: np.ndarray
    classes: np.ndarray
    copies: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


class Unordered(Exception):
    """Rows came in another order than that of their ids."""


@contextmanager
def written_selection(path: str | Path, about: Mapping[str, Any]) -> Iterator[Callable[..., None]]:
    """Give a function that takes ids, classes and copies of more pictures; the file is there when the block ends well.

    Raises:
        Unordered: from the function, when ids do not rise.
    """
    kinds = (pa.int64(), pa.uint16(), pa.uint32())
    text = json.dumps(dict(about), ensure_ascii=False, sort_keys=True)
    schema = pa.schema(list(zip(COLUMNS, kinds, strict=True)), metadata={ABOUT: text})
    last = -1

    with written_in_pieces(path, schema) as write:

        def add(ids: np.ndarray, classes: np.ndarray, copies: np.ndarray) -> None:
            nonlocal last
            if not len(ids):
                return
            if ids[0] <= last or (np.diff(ids) <= 0).any():
                raise Unordered
            last = ids[-1]
            write(ids, classes.astype(np.uint16, copy=False), copies.astype(np.uint32, copy=False))

        yield add


def write_selection(path: str | Path, selection: Selection, about: Mapping[str, Any] | None = None) -> None:
    """Write a selection to a Parquet file atomically; equal selections are equal to the byte.

    Args:
        path: of the file.
        selection: in any order.
        about: where it is from.

    Raises:
        NsfastError: a picture occurs twice.
    """
    order = np.argsort(selection.ids, kind="stable")
    ids = selection.ids[order]
    if len(twice := ids[1:][ids[1:] == ids[:-1]]):
        raise NsfastError(f"picture {twice[0]} has two labels; label again")
    with written_selection(path, about or {}) as add:
        add(ids, selection.classes[order], selection.copies[order])


def selected_batches(path: str | Path, rows: int = 1 << 20) -> Iterator[Selection]:
    """Go through a selection in parts of at most `rows`, in order of the ids.

    Raises:
        NsfastError: the file is damaged or gone.
    """
    for part in read_batches(path, COLUMNS, rows):
        yield Selection(part["id"], part["class"].astype(np.int64), part["copies"].astype(np.int64))


def read_selection(path: str | Path) -> Selection:
    """Read a whole selection; raise `NsfastError` naming the file when it is damaged."""
    parts = [(part.ids, part.classes, part.copies) for part in selected_batches(path)]
    nothing = (np.empty(0, np.int64),) * 3
    return Selection(*(np.concatenate(column) for column in zip(*(parts or [nothing]), strict=True)))


def about_selection(path: str | Path) -> dict[str, Any]:
    """Return where a selection is from: labels (their origin's fingerprint), teacher and round."""
    try:
        return json.loads(pq.read_schema(path).metadata[ABOUT])
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise damaged(path, str(error).splitlines()[0]) from None
