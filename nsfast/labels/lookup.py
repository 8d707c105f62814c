"""Distributions of a few pictures out of a label table of any size: only the row groups that hold them are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nsfast.labels.shards import damaged
from nsfast.labels.table import LabelTable

ROWS = 4096
"""Rows that are decoded at once."""


def distributions_at(table: LabelTable, rows: np.ndarray) -> np.ndarray:
    """Return whole distributions (k, classes) float32 that sum to 1, as `table.vectors.dense()` has them.

    Args:
        table: the label table.
        rows: integers (k,), its rows, in any order and as often as wanted; -1 gives nan.

    Raises:
        NsfastError: a shard is damaged or gone; names it.
    """
    rows, classes = np.asarray(rows, np.int64), len(table.classes)
    whole = np.full((len(rows), classes), np.nan, np.float32)
    there = rows >= 0
    if there.any():
        counts = {note["file"]: note["rows"] for note in table.manifest["shards"]}
        counts = [counts[path.name] for path in table.paths]
        found = rows_at(table.paths, counts, table.vector_columns, rows[there])
        kept = [_matrix(column) for column in found.columns]
        named = kept[0] if table.origin.top else None
        whole[there] = dense(kept[-1], classes, named)
    return whole


def dense(kept: np.ndarray, classes: int, named: np.ndarray | None = None) -> np.ndarray:
    """Return whole distributions (n, classes) float32 that sum to 1; see `nsfast.training.targets.dense`.

    Args:
        kept: (n, classes) probabilities, or (n, k) of the classes `named`.
        classes: how many there are.
        named: integers (n, k), which classes those are; None for all in order.
    """
    kept = np.asarray(kept, np.float32)
    if named is not None:
        others = classes - kept.shape[1]
        rest = np.maximum(1 - kept.sum(1, keepdims=True), 0) / max(others, 1)
        rest = np.minimum(rest, kept.max(1, keepdims=True) * np.float32(1 - 2**-11))
        whole = np.repeat(rest, classes, axis=1)
        np.put_along_axis(whole, named.astype(np.int64), kept, axis=1)
        kept = whole
    return kept / kept.sum(1, keepdims=True)


def rows_at(
    paths: Sequence[str | Path], counts: Sequence[int], columns: Sequence[str], rows: np.ndarray
) -> pa.Table:
    """Return some rows of Parquet files that are one table, in the order asked for.

    Args:
        paths: of the files.
        counts: how many rows each has.
        columns: names.
        rows: integers (k,), k at least 1; the first of the second file is `counts[0]`.

    Raises:
        NsfastError: a file is damaged, gone or shorter than it was; names it.
    """
    wanted, back = np.unique(rows, return_inverse=True)
    starts = np.concatenate([[0], np.cumsum(counts)])
    parts: list[pa.Table] = []
    files = np.searchsorted(starts, wanted, "right") - 1
    for number in np.unique(files).tolist():
        parts.append(_rows_of_file(paths[number], columns, wanted[files == number] - starts[number]))
    return pa.concat_tables(parts, promote_options="permissive").take(pa.array(back.reshape(-1)))


def _rows_of_file(path: str | Path, columns: Sequence[str], rows: np.ndarray) -> pa.Table:
    """Some rows of one file, which rise."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            about = file.metadata
            starts = np.cumsum([0, *(about.row_group(i).num_rows for i in range(about.num_row_groups))])
            groups = np.searchsorted(starts, rows, "right") - 1
            found = []
            for group in np.unique(groups).tolist():
                if group < about.num_row_groups:
                    inside = rows[groups == group] - starts[group]
                    found += _rows_of_group(file, group, columns, inside)
        taken = pa.Table.from_batches(found) if found else None
    except (pa.ArrowException, OSError, KeyError) as error:
        raise damaged(path, str(error).splitlines()[0]) from None
    if taken is None or len(taken) < len(rows):
        raise damaged(path, f"row {rows[-1]:,} is missing")
    return taken


def _rows_of_group(
    file: pq.ParquetFile, group: int, columns: Sequence[str], rows: np.ndarray
) -> list[pa.RecordBatch]:
    """Some rows of a row group, which rise; what lies behind the last of them is not decoded."""
    start, found = 0, []
    for batch in file.iter_batches(ROWS, row_groups=[group], columns=list(columns)):
        inside = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + len(batch))]
        if len(inside):
            found.append(batch.select(columns).take(pa.array(inside - start)))
        start += len(batch)
        if start > rows[-1]:
            break
    return found


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """A column of lists of one length as (n, k)."""
    width = column.type.list_size
    return np.concatenate([part.flatten().to_numpy(zero_copy_only=False) for part in column.chunks]).reshape(
        -1, width
    )
