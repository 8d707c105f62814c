"""The table of an image set's pictures that stay in their files: which file, and which bytes of it."""

from __future__ import annotations

from pathlib import Path

from nsfast.images.files import PictureFiles


def save_files(path: Path, pictures: PictureFiles) -> None:
    """Write which files the pictures are to a Parquet table; root and form stand in its metadata.

    A picture is its path, offset and length, and its file's (a shard's: the tar's) size in bytes and time of the last
    change in nanoseconds, as `listing` describes it: a file that is replaced under its name makes another table, so
    that stages which read the old one do not stand. Both are -1 of a file that is gone.
    """
    import pyarrow as pa
    from pyarrow import parquet

    about = {"root": pictures.root, "size": str(pictures.size), "channels": str(pictures.channels)}
    about["whole"] = str(int(pictures.whole))
    sizes, modified = pictures.stamps()
    columns = {"path": pictures.paths, "offset": pictures.offsets, "length": pictures.lengths}
    columns |= {"size": sizes, "modified": modified}
    kinds = [("path", pa.string()), *((name, pa.int64()) for name in columns if name != "path")]
    parquet.write_table(pa.table(columns, pa.schema(kinds, metadata=about)), path)


def load_files(path: Path) -> PictureFiles:
    """Read what `save_files` wrote; raises ValueError, KeyError or OSError when it is damaged."""
    from pyarrow import parquet

    table = parquet.ParquetFile(path).read(["path", "offset", "length"])
    about = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    offsets, lengths = (table[name].to_numpy() for name in ("offset", "length"))
    where = (None, None) if bool((offsets < 0).all()) else (offsets, lengths)
    size, channels, whole = (int(about[name]) for name in ("size", "channels", "whole"))
    return PictureFiles(about["root"], table["path"].to_pylist(), size, channels, *where, whole=bool(whole))
