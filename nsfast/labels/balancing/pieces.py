"""A Parquet file written piece by piece: the same rows give the same bytes, in whatever pieces they come."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nsfast.files import atomic
from nsfast.labels.shards import ROW_GROUP

PIECE = 4 * ROW_GROUP


@contextmanager
def written_in_pieces(path: str | Path, schema: pa.Schema) -> Iterator[Callable[..., None]]:
    """Give a function that takes some rows, an array for each column; the file is there when the block ends well."""
    waiting: list[tuple[np.ndarray, ...]] = []

    def write(enough: int) -> None:
        columns = [np.concatenate(parts) for parts in zip(*waiting, strict=True)]
        waiting.clear()
        while len(columns[0]) >= enough:
            some = [
                pa.array(column[:PIECE], kind) for column, kind in zip(columns, schema.types, strict=True)
            ]
            writer.write_table(pa.table(some, schema=schema), ROW_GROUP)
            columns = [column[PIECE:] for column in columns]
            if not len(columns[0]):
                return
        waiting.append(tuple(columns))

    def add(*columns: np.ndarray) -> None:
        waiting.append(columns)
        if sum(len(part[0]) for part in waiting) >= PIECE:
            write(PIECE)

    # numbers that rise are smallest, and fastest to read and to write, as differences
    encoding = {"id": "DELTA_BINARY_PACKED"} if "id" in schema.names else {}
    others = [name for name in schema.names if name not in encoding]
    options = {"compression": "zstd", "write_page_checksum": True, "use_dictionary": others}
    with atomic(path) as temporary:
        with pq.ParquetWriter(temporary, schema, column_encoding=encoding, **options) as writer:
            yield add
            if waiting:
                write(1)
        with open(temporary, "rb") as file:  # a full disk may say so only now
            os.fsync(file.fileno())
