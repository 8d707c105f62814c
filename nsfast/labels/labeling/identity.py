"""What tells one labeling from another, in words: where a folder holds another's table, or another is at work in it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from nsfast.errors import NsfastError
from nsfast.files import fingerprint, read_json
from nsfast.labels.origin import Origin
from nsfast.labels.pictures import FILES, same_pictures
from nsfast.labels.shards import SCHEMA_VERSION, read_note

if TYPE_CHECKING:
    from nsfast.images import Split
    from nsfast.images.index import PictureIndex


def difference(
    folder: Path, origin: Origin, count: int, pictures: Split | PictureIndex | None = None
) -> str | None:
    """Return in which the finished table of a folder is another, "" for in nothing; None where there is none.

    The precision in which the teacher computed may be another: devices differ in it.

    Args:
        folder: of the table.
        origin: of the labels that are wanted.
        count: of how many pictures.
        pictures: of which; None where that is known.
    """
    try:
        manifest = read_json(folder / "manifest.json")
        if manifest["schema"] != SCHEMA_VERSION:
            return f"its schema is {manifest['schema']} instead of {SCHEMA_VERSION}"
        found = Origin.from_dict(manifest["origin"])
        precision = {name: value for name, value in found.preprocessing.items() if name == "precision"}
        wanted = replace(origin, preprocessing={**origin.preprocessing, **precision})
        differs, there = wanted.difference(found), manifest["pictures"]
        sha256 = manifest["files"].get(FILES, "")
    except (NsfastError, OSError, KeyError, TypeError, AttributeError):  # damaged, or gone just now
        return None
    if not differs and there != count:
        return f"it is of {there:,} pictures instead of {count:,}"
    if not differs and pictures is not None and not same_pictures(folder, pictures, sha256):
        return "it is of other pictures, though of as many"
    return differs


def begun_by_another(folder: Path, origin: Origin) -> str:
    """Return in which the first shard that is done in a folder is another's; "" where it is not, or there is none."""
    for path in sorted(folder.glob("part-*.parquet")):
        note = read_note(path)
        if note is None:
            continue
        if note["origin"] == origin.fingerprint:
            return ""
        try:
            found = Origin.from_dict(json.loads(pq.read_schema(path).metadata[b"nsfast.origin"]))
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):
            return "where its labels are from cannot be read"
        return origin.difference(found) or "where its labels are from"
    return ""


def description(origin: Origin, count: int, shard: int) -> dict[str, Any]:
    """Return what a labeling is, as plain data by names that can be said; small, for it stands in every claim.

    Args:
        origin: of the labels.
        count: of how many pictures.
        shard: pictures in a shard.
    """
    names = fingerprint(list(origin.classes))
    about = {"list of classes": f"{len(origin.classes)} of checksum {names[:12]}", "teacher": origin.teacher}
    about |= {"round": origin.round, **origin.preprocessing, "top": origin.top}
    about |= {"checksum of the pictures": origin.pictures, "number of pictures": count, "shard size": shard}
    return about
