"""Which pictures a label table is of: its `files.parquet`."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nsfast.errors import NsfastError
from nsfast.files import atomic, checksum
from nsfast.images import Split
from nsfast.images.index import names_stand, write_names
from nsfast.labels.shards import read_batches

if TYPE_CHECKING:
    from nsfast.images.index import PictureIndex

FILES = "files.parquet"


def unchanged(path: Path, sha256: str) -> bool:
    """Return whether a file is there and has this checksum."""
    return path.is_file() and checksum(path) == sha256


def files_stand(folder: Path, pictures: Split | PictureIndex) -> bool:
    """Return whether a folder's `files.parquet` is of these pictures; a copy is told by its length and time."""
    if isinstance(pictures, Split):
        return names_stand(folder, pictures.ids)
    try:
        kept, index = (folder / FILES).stat(), pictures.files_path.stat()
    except FileNotFoundError:
        return False
    if os.path.samestat(kept, index):
        return True
    same = kept.st_size == index.st_size
    return same and (kept.st_mtime_ns == index.st_mtime_ns or unchanged(folder / FILES, pictures.fingerprint))


def write_files(folder: Path, pictures: Split | PictureIndex, sha256: str = "") -> None:
    """Make `files.parquet` what it is for these pictures, unless it is that and has the checksum, if one is given."""
    path = folder / FILES
    if isinstance(pictures, Split):
        if not names_stand(folder, pictures.ids) or (sha256 and not unchanged(path, sha256)):
            write_names(folder, pictures.ids)
    elif not unchanged(path, pictures.fingerprint):
        with atomic(path) as temporary:
            shutil.copy2(pictures.files_path, temporary)


def same_pictures(folder: Path, pictures: Split | PictureIndex, sha256: str = "") -> bool:
    """Return whether the labels in a folder are of these pictures, as far as can be told.

    Args:
        folder: of the label table.
        pictures: the pictures.
        sha256: the checksum that `files.parquet` had when the table was finished, which tells of what it was where it
            is damaged or gone; "" where it is not known: then a file that cannot be read says nothing against them.
    """
    if not sha256:
        return files_stand(folder, pictures) or not _readable(folder / FILES)
    if not isinstance(pictures, Split):
        return pictures.fingerprint == sha256
    if unchanged(folder / FILES, sha256):
        return names_stand(folder, pictures.ids)
    with tempfile.TemporaryDirectory() as other:
        write_names(other, pictures.ids)
        return checksum(Path(other) / FILES) == sha256


def names_of(folder: Path, ids: list[int]) -> list[str]:
    """Return the names of a few pictures, by their ids; "" where it is not known."""
    if not ids or not (folder / FILES).is_file():
        return [""] * len(ids)
    found: dict[int, str] = {}
    with pq.ParquetFile(folder / FILES) as file:
        for batch in file.iter_batches(columns=["id", "name"]):
            some = batch.filter(pc.is_in(batch["id"], pa.array(ids, pa.int64())))
            found |= zip(some["id"].to_pylist(), some["name"].to_pylist(), strict=True)
    return [found.get(i, "") for i in ids]


def _readable(path: Path) -> bool:
    try:
        for _ in read_batches(path, ("id", "name")):
            pass
    except NsfastError:
        return False
    return True
