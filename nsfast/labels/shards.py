"""One shard of a label table: a Parquet file of rows, and a note beside it, written last, that says it is whole.

Schema, version 2; rows lie in the order of `id`:

- `id` int64: the picture's row in `files.parquet` of the same folder.
- `class` uint16: the likeliest class after rounding to float16, as an index into the class names; of equals the lowest.
- `confidence` float16: its probability.
- `top_classes` fixed_size_list<uint16>[k] and `top_probabilities` fixed_size_list<float16>[k]: the likeliest k classes
  in falling order, equals in rising order of the class; or `probabilities` fixed_size_list<float16>[classes]: all of
  them in the order of the names.

The file's metadata holds `nsfast.schema` and `nsfast.origin` (JSON: teacher, round, classes, preprocessing, pictures).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nsfast.errors import NsfastError
from nsfast.files import atomic, checksum, read_json, write_json
from nsfast.labels.origin import Origin

if TYPE_CHECKING:  # balancing does without torch, which takes a quarter of a gigabyte
    import torch

    from nsfast.training.targets import Distributions

SCHEMA_VERSION = 2
ROW_GROUP = 65536
CLASS_NUMBERS = ("class", "top_classes.list.element")


@dataclass(frozen=True)
class Rows:
    """Some rows of a label table: ids (n,) int64, predicted (n,) uint16, confidence (n,) float16, and the vectors."""

    ids: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    vectors: Distributions

    def __len__(self) -> int:
        return len(self.ids)


def rows_of(ids: np.ndarray, probabilities: torch.Tensor, top: int = 0) -> Rows:
    """Return what is kept of distributions; the likeliest classes are found on their device.

    The class is the likeliest after rounding to float16, of equals the one with the lower number, so that it is the
    argmax of what is kept. The likeliest few are in this order, too.

    Args:
        ids: (n,) int64.
        probabilities: (n, classes) float32.
        top: how many classes are kept; 0 for all.
    """
    import torch

    from nsfast.training.targets import Distributions

    classes, half = probabilities.shape[1], probabilities.half()
    if top:
        # one integer in the order of both: above the bits of the float16, below the class, counted down
        down = torch.arange(65535, 65535 - classes, -1, dtype=torch.int32, device=half.device)
        both = half.view(torch.int16).int().bitwise_and_(0x7FFF).bitwise_left_shift_(16).bitwise_or_(down)
        both = both.topk(top, dim=1).values.cpu().numpy()
        kept, places = (
            (both >> 16).astype(np.int16).view(np.float16),
            (65535 - (both & 65535)).astype(np.uint16),
        )
        return Rows(ids, places[:, 0].copy(), kept[:, 0].copy(), Distributions(kept, classes, places))
    largest = half.argmax(1)
    confidence = half.gather(1, largest[:, None])[:, 0].cpu().numpy()
    kept = Distributions(half.cpu().numpy(), classes)
    return Rows(ids, largest.cpu().numpy().astype(np.uint16), confidence, kept)


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"part-{number:05d}.parquet"


def note_of(path: Path) -> Path:
    """Return the path of a shard's note."""
    return path.with_suffix(".json")


def write_shard(
    path: Path, origin: Origin, rows: Rows, quarantined: Sequence[tuple[int, str]] = ()
) -> dict[str, Any]:
    """Write a shard, then its note; whoever is killed in between leaves no shard that counts.

    Args:
        path: of the shard; its folder is made.
        origin: of the labels.
        rows: in the order of their ids.
        quarantined: (id, reason) of pictures that could not be looked at; they have no row.

    Returns:
        The note: file, rows, bytes, sha256, first and last id, quarantined, origin (its fingerprint).
    """
    schema, kept = schema_of(origin), rows.vectors
    vectors = (kept.top_classes, kept.probabilities) if origin.top else (kept.probabilities,)
    arrays = [rows.ids, rows.predicted, rows.confidence, *vectors]
    columns = [_arrow(array, field.type) for array, field in zip(arrays, schema, strict=True)]
    write_parquet(path, pa.table(columns, schema=schema), CLASS_NUMBERS)
    note = {"file": path.name, "rows": len(rows), "bytes": path.stat().st_size, "sha256": checksum(path)}
    note |= {"first": int(rows.ids[0]) if len(rows) else -1, "last": int(rows.ids[-1]) if len(rows) else -1}
    note |= {"quarantined": [[int(i), why] for i, why in quarantined], "origin": origin.fingerprint}
    write_json(note_of(path), note)
    return note


