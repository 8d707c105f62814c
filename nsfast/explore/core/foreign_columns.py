"""The columns of a table that another tool wrote, in Parquet or CSV."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

from nsfast.errors import NsfastError
from nsfast.explore.core.opened import CELLS, Part, chosen
from nsfast.labels.lookup import dense, rows_at
from nsfast.labels.shards import damaged

NEEDED = ("id", "class", "confidence")
READ = (*NEEDED, "truth")
LISTS = "probabilities"


class Columns:
    """The columns that are known here, but for the probabilities.

    Args:
        path: of the table, as it is called.
        files: one CSV, or Parquet files.

    Raises:
        NsfastError: a file cannot be read, or has not the columns id, class and confidence.
    """

    def __init__(self, path: Path, files: Sequence[Path]):
        self.path, self.files = path, list(files)
        self.is_csv = files[0].name.lower().endswith((".csv", ".csv.gz"))
        self._parts = [_csv(path) if self.is_csv else _parquet(file) for file in files]
        self.counts = [len(part) for part in self._parts]

    def __len__(self) -> int:
        return sum(self.counts)

    def has(self, name: str) -> bool:
        """Whether every file has this column."""
        return all(name in part.column_names for part in self._parts)

    def column(self, name: str) -> pa.Array:
        """A column as one array, where its files have several types as floats or text; null where a CSV has ""."""
        arrays = [chunk for part in self._parts for chunk in part[name].chunks]
        arrays = [a.dictionary_decode() if pa.types.is_dictionary(a.type) else a for a in arrays]
        if len(kinds := {array.type for array in arrays}) > 1:
            numbers = all(map(_is_number, kinds))
            arrays = [a.cast(pa.float64()) if numbers else self._text(name, a) for a in arrays]
        found = pa.concat_arrays(arrays)
        return pc.if_else(pc.equal(found, ""), pa.scalar(None, found.type), found) if self.is_csv else found

    def text(self, name: str) -> pa.Array:
        """A column of text or integers as text, null where there is nothing.

        Raises:
            NsfastError: it holds something else.
        """
        return self._text(name, self.column(name))

    def holds_numbers(self, name: str) -> bool:
        """Whether a column holds numbers, not text that may be one, as all of a CSV."""
        return _is_number(self.column(name).type)

    def _text(self, name: str, found: pa.Array) -> pa.Array:
        kind = found.type
        try:
            if pa.types.is_floating(kind):  # integers, some of which are missing, as pandas writes them
                found = pc.if_else(pc.is_nan(found), pa.scalar(None, kind), found).cast(pa.int64())
            elif not (
                pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
            ):
                raise pa.ArrowInvalid
            return found.cast(pa.string())
        except pa.ArrowInvalid:
            raise NsfastError(f"{self.path}: column {name!r} is {kind}; give text or integers") from None

    def lists(self) -> Lists | None:
        """The distributions, where there are any."""
        if self.is_csv or not all(LISTS in pq.read_schema(file).names for file in self.files):
            return None
        return Lists(self.path, self.files, self.counts)


class Lists:
    """The column of distributions, which stays in its Parquet files.

    Args:
        path: of the table, as it is called.
        files: its files.
        counts: how many rows each has.

    Raises:
        NsfastError: the column holds no lists of numbers.
    """

    def __init__(self, path: Path, files: Sequence[Path], counts: Sequence[int]):
        self.path, self.files, self.counts = path, files, counts
        kind = pq.read_schema(files[0]).field(LISTS).type
        listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        if not (listed and pa.types.is_floating(kind.value_type)):
            raise NsfastError(
                f"{path}: column {LISTS!r} is {kind}; give lists of numbers, one for each class"
            )
        first = rows_at(files, counts, (LISTS,), np.array([0]))[LISTS][0].as_py()
        self.width = len(first or ())
        """How many classes the first distribution has."""

    def parts(self, rows: np.ndarray | None) -> Iterator[Part]:
        """Go through the distributions of some rows, or all, a part at a time; see `scores_of`."""
        start = 0
        for file in self.files:
            for batch in _read_lists(file, max(CELLS // self.width, 1)):
                (kept,) = chosen(rows, start, [self._matrix(batch)])
                start += len(batch)
                yield kept, None

    def at(self, rows: np.ndarray) -> np.ndarray:
        """Return the distributions (k, classes) float32 of some rows; each sums to 1."""
        if not len(rows):
            return np.empty((0, self.width), np.float32)
        found = rows_at(self.files, self.counts, (LISTS,), rows)[LISTS].combine_chunks()
        return dense(self._matrix(found), self.width)

    def _matrix(self, column: pa.Array) -> np.ndarray:
        """Lists of one length as (n, classes) float32."""
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        if (lengths != self.width).any():
            wrong = lengths[lengths != self.width][0]
            raise NsfastError(
                f"{self.path}: {LISTS} are of {self.width} and of {wrong} classes; give one for each"
            )
        kept = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, self.width)
        with np.errstate(invalid="ignore"):
            if not ((kept >= 0) & (kept <= 1)).all():
                raise NsfastError(f"{self.path}: {LISTS} lie outside 0 to 1; give the softmax of the logits")
        return kept


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _read_lists(path: Path, rows: int) -> Iterator[pa.Array]:
    """Go through the distributions in a Parquet file."""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(rows, columns=[LISTS]):
                yield batch.column(0)
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, str(error).splitlines()[0]) from None


def _csv(path: Path) -> pa.Table:
    """The columns of a CSV as text, so that an id such as 007 stays what it is."""
    try:
        with csv.open_csv(path) as reader:
            names = reader.schema.names
        _require_columns(path, names)
        wanted = [name for name in READ if name in names]
        options = csv.ConvertOptions(include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string()))
        return csv.read_csv(path, convert_options=options)
    except (pa.ArrowException, OSError) as error:
        raise NsfastError(f"{path} is no CSV that can be read: {str(error).splitlines()[0]}") from None


def _parquet(path: Path) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _require_columns(path, names)
            return file.read([name for name in READ if name in names])
    except (pa.ArrowException, OSError) as error:
        raise NsfastError(
            f"{path} is no Parquet file that can be read: {str(error).splitlines()[0]}"
        ) from None


def _require_columns(path: Path, names: Sequence[str]) -> None:
    for wanted in NEEDED:
        if wanted not in names:
            lower = {name.lower(): name for name in names if name not in READ}
            near = difflib.get_close_matches(wanted, lower, n=1, cutoff=0.5)
            hint = f"rename {lower[near[0]]!r} if that is it" if near else f"it has {', '.join(names)}"
            raise NsfastError(f"{path} has no column {wanted!r}; {hint}")
