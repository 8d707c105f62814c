"""What lies in the folder of a label table besides finished files: pieces by shard, and what the dead were writing."""

from __future__ import annotations

import os
import re
from pathlib import Path

_PIECE = re.compile(r"\.?(?:part|contents)-(\d{5,})\.(?:parquet|json|claim)(?:\.\w+\.tmp)?")
_OF_TABLE = re.compile(
    r"\.(?:files\.parquet|histogram\.parquet|quarantined\.csv|manifest\.json|table\.claim)\.\w+\.tmp"
)


def pieces(folder: Path) -> list[tuple[int, Path]]:
    """Return shards and all that belongs to one, by number: notes, content codes, claims, temporary files."""
    found = ((_PIECE.fullmatch(name), name) for name in os.listdir(folder))
    return [(int(match[1]), folder / name) for match, name in found if match]


def remove_temporary(folder: Path) -> None:
    """Remove what a process that died was writing of the table itself; whoever asks has the claim on it."""
    for name in os.listdir(folder):
        if _OF_TABLE.fullmatch(name):
            (folder / name).unlink(missing_ok=True)
