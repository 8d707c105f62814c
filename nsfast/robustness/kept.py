"""Parquet files that keep what models answered: a row for each model and picture, under the key of what was asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from nsfast.errors import NsfastError
from nsfast.files import atomic, fingerprint

PROTOCOL = 2
"""Counts up whenever the same pictures and models would get other answers; older files are then asked again."""

Kept = dict[str, dict[str, np.ndarray]]
"""By model the columns, each (n,)."""


def require_fingerprints(models: Iterable[str], folder: Any, fingerprints: Mapping[str, str] | None) -> None:
    """Raise `NsfastError` unless there is a fingerprint of each model, or nothing is kept."""
    if folder is not None and set(fingerprints or ()) != set(models):
        raise NsfastError("answers are kept by the models' fingerprints; give one for each model")


def keys_of(asked: str, fingerprints: Mapping[str, str] | None) -> dict[str, str]:
    """Return for each model the key that its answers are kept under: of what is asked and of the model's weights."""
    return {name: fingerprint([PROTOCOL, asked, mark]) for name, mark in (fingerprints or {}).items()}


def kept_file(folder: str | Path | None, set: str, name: str, level: float) -> Path | None:
    """Return the file below a folder that answers to one version are kept in, None without a folder.

    No two versions share it, and none lies outside the folder: what could is escaped as in addresses, and "@", which
    then stands in no name, is put before the level.
    """
    if folder is None:
        return None
    ending = f"@{float(level)!r}".removesuffix(".0") if level else ""
    return Path(folder) / _escaped(set) / f"{_escaped(name)}{ending}.parquet"


def _escaped(name: str) -> str:
    return quote(name, safe="").replace(".", "%2E") or "@all"


def read_kept(
    path: Path | None, keys: Mapping[str, str], columns: Sequence[str]
) -> tuple[dict[str, str], Kept]:
    """Return what a file says of itself, and the columns of those models whose key still is what it says.

    A file that is missing, damaged or of another make has none of them: they are asked again.
    """
    import pyarrow as pa

    if path is None or not path.is_file():
        return {}, {}
    try:
        about, found = read_columns(path, ("model", "key", *columns))
    except (pa.ArrowException, KeyError, ValueError, OSError):
        return {}, {}
    rows = {name: (found["model"] == name) & (found["key"] == key) for name, key in keys.items()}
    return about, {
        name: {column: found[column][those] for column in columns}
        for name, those in rows.items()
        if those.any()
    }


def read_columns(path: Path, columns: Sequence[str]) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Return what a file says of itself, and its columns.

    Raises:
        pyarrow.ArrowException, KeyError, ValueError, OSError: it is damaged or of another make.
    """
    import pyarrow.parquet as parquet

    with parquet.ParquetFile(path, page_checksum_verification=True) as file:
        table = file.read()
    about = {name.decode(): value.decode() for name, value in (table.schema.metadata or {}).items()}
    return about, {name: table[name].to_numpy() for name in columns}


def write_kept(
    path: Path,
    about: Mapping[str, str],
    ids: np.ndarray,
    keys: Mapping[str, str],
    answers: Mapping[str, Any],
    columns: Sequence[str],
) -> None:
    """Write the answers of several models to the same pictures.

    Args:
        about: what the file says of itself.
        ids: (n,) strings.
        keys: by model.
        answers: by model, with each column as an attribute (n,).
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    n = len(ids)
    table = {
        "id": np.tile(np.asarray(ids, dtype=str), len(answers)),
        "model": np.repeat(np.array(list(answers), dtype=str), n),
        "key": np.repeat(np.array([keys[name] for name in answers], dtype=str), n),
    }
    for name in columns:
        table[name] = np.concatenate([getattr(found, name) for found in answers.values()])
    with atomic(path) as temporary:
        parquet.write_table(
            pa.table({name: pa.array(values) for name, values in table.items()}, metadata=about),
            temporary,
            compression="zstd",
            use_dictionary=["id", "model", "key"],
            write_page_checksum=True,
        )
