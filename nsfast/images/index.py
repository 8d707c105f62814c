"""`files.parquet`: which picture each id is, of any number of them, written and read a part at a time.

An index is made of a folder of pictures and tars, of one tar, or of one array; `open_index` gives its pictures back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice, repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nsfast.errors import choice
from nsfast.files import atomic, checksum
from nsfast.images.files import PictureFiles
from nsfast.images.listing import ENDINGS, File, is_shard, shown, walk
from nsfast.images.problem import ImageProblem
from nsfast.images.shards import walk_shard
from nsfast.images.source import source_digest

FILES = pa.schema(
    [
        ("id", pa.int64()),
        ("name", pa.string()),
        ("path", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("problem", pa.string()),
        ("size", pa.int64()),
        ("modified", pa.int64()),
    ]
)
"""Columns of `files.parquet`: id (its row), the picture's own name, its file below the root ("" where there is none, as
in an array), the bytes of it (-1 for a whole file), why it is no picture ("" where it may be one), and of its file (a
tar, an array) the size in bytes and the time of the last change in nanoseconds, -1 where there is none: when a file is
replaced under its name the index becomes another. Metadata: `nsfast.kind` ("files", "array", "names"), `nsfast.root`
(folder of the files; of an array its .npy) and `nsfast.shape` (of an array's picture: height, width, channels)."""

ROW_GROUP = 65536
"""Rows that are written and read at a time."""

PARQUET = {"compression": "zstd", "use_dictionary": False, "write_page_checksum": True}
"""Nearly every value is another; a dictionary made the index of a million pictures in tars three times as large."""


class _Row(NamedTuple):
    """What stands in a row but its id."""

    name: str
    path: str = ""
    offset: int = -1
    length: int = -1
    problem: str = ""
    size: int = -1
    modified: int = -1


def write_names(folder: str | Path, names: Iterable[str]) -> None:
    """Write `files.parquet` of pictures that are rows of an image set; of the names no more are held than a part."""
    _write(Path(folder) / "files.parquet", (_Row(str(name)) for name in names), {"nsfast.kind": "names"})


def names_stand(folder: str | Path, names: Sequence[str]) -> bool:
    """Return whether `files.parquet` is of these pictures, rows of an image set, already."""
    start = 0
    try:
        with pq.ParquetFile(Path(folder) / "files.parquet", page_checksum_verification=True) as file:
            if file.schema_arrow != FILES or file.metadata.num_rows != len(names):
                return False
            for batch in file.iter_batches(ROW_GROUP, columns=["name", "path"]):
                some = [str(name) for name in names[start : start + len(batch)]]
                if batch["name"].to_pylist() != some or any(batch["path"].to_pylist()):
                    return False
                start += len(batch)
    except (pa.ArrowException, OSError):
        return False
    return True


def write_index(source: str | Path, path: str | Path, progress: Callable[[int], None] | None = None) -> Path:
    """Write down which pictures there are, without opening one; memory does not grow with their number.

    Rows come folder by folder, shallow ones first, and by name in a folder; the pictures of a tar stand where its name
    does, in the order of the tar. What cannot be a picture (another ending, an empty file, a link that leads nowhere, a
    folder that may not be read, a tar that is damaged) is a row with its problem. Hidden files are not looked at, nor
    what in a tar does not end like a picture.

    Args:
        source: folder of pictures and .tar shards at any depth, one .tar, or one .npy of uint8 pictures
            (n, height, width, channels).
        path: of the index.
        progress: called with the number of rows so far, every 65,536.

    Raises:
        ImageProblem: there is no such source or no picture in it, or the index would lie among the pictures.
    """
    source, path = Path(os.path.abspath(Path(source).expanduser())), Path(path)
    if source.is_dir():
        if source.resolve() in path.resolve().parents:
            raise ImageProblem(f"{path} would lie in the folder of pictures {source}; write it elsewhere")
        root, files = source, _opened(walk(source, shards=True))
    elif source.suffix.lower() == ".npy" and source.is_file():
        return _write_array(source, path, progress)
    elif source.suffix.lower() == ".tar" and source.is_file():
        info = source.stat()
        tar = File(shown(source.name), str(source), info.st_size, info.st_mtime_ns)
        root, files = source.parent, _opened(iter([tar]))
    else:
        raise ImageProblem(
            f"no pictures at {str(source)!r}; give a folder of pictures and .tar shards, one .tar or one .npy"
        )
    about = {"nsfast.kind": "files", "nsfast.root": os.fsencode(root), "nsfast.source": source_digest(source)}
    prefix = os.path.join(root, "")
    rows = _some_good((_row(file, shard, prefix) for file, shard in files), source)
    return _write(path, rows, about, progress)


def _opened(files: Iterator[File]) -> Iterator[tuple[File, File]]:
    """Each file that is no folder, and the shard that it is in or itself; a shard is opened and gone through."""
    for file in files:
        if file.id.endswith("/") and not file.problem:
            continue
        inside = walk_shard(file) if is_shard(file) and not file.problem else [file]
        yield from zip(inside, repeat(file))


def _row(file: File, shard: File, prefix: str) -> _Row:
    """One row; what may not be opened has no path."""
    path = "" if file.problem else file.path.removeprefix(prefix)
    length = file.size if file.offset >= 0 else -1
    return _Row(file.id, path, file.offset, length, file.problem, shard.size, shard.modified)


def _some_good(rows: Iterator[_Row], source: Path) -> Iterator[_Row]:
    """Give the rows on; raise at the end where none is of a picture."""
    first, good = "", False
    for row in rows:
        good = good or not row.problem
        first = first or f"; {row.name}: {row.problem}"
        yield row
    if not good:
        raise ImageProblem(f"no picture ({', '.join(ENDINGS)}) in {source}{first}")


def _write_array(source: Path, path: Path, progress: Callable[[int], None] | None) -> Path:
    pixels, info = _array(source), source.stat()
    about = {
        "nsfast.kind": "array",
        "nsfast.root": os.fsencode(source),
        "nsfast.source": source_digest(source),
    }
    about["nsfast.shape"] = ",".join(map(str, pixels.shape[1:]))
    rows = (_Row(str(i), size=info.st_size, modified=info.st_mtime_ns) for i in range(len(pixels)))
    return _write(path, rows, about, progress)


def _array(source: Path) -> np.ndarray:
    """Map the pictures of a .npy into memory; nothing in it is ever executed."""
    try:
        pixels = np.lib.format.open_memmap(source, "r")  # raises for objects, which it would have to unpickle
    except (OSError, ValueError) as error:
        raise ImageProblem(f"{source} is no array of pictures: {' '.join(str(error).split())}") from None
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or not pixels.size:
        raise ImageProblem(
            f"{source} holds {pixels.dtype} {pixels.shape}; give uint8 (n, height, width, 1 or 3), at least one"
        )
    return pixels


def _write(
    path: Path,
    rows: Iterable[_Row],
    about: dict[str, str | bytes],
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write rows as they come, a row group at a time."""
    numbered = ((id, *row) for id, row in enumerate(rows))
    few = iter(lambda: list(islice(numbered, 4096)), [])  # as Arrow they take less
    schema, done = FILES.with_metadata(about), 0
    with atomic(path) as temporary:
        with pq.ParquetWriter(temporary, schema, **PARQUET) as writer:
            while batches := [_batch(some, schema) for some in islice(few, ROW_GROUP // 4096)]:
                writer.write_table(pa.Table.from_batches(batches))
                done += sum(map(len, batches))
                if progress:
                    progress(done)
        with open(temporary, "rb") as file:  # a full disk may say so only now
            os.fsync(file.fileno())
    return path


def _batch(rows: list[tuple], schema: pa.Schema) -> pa.RecordBatch:
    columns = zip(zip(*rows, strict=True), schema, strict=True)
    return pa.record_batch([pa.array(column, field.type) for column, field in columns], schema)


class PictureIndex:
    """The pictures of an index, in parts: what is read is the row groups of those that are asked for.

    Args:
        path: of the index that `write_index` wrote.
        size: height and width in pixels that files are decoded to, 1..4096; an array's pictures stay as they are.
        channels: 1 (grey) or 3 (colour); an array has its own.
        whole: whether the whole centre square is kept of a file's picture, without ImageNet's border.
        workers: threads that decode.

    Raises:
        ImageProblem: there is no index, it is damaged, or the array that it is of is gone or another.
    """

    def __init__(self, path: str | Path, size: int, channels: int = 3, whole: bool = False, workers: int = 2):
        self.files_path = Path(path)
        self._form = {"size": size, "channels": channels, "whole": whole, "workers": workers}
        try:
            self._metadata = pq.read_metadata(path)
            about = self._metadata.metadata
            kind, root = about[b"nsfast.kind"].decode(), about.get(b"nsfast.root", b"")
            shape, self.source = (
                about.get(name, b"").decode() for name in (b"nsfast.shape", b"nsfast.source")
            )
            self.kind, self.root = choice("kind of index", kind, ("files", "array")), os.fsdecode(root)
            self._picture = tuple(int(edge) for edge in shape.split(",")) if shape else (size, size, channels)
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            raise self._damaged(error) from None
        sizes = [self._metadata.row_group(i).num_rows for i in range(self._metadata.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])
        self.part(0, 0)  # the form is right, and an array is there

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (colour)."""
        return self._picture[2]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the array that all pictures make."""
        return len(self), *self._picture

    @cached_property
    def fingerprint(self) -> str:
        """The checksum of the index: of the names, places, sizes and times of the files, not of their contents."""
        return checksum(self.files_path)

    def __len__(self) -> int:
        return self._metadata.num_rows

    def __repr__(self) -> str:
        return f"PictureIndex({len(self):,} pictures of {self.root})"

    def part(self, start: int, stop: int) -> tuple[PictureFiles | np.ndarray, dict[int, str]]:
        """Return the pictures `start` to `stop`, without decoding one, and place and reason of those that are none.

        Returns:
            `PictureFiles`, or of an array a view (k, height, width, channels) uint8 of the file; and the problems, by
            place in it. Those pictures are not to be read: they have no file.

        Raises:
            ImageProblem: the index is damaged, or the array is gone or another.
        """
        if self.kind == "array":
            pixels = _array(Path(self.root))  # mapped anew each time: what was read of it is not held
            if pixels.shape != self.shape:
                raise self._damaged(f"{self.root} is {pixels.shape} now and was {self.shape}")
            return pixels[start:stop], {}
        columns = self._rows(start, stop, ["path", "offset", "length", "problem"])
        offsets, lengths = columns["offset"].to_numpy(), columns["length"].to_numpy()
        where = (offsets, lengths) if (offsets >= 0).any() else (None, None)
        pictures = PictureFiles(
            self.root, columns["path"].to_pylist(), offsets=where[0], lengths=where[1], **self._form
        )
        problems = enumerate(columns["problem"].to_pylist())
        return pictures, {place: why for place, why in problems if why}

    def names(self, start: int, stop: int) -> list[str]:
        """Return the names of the pictures `start` to `stop`."""
        return self._rows(start, stop, ["name"])["name"].to_pylist()

    def _rows(self, start: int, stop: int, columns: list[str]) -> pa.Table:
        """Read some rows out of the row groups that hold them."""
        start, stop, _ = slice(start, stop).indices(len(self))
        first, last = np.searchsorted(self._starts, start, "right") - 1, np.searchsorted(self._starts, stop)
        groups = range(first, last) if start < stop else []
        try:
            with pq.ParquetFile(
                self.files_path, metadata=self._metadata, page_checksum_verification=True
            ) as file:
                table = file.read_row_groups(groups, columns)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise self._damaged(error) from None
        return table.slice(start - self._starts[first], max(stop - start, 0))

    def _damaged(self, error: Exception | str) -> ImageProblem:
        said = " ".join(str(error).split()) or type(error).__name__
        return ImageProblem(f"{self.files_path} is no index of pictures ({said}); write it again")


def open_index(
    path: str | Path, size: int, channels: int = 3, whole: bool = False, workers: int = 2
) -> PictureIndex:
    """Open what `write_index` wrote; arguments and errors are those of `PictureIndex`."""
    return PictureIndex(path, size, channels, whole, workers)
