"""Files that are either whole or absent: atomic writes, checksums, JSON with one clear error."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nsfast.errors import NsfastError


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; it takes the place of `path` only when the block ends well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unique = f"{os.getpid()}x{secrets.token_hex(4)}"  # other machines may write here, too
    temporary = path.with_name(f".{path.name}.{unique}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` to `path` atomically as indented JSON."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read JSON; raise `NsfastError` naming the file when it is damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise NsfastError(
            f"{path} is damaged ({error}); restore it, or delete it to have it made again"
        ) from None


def write_csv(path: str | Path, rows: list[dict[str, Any]], columns: list[str] | None = None) -> None:
    """Write rows that share their keys to a CSV file atomically; floats with six significant digits.

    `columns` names the header where there may be no row.
    """
    import csv
    import io

    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns or list(rows[0]), lineterminator="\n")
    writer.writeheader()
    careful = csv.DictWriter(text, writer.fieldnames, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        broken = any(
            "\r" in value for value in row.values() if isinstance(value, str)
        )  # which would end the line
        (careful if broken else writer).writerow(
            {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}
        )
    write_text(path, text.getvalue())


def read_csv(path: str | Path, text: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Read a CSV file written by `write_csv`; numbers come back as int or float, columns in `text` as they are."""
    import csv

    def value(column: str, cell: str) -> Any:
        for kind in () if column in text else (int, float):
            try:
                return kind(cell)
            except ValueError:
                pass
        return cell

    with open(path, encoding="utf-8", newline="") as file:
        return [{name: value(name, cell) for name, cell in row.items()} for row in csv.DictReader(file)]


def checksum(path: str | Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return (
            hashlib.file_digest(file, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else _sha256(file)
        )


def _sha256(file) -> str:
    """sha256 by blocks: Python 3.10 has no `hashlib.file_digest`."""
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def fingerprint(value: Any) -> str:
    """Return the sha256 of a JSON-able value, independent of the order of dictionary keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
