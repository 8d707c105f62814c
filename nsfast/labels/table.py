"""The label table: what a teacher says of every unlabeled picture, in Parquet shards that say who said it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nsfast.errors import NsfastError
from nsfast.files import atomic

SCHEMA_VERSION = "1"


@dataclass(frozen=True)
class LabelTable:
    """Pseudo-labels of n pictures.

    Args:
        ids: (n,) strings.
        probabilities: (n, classes) float16, the teacher's distributions.
        classes: class names.
        about: what stands in the shards' metadata: the teacher's fingerprint and the round.
    """

    ids: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]
    about: dict[str, str]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def predicted(self) -> np.ndarray:
        """(n,) int64 class index of the largest probability."""
        return self.probabilities.argmax(1)

    @property
    def confidence(self) -> np.ndarray:
        """(n,) float16 largest probability."""
        return self.probabilities.max(1)


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"part-{number:05d}.parquet"


def write_shard(
    path: Path, ids: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], about: dict
) -> None:
    """Write one shard atomically: id, class, confidence, and the whole vector as float16; `about` as metadata."""
    half = probabilities.astype(np.float16)
    vector = pa.FixedSizeListArray.from_arrays(pa.array(half.ravel()), half.shape[1])
    columns = {
        "id": pa.array(ids.tolist(), pa.string()),
        "class": pa.array(half.argmax(1).astype(np.uint16)),
        "confidence": pa.array(half.max(1)),
        "probabilities": vector,
    }
    text = {"nsfast.schema": SCHEMA_VERSION, "nsfast.classes": "\x1f".join(classes)}
    text |= {f"nsfast.{name}": str(value) for name, value in about.items()}
    write_parquet(path, pa.table(columns).replace_schema_metadata(text))


def write_parquet(path: str | Path, table: pa.Table) -> None:
    """Write a Parquet file atomically, with a checksum of each page; equal tables are equal to the byte."""
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_parquet(path: str | Path, columns: Sequence[str] = ()) -> pa.Table:
    """Read a Parquet file; raise `NsfastError` naming it when it is damaged or lacks one of the columns."""
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        reason = ", ".join(f"no column {name!r}" for name in columns if name not in table.column_names)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
    if reason:
        raise NsfastError(f"{path} is damaged ({reason}); restore it, or delete it to have it made again")
    return table


def read_shard(path: Path) -> LabelTable:
    """Read one shard.

    Raises:
        NsfastError: it is damaged, or written with another version of the schema.
    """
    table = read_parquet(path, ("id", "probabilities"))
    schema = (table.schema.metadata or {}).get(b"nsfast.schema", b"none").decode(errors="replace")
    if schema != SCHEMA_VERSION:
        raise NsfastError(
            f"{path} has label schema {schema!r}, this nsfast reads {SCHEMA_VERSION!r}; label again"
        )
    try:
        text = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
        classes = tuple(text.pop("nsfast.classes").split("\x1f"))
        about = {
            k.removeprefix("nsfast."): v
            for k, v in text.items()
            if k.startswith("nsfast.") and k != "nsfast.schema"
        }
        vector = table["probabilities"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        ids = np.array(table["id"].to_pylist(), dtype=str)
        return LabelTable(ids, vector.reshape(len(ids), len(classes)), classes, about)
    except (AttributeError, KeyError, ValueError) as error:
        raise NsfastError(
            f"{path} is damaged ({str(error).splitlines()[0]}); restore it, or delete it to have it made again"
        ) from None


def read_labels(folder: str | Path) -> LabelTable:
    """Read every shard of a folder, in order, as one table.

    Raises:
        NsfastError: no shard there, a damaged one, or shards of different teachers.
    """
    paths = sorted(Path(folder).glob("part-*.parquet"))
    if not paths:
        raise NsfastError(f"no label shards in {folder}; run the labeling stage (02_labeling) first")
    shards = [read_shard(path) for path in paths]
    for path, shard in zip(paths, shards, strict=True):
        if shard.about != shards[0].about or shard.classes != shards[0].classes:
            raise NsfastError(
                f"{path} is of another teacher than {paths[0].name}; delete {folder} and label again"
            )
    ids = np.concatenate([s.ids for s in shards])
    return LabelTable(
        ids, np.concatenate([s.probabilities for s in shards]), shards[0].classes, shards[0].about
    )
