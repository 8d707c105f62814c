"""What a source of pictures holds, told from the names, sizes and times of its files alone."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from nsfast.images.listing import File, walk


def source_digest(source: str | Path) -> str:
    """Return a checksum of a source's place, and of the names, sizes and times of its files; none is opened.

    Args:
        source: folder of pictures and .tar shards, one .tar, or one .npy; see `images.index.write_index`.
    """
    source = Path(os.path.abspath(Path(source).expanduser()))
    digest = hashlib.sha256(os.fsencode(source))
    if source.is_dir():
        files = walk(source, shards=True)
    else:
        info = source.stat()
        files = iter([File(source.name, str(source), info.st_size, info.st_mtime_ns)])
    for file in files:
        digest.update(repr((file.id, file.size, file.modified, file.problem)).encode())
    return digest.hexdigest()
