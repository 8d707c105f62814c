"""Leakage by content: pictures of the pool that are also in validation or test, or that are in the pool twice.

Names say nothing, since the same picture may lie under many. So each picture has two codes of what is in it. Those of
the pool lie beside the label shards (`contents-00000.parquet`: id, exact, look), those of the validation and test
pictures, taken at the same size, in `held_out.parquet` (split, name, exact, look).

- `exact` is a digest of the decoded pixels. It is one-sided: pictures that are equal to the bit always share it; two
  that are not do so with a chance of 5e-20: for 300 million pictures against 100,000, about two in a million in all.
- `look` is a difference hash of 64 bits (dHash; N. Krawetz, "Kind of Like That", hackerfactor.com, 2013): it stays
  nearly the same when a picture is saved again or resized, and may be the same for pictures that only resemble each
  other. A picture that is nearly flat, or grows darker or brighter from left to right throughout, has a code that says
  nothing, and is not searched for (`nsfast.labels.alike` says where the line is). Of simple drawings of one kind, as
  digits are, many have nearly the same look.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from nsfast.errors import NsfastError, within
from nsfast.files import write_csv
from nsfast.labels.alike import Alike
from nsfast.labels.pictures import names_of
from nsfast.labels.shards import read_batches, read_parquet, write_parquet
from nsfast.labels.table import read_labels

if TYPE_CHECKING:
    from nsfast.images import PictureFiles, Split

HELD_OUT = "held_out.parquet"
HELD_OUT_SCHEMA = pa.schema(
    [("split", pa.string()), ("name", pa.string()), ("exact", pa.uint64()), ("look", pa.uint64())]
)
ROWS, COLUMNS = 8, 9  # of the cells that are compared: each with its right neighbour, 64 bits


def content_codes(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two codes (n,) uint64 of each picture: of its pixels to the bit, and of what it looks like.

    All sums are of integers below 2**53 and so exact: the codes are the same on every machine.

    Args:
        pixels: (n, height, width, channels) uint8; three channels are red, green and blue.

    Returns:
        `exact`, 8 bytes of blake2b of the shape and the pixels, and `look`, of which bit 63 - 8 * row - column says
        whether a cell of 8 rows and 9 columns of averages is brighter than its right neighbour.
    """
    n, height, width, channels = pixels.shape
    exact, look = np.empty(n, np.uint64), np.empty(n, np.uint64)
    shape = hashlib.blake2b(repr(pixels.shape[1:]).encode(), digest_size=8)
    rows, columns = _cells(height, ROWS).astype(np.float32), _cells(width, COLUMNS).T
    grey = np.array([299, 587, 114] if channels == 3 else [1] * channels, np.float64)
    step = max(1, (1 << 20) // max(1, height * width * channels))  # what lies in the cache is summed fastest
    for start in range(0, n, step):
        some = np.ascontiguousarray(pixels[start : start + step])
        for number, picture in enumerate(some, start):
            digest = shape.copy()
            digest.update(picture)
            exact[number] = int.from_bytes(digest.digest(), "little")
        # Sums over rows stay below 2**24, so single precision is exact for pictures of up to 65,793 pixels' height.
        sums = (rows @ some.reshape(len(some), height, -1).astype(np.float32)).astype(np.float64)
        cells = (sums.reshape(len(some), ROWS, width, channels) @ grey) @ columns
        bits = np.packbits((cells[:, :, :-1] > cells[:, :, 1:]).reshape(len(some), 64), axis=1)
        look[start : start + step] = bits.view(">u8")[:, 0]
    return exact, look


def _cells(pixels: int, cells: int) -> np.ndarray:
    """(cells, pixels) how much of each pixel lies in each of equal cells, in units of 1 / cells of a pixel."""
    pixel, cell = np.arange(pixels) * cells, np.arange(cells)[:, None] * pixels
    return (np.minimum(pixel + cells, cell + pixels) - np.maximum(pixel, cell)).clip(0).astype(np.float64)


def contents_name(number: int) -> str:
    """File name of the codes of a shard's pictures."""
    return f"contents-{number:05d}.parquet"


def write_contents(path: str | Path, ids: np.ndarray, exact: np.ndarray, look: np.ndarray) -> None:
    """Write the codes (n,) uint64 of a shard's pictures, ids (n,) int64, to a Parquet file atomically."""
    columns = {"id": pa.array(ids, pa.int64()), "exact": pa.array(exact, pa.uint64())}
    write_parquet(path, pa.table(columns | {"look": pa.array(look, pa.uint64())}), dictionary=())


def write_held_out(folder: str | Path, splits: Mapping[str, Split], size: int = 0) -> list[tuple[str, str]]:
    """Write the codes of the pictures that must not be in the pool to `held_out.parquet`.

    Args:
        folder: of the label table.
        splits: pictures by what they are for: "validation", "test".
        size: height and width at which the pool is decoded; 0 for the pictures' own. Arrays stay as they are.

    Returns:
        (name, reason) of pictures that cannot be decoded; they are left out.
    """
    tables, left_out = [HELD_OUT_SCHEMA.empty_table()], []
    for purpose, split in splits.items():
        pixels = split.pixels.at(size) if size and hasattr(split.pixels, "at") else split.pixels
        step = max(1, (1 << 25) // max(1, int(np.prod(pixels.shape[1:]))))
        for start in range(0, len(split), step):
            names = split.ids[start : start + step]
            decoded, places, problems = _read(pixels, slice(start, start + len(names)))
            columns = [[purpose] * len(places), names[places].astype(str), *content_codes(decoded)]
            tables.append(pa.table(columns, schema=HELD_OUT_SCHEMA))
            left_out += [(str(names[place]), why) for place, why in sorted(problems.items())]
    write_parquet(Path(folder) / HELD_OUT, pa.concat_tables(tables).combine_chunks())
    return left_out


def _read(pixels: np.ndarray | PictureFiles, rows: slice) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Return some pictures that can be decoded, their places among these rows, and what is wrong with the others."""
    if hasattr(pixels, "read"):
        return pixels.read(rows)
    return pixels[rows], np.arange(rows.stop - rows.start), {}


@dataclass(frozen=True)
class Leaks:
    """Pictures of the pool that are also held out, by id.

    Args:
        ids: (n,) int64, rows in `files.parquet`.
        splits: (n,) strings, "validation" or "test".
        held_out: (n,) strings, the name of the held-out picture that is most like it.
        distances: (n,) int64, -1 where the pixels are equal, else how many bits of the look differ, 0 to 8.
    """

    ids: np.ndarray
    splits: np.ndarray
    held_out: np.ndarray
    distances: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def leaked(folder: str | Path, near: int = -1) -> Leaks:
    """Return the pictures of a finished label table that are also in validation or test.

    What is held in memory is the held-out pictures (with `near`, about 1 kB of each) and what is found.

    Args:
        folder: of the label table, with the codes of its pictures and `held_out.parquet`.
        near: pictures whose looks differ in at most so many of 64 bits are found as well, 0 to 8; -1 for those of
            equal pixels alone.

    Raises:
        NsfastError: no table, no codes, or a file of them that is damaged.
    """
    within("near", near, -1, 8)
    path = Path(folder) / HELD_OUT
    if not path.is_file():
        raise NsfastError(f"no {HELD_OUT} in {folder}, so no picture can be told to be held out; label again")
    held_out = read_parquet(path, HELD_OUT_SCHEMA.names)
    order = np.argsort(held_out["exact"].to_numpy(), kind="stable")
    codes = held_out["exact"].to_numpy()[order]
    alike = Alike(held_out["look"].to_numpy(), near) if near >= 0 else None
    found = [np.empty((0, 3), np.int64)]
    for batch in _contents(folder, ("id", "exact") if alike is None else ("id", "exact", "look")):
        rows, places = _places(codes, batch["exact"])
        found.append(np.stack([batch["id"][rows], np.full(len(rows), -1), order[places]], 1))
        for rows, bits, others in alike.find(batch["look"]) if alike else ():
            found.append(_closest(np.stack([batch["id"][rows], bits, others], 1)))
    ids, distances, others = _closest(np.concatenate(found)).T
    splits, names = (np.array(held_out[name].to_pylist(), str)[others] for name in ("split", "name"))
    return Leaks(ids, splits, names, distances)


def _closest(found: np.ndarray) -> np.ndarray:
    """Of rows (id, distance, held-out row) the first of each id, in order."""
    found = found[np.lexsort(found.T[::-1])]
    return found[np.diff(found[:, 0], prepend=-1) > 0]


def _contents(folder: str | Path, columns: tuple[str, ...]) -> Iterator[dict[str, np.ndarray]]:
    """Go through the codes of a finished table's pictures."""
    table = read_labels(folder)
    for note in table.manifest["shards"]:
        path = table.folder / note["file"].replace("part-", "contents-")
        if not path.is_file():
            raise NsfastError(f"{path} is missing, so no picture can be compared by its content; label again")
        yield from read_batches(path, columns, expected=note["rows"])


def write_leaked(path: str | Path, leaks: Leaks, folder: str | Path) -> None:
    """Write leaked pictures to a CSV file: id, name, split, held_out, distance; names are from the folder's table."""
    names = names_of(folder, leaks.ids.tolist())
    columns = ["id", "name", "split", "held_out", "distance"]
    values = (leaks.ids.tolist(), names, leaks.splits, leaks.held_out, leaks.distances.tolist())
    write_csv(path, [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)], columns)


def duplicates(folder: str | Path, rows: int = 1 << 24) -> tuple[np.ndarray, np.ndarray]:
    """Return the pictures of a finished label table that are in the pool under a lower id, too, to the bit.

    Args:
        folder: of the label table, with the codes of its pictures.
        rows: codes that are held and sorted at once, 16 bytes each; of more pictures the codes are read several times.

    Returns:
        ids (n,) int64 in order, and for each the lowest id (n,) int64 with the same pixels.
    """
    parts, twice = -(-len(read_labels(folder)) // rows), [np.empty(0, np.uint64)]
    for part in range(parts):
        batches = _contents(folder, ("exact",))
        codes = np.concatenate([_part(batch["exact"], part, parts) for batch in batches])
        codes.sort()
        twice.append(np.unique(codes[1:][codes[1:] == codes[:-1]]))
    wanted, found = np.sort(np.concatenate(twice)), [np.empty((0, 2), np.int64)]
    for batch in _contents(folder, ("id", "exact")) if len(wanted) else ():
        some, places = _places(wanted, batch["exact"])
        found.append(np.stack([batch["id"][some], places], 1))
    ids, codes = np.concatenate(found).T
    order = np.lexsort((ids, codes))
    first = np.diff(codes[order], prepend=-1) > 0
    lowest = np.empty_like(ids)
    lowest[order] = ids[order][first][np.cumsum(first) - 1]
    again = np.flatnonzero(ids != lowest)
    again = again[np.argsort(ids[again])]
    return ids[again], lowest[again]


def _part(codes: np.ndarray, part: int, parts: int) -> np.ndarray:
    return codes[codes % np.uint64(parts) == part]


def write_duplicates(path: str | Path, ids: np.ndarray, lowest: np.ndarray, folder: str | Path) -> None:
    """Write what `duplicates` found to a CSV file: id, name, same_as; names are from the folder's table."""
    names = dict(zip(both := np.union1d(ids, lowest).tolist(), names_of(folder, both), strict=True))
    pairs = zip(ids.tolist(), lowest.tolist(), strict=True)
    rows = [{"id": i, "name": names[i], "same_as": names[kept]} for i, kept in pairs]
    write_csv(path, rows, ["id", "name", "same_as"])


def _places(ordered: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of `codes` that are among the ordered codes, and the first place there of each."""
    places = np.searchsorted(ordered, codes)
    rows = np.flatnonzero(places < len(ordered))
    rows = rows[ordered[places[rows]] == codes[rows]]
    return rows, places[rows]