def schema_of(origin: Origin) -> pa.Schema:
    """Return the columns of a shard, and what its metadata say."""
    columns = {"id": pa.int64(), "class": pa.uint16(), "confidence": pa.float16()}
    if origin.top:
        columns["top_classes"] = pa.list_(pa.uint16(), origin.top)
        columns["top_probabilities"] = pa.list_(pa.float16(), origin.top)
    else:
        columns["probabilities"] = pa.list_(pa.float16(), len(origin.classes))
    about = {"nsfast.schema": str(SCHEMA_VERSION)}
    about["nsfast.origin"] = json.dumps(origin.to_dict(), ensure_ascii=False, sort_keys=True)
    return pa.schema(list(columns.items()), metadata=about)


def _arrow(array: np.ndarray, kind: pa.DataType) -> pa.Array:
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(array, kind)
    values = pa.array(np.ascontiguousarray(array).ravel(), kind.value_type)
    return pa.FixedSizeListArray.from_arrays(values, kind.list_size)


def read_note(path: Path, origin: Origin | None = None) -> dict[str, Any] | None:
    """Return the note of a shard that is whole and, if one is given, of this origin; else None."""
    try:
        note = read_json(note_of(path))
        whole = path.stat().st_size == note["bytes"]
        same = origin is None or note["origin"] == origin.fingerprint
    except (NsfastError, OSError, KeyError, TypeError):
        return None
    return note if whole and same else None


def write_parquet(path: str | Path, table: pa.Table, dictionary: Sequence[str] | None = None) -> None:
    """Write a Parquet file atomically, with a checksum of each page; equal tables are equal to the byte.

    Args:
        dictionary: the columns of few values, where the others have many and ids rise: so it is written and read in
            half of the time.
    """
    options = {"compression": "zstd", "row_group_size": ROW_GROUP, "write_page_checksum": True}
    if dictionary is not None:
        options |= {"use_dictionary": list(dictionary), "column_encoding": {"id": "DELTA_BINARY_PACKED"}}
    with atomic(path) as temporary:
        pq.write_table(table, temporary, **options)
        with open(temporary, "rb") as file:  # a full disk may say so only now
            os.fsync(file.fileno())


def read_parquet(path: str | Path, columns: Sequence[str] = ()) -> pa.Table:
    """Read a Parquet file; raise `NsfastError` naming it when it is damaged or lacks one of the columns."""
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        reason = ", ".join(f"no column {name!r}" for name in columns if name not in table.column_names)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
    if reason:
        raise damaged(path, reason)
    return table


def read_batches(
    path: str | Path,
    columns: Sequence[str],
    rows: int = 1 << 20,
    expected: int = -1,
    schema: pa.Schema | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Go through a Parquet file in parts of at most `rows`; lists come as (n, k) arrays.

    Args:
        path: of the file.
        columns: which are read.
        rows: at most so many at once.
        expected: how many rows there must be, -1 for any number.
        schema: what the columns must be, if it is known.

    Raises:
        NsfastError: the file is damaged, gone, or not what is expected; names it.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            left = file.metadata.num_rows
            if expected not in (-1, left):
                raise damaged(path, f"{left:,} rows for {expected:,} labels")
            for name in columns:
                kind = file.schema_arrow.field(name).type
                if schema is not None and kind != schema.field(name).type:
                    raise damaged(path, f"{name} is {kind} instead of {schema.field(name).type}")
            for batch in file.iter_batches(rows, columns=list(columns)):
                yield {name: _array(batch.column(name)) for name in columns}
                left -= len(batch)
        if left:
            raise damaged(path, f"{left:,} rows are missing")
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
        raise damaged(path, str(error).splitlines()[0]) from None


def _array(column: pa.Array) -> np.ndarray:
    if not pa.types.is_fixed_size_list(column.type):
        return column.to_numpy(zero_copy_only=False)
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), column.type.list_size)


def damaged(path: str | Path, reason: str) -> NsfastError:
    """Return the error of a file that is not what it should be."""
    return NsfastError(f"{path} is damaged ({reason}); restore it, or delete it to have it made again")
