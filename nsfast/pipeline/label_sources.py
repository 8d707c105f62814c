"""The pictures that `nsfast label` is given: a folder, tar or array, as a model sees it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nsfast.errors import NsfastError

if TYPE_CHECKING:
    from nsfast.images import Split
    from nsfast.images.index import PictureIndex


def open_source(source: str, path: Path, about: dict[str, Any], workers: int) -> PictureIndex:
    """Open the pictures of a folder, tar or array; the first process writes their index.

    Args:
        source: the pictures.
        path: of the index, `files.parquet` of a label table's folder.
        about: the model that sees them, as `model.json` describes it.
        workers: threads that decode.

    Raises:
        NsfastError: the index is of other pictures, or those of the source have changed since.
    """
    from nsfast.images.index import write_index
    from nsfast.images.source import source_digest
    from nsfast.pipeline.run_folder import lock

    held = lock(path.with_name(f".{path.stem}.lock"), 24 * 3600, f"{path} is being made by another process")
    try:
        if not path.is_file():
            write_index(source, path)
        found = _open(path, about, workers)
        if found.source == source_digest(source):
            return found
        if any(path.parent.glob("part-*.json")):
            raise NsfastError(
                f"{path.parent} was begun with other pictures than {source} holds now; give another folder, or delete "
                "it to label all of them anew"
            )
        return _open(write_index(source, path), about, workers)
    finally:
        held.release(force=True)


def held_out_pictures(sources: tuple[str, ...], about: dict[str, Any], workers: int) -> dict[str, Split]:
    """Return the pictures of folders, tars or arrays by source, none of them decoded; what is no picture is not there.

    Args: as of `open_source`.
    """
    from nsfast.images import Split
    from nsfast.images.files import taken
    from nsfast.images.index import write_index

    found = {}
    for source in sources:
        with tempfile.TemporaryDirectory() as folder:
            index = _open(write_index(source, Path(folder) / "files.parquet"), about, workers)
            pixels, problems = index.part(0, len(index))
            names = np.array(index.names(0, len(index)), dtype=str)
        rows = np.array([row for row in range(len(names)) if row not in problems], np.int64)
        found[source] = Split(names[rows], taken(pixels, rows))
    return found


def _open(path: Path, about: dict[str, Any], workers: int) -> PictureIndex:
    from nsfast.images.index import open_index

    return open_index(path, about["pixels"], about["channels"], about.get("whole", True), workers)
