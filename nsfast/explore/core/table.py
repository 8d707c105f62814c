"""Pseudo-labels out of a table: one of nsfast, or one that another tool wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nsfast.errors import NsfastError, within
from nsfast.explore.core.foreign import foreign_files, read_foreign
from nsfast.explore.core.labels import Answers, PseudoLabels, Whole
from nsfast.explore.core.opened import CELLS, Opened, Part, by_number, chosen, said_sampled
from nsfast.explore.core.picture_rows import PictureNames, paths_below, pictures_of
from nsfast.explore.core.scores import scores_of
from nsfast.files import read_csv
from nsfast.labels.histogram import Histogram
from nsfast.labels.lookup import distributions_at, rows_at
from nsfast.labels.shards import damaged
from nsfast.labels.table import LabelTable, read_labels
from nsfast.streams import integer_hash

ROWS = 1 << 18
"""Labels that are read at once."""

ANY = 1 << 62


def open_table(
    path: str | Path,
    images: Any = None,
    truth: np.ndarray | None = None,
    others: Mapping[str, str | Path | Answers] | None = None,
    classes: Sequence[str] | None = None,
    left_out: np.ndarray | None = None,
    embedding: np.ndarray | None = None,
    most: int = 2_000_000,
) -> PseudoLabels:
    """Open a table of pseudo-labels: class and confidence at once, the rest when it is asked for.

    Arrays (`truth`, `left_out`, `embedding`, those of `images` and `Answers`) have an entry for each picture by its id,
    or by its row in a table of another tool whose ids are no integers.

    Args:
        path: a folder with nsfast's label table; or a Parquet file, a folder of them or a CSV with the columns id,
            class and confidence, and perhaps truth and probabilities; see `read_foreign`.
        images: a folder that the pictures' names are paths below (their endings may be missing), a `.npy` of uint8
            (pictures, height, width[, channels]), such an array, `PictureFiles`, or None. One that is missing is grey.
        truth: integers (pictures,), the true classes, -1 for a picture of no class; instead of the table's own column.
        others: by name, such as "round 1", other tables of these pictures, or what another model says.
        classes: names; only needed where another tool's table has classes as integers.
        left_out: bool (pictures,), those that balancing leaves out; by default those in the table's `leaked.csv`.
        embedding: float (pictures, 2), where each picture lies on a map, nan for none.
        most: labels; of more a random sample is taken, the same each time, and that is printed.

    Raises:
        NsfastError: no such table, one that is damaged or lacks a column, or arguments that do not fit it.
    """
    within("most", most, 1)
    path = Path(path).expanduser()
    opened, table = _open(path, classes, most, truth)
    if truth is not None:
        truth = opened.by_number("truth", truth)
    if left_out is not None:
        left_out = opened.by_number("left_out", left_out).astype(bool)
    elif table is not None:
        left_out = _leaked(table, opened.numbers)
    return PseudoLabels(
        opened.classes,
        opened.predicted,
        opened.confidence,
        names=opened.names.of,
        find=opened.names.find,
        scores=opened.parts and (lambda: scores_of(opened.parts(), len(opened), len(opened.classes))),
        distributions=opened.distributions,
        truth=opened.truth if truth is None else truth,
        others={name: _answers(name, said, opened, table) for name, said in (others or {}).items()},
        round=opened.round,
        pictures=pictures_of(images, opened.numbers, partial(_paths, opened, table)),
        embedding=None if embedding is None else opened.by_number("embedding", embedding),
        left_out=left_out,
        whole=opened.whole,
    )


def _open(
    path: Path, classes: Sequence[str] | None, most: int, truth: np.ndarray | None = None
) -> tuple[Opened, LabelTable | None]:
    """A table as it was read, and the label table if it is one."""
    folder = path.parent if path.name == "manifest.json" else path
    files = [] if (folder / "manifest.json").is_file() else foreign_files(path)
    if files and not any(map(_of_nsfast, files)):
        return read_foreign(path, files, classes, most, truth), None
    table = read_labels(folder)  # or says what is the matter with it
    if classes is not None and tuple(map(str, classes)) != table.classes:
        raise NsfastError(f"the label table {folder} has other classes: {', '.join(table.classes[:5])}, ...")
    return _read(table, most, truth), table


def _of_nsfast(path: Path) -> bool:
    """Whether a file is a shard of a label table; of one without manifest, since it is asked for."""
    try:
        return b"nsfast.schema" in (pq.read_schema(path).metadata or {})
    except (pa.ArrowException, OSError):
        return False


def _read(table: LabelTable, most: int, truth: np.ndarray | None) -> Opened:
    count, pictures, classes = len(table), table.manifest["pictures"], len(table.classes)
    limit, whole, right = None, None, None
    if count > most:
        limit = _limit(table, most)
        right = None if truth is None else Histogram(classes)
        whole = Whole(count, table.histogram, right)
    kept: dict[str, list[np.ndarray]] = {"id": [], "class": [], "confidence": [], "row": []}
    start = 0
    for batch in table.batches(("id", "class", "confidence"), ROWS):
        if batch["class"].max(initial=0) >= classes:
            raise damaged(table.folder, f"class {batch['class'].max()} of {classes}")
        if right is not None:
            same = by_number("truth", truth, batch["id"], pictures) == batch["class"]
            right.add(batch["class"][same], batch["confidence"][same])
        batch["row"] = np.arange(start, start + len(batch["id"]))
        start += len(batch["id"])
        if limit is not None:
            drawn = _hashes(batch["id"]) <= limit
            batch = {name: column[drawn] for name, column in batch.items()}
        for name, column in batch.items():
            kept[name].append(column)
    ids, predicted, confidence, rows = (
        np.concatenate(parts) if parts else np.empty(0, np.int64) for parts in kept.values()
    )
    if whole is not None:
        said_sampled(table.folder, len(ids), count)
    return Opened(
        table.folder,
        table.classes,
        PictureNames(lambda: _names(table, ids)),
        ids,
        pictures,
        predicted,
        confidence,
        lambda: _parts(table, None if whole is None else rows),
        lambda wanted: distributions_at(table, rows[wanted]),
        round=table.origin.round,
        whole=whole,
    )


def _hashes(ids: np.ndarray) -> np.ndarray:
    return integer_hash(ids, 0, "explored")


def _limit(table: LabelTable, most: int) -> np.uint64:
    """The largest of the `most` smallest hashes; not many more are ever held."""
    found = np.empty(0, np.uint64)
    for batch in table.batches(("id",), max(ROWS, most // 4)):
        found = np.concatenate([found, _hashes(batch["id"])])
        if len(found) > most:
            found = np.partition(found, most - 1)[:most]
    return found.max()


def _parts(table: LabelTable, rows: np.ndarray | None) -> Iterator[Part]:
    """The distributions of some rows (None for all) as `scores_of` takes them."""
    top, classes = table.origin.top, len(table.classes)
    start = 0
    for batch in table.batches(table.vector_columns, max(CELLS // (top or classes), 1)):
        columns = list(batch.values())
        *named, kept = chosen(rows, start, columns)
        start += len(columns[-1])
        yield with_second(kept, named[0], classes) if top == 1 else (kept, named[0] if named else None)


def with_second(kept: np.ndarray, named: np.ndarray, classes: int) -> Part:
    """Return, of distributions of which one class is kept, the two likeliest; the others are all alike."""
    kept = kept.astype(np.float32)
    rest = np.minimum((1 - kept) / (classes - 1), kept)
    return np.hstack([kept, rest]), np.hstack([named, named == 0])


def _names(table: LabelTable, ids: np.ndarray) -> pa.Array:
    if not (table.folder / "files.parquet").is_file():
        return pa.array(ids).cast(pa.string())
    return _of_files(table, ids, "name").column("name").combine_chunks()


def _of_files(table: LabelTable, ids: np.ndarray, *columns: str) -> pa.Table:
    """Columns of `files.parquet` of some pictures."""
    return rows_at([table.folder / "files.parquet"], [table.manifest["pictures"]], columns, ids)


def _paths(opened: Opened, table: LabelTable | None, root: str) -> dict[str, Any]:
    """Where each picture lies below a folder, as `PictureFiles` takes it."""
    index = table and table.folder / "files.parquet"
    if index and index.is_file() and (pq.read_metadata(index).metadata or {}).get(b"nsfast.kind") == b"files":
        found = _of_files(table, opened.numbers, "path", "offset", "length")
        offsets, lengths = (found[name].to_numpy() for name in ("offset", "length"))
        inside = {"offsets": offsets, "lengths": lengths} if (offsets >= 0).any() else {}
        return {"paths": found["path"].to_pylist(), **inside}
    return {"paths": paths_below(root, opened.names.every)}


def _leaked(table: LabelTable, ids: np.ndarray) -> np.ndarray | None:
    """bool (n,), which pictures are validated or tested on, too, as far as labeling has looked for that."""
    path = table.folder / "leaked.csv"
    if not path.is_file():
        return None
    return np.isin(ids, [row["id"] for row in read_csv(path, ("name", "split", "held_out", "same_as"))])


def _answers(name: str, said: str | Path | Answers, opened: Opened, table: LabelTable | None) -> Answers:
    """What another model says of the pictures that were opened."""
    if isinstance(said, Answers):
        predicted, distributions = opened.by_number(f"what {name!r} says", said.predicted), said.distributions
        return Answers(predicted, distributions and (lambda rows: distributions(opened.numbers[rows])))
    path = Path(said).expanduser()
    if table is not None and (path / "manifest.json").is_file():
        return _same_pictures(table, read_labels(path), opened.numbers)
    other, _ = _open(path, opened.classes, ANY)
    rows = pc.index_in(opened.names.every, value_set=other.names.every).fill_null(-1).to_numpy()
    if not (rows >= 0).any():
        raise NsfastError(f"{path} has none of the pictures of {opened.path}, as {opened.names.of([0])[0]!r}")
    predicted = np.where(rows >= 0, other.predicted[rows], -1)
    return Answers(predicted, other.distributions and partial(_known, other, rows))


def _known(other: Opened, rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Distributions of pictures that another table may have, nan where it has not."""
    rows = rows[wanted]
    found = np.full((len(rows), len(other.classes)), np.nan, np.float32)
    if (rows >= 0).any():
        found[rows >= 0] = other.distributions(rows[rows >= 0])
    return found


def _same_pictures(table: LabelTable, other: LabelTable, ids: np.ndarray) -> Answers:
    """What another label table says of pictures."""
    if differs := _difference(table, other):
        raise NsfastError(f"the labels in {other.folder} and {table.folder} cannot be compared: {differs}")
    order, start = np.argsort(ids, kind="stable"), 0
    predicted, rows = np.full(len(ids), -1, np.int32), np.full(len(ids), -1)
    for batch in other.batches(("id", "class"), ROWS):
        place = np.searchsorted(ids, batch["id"], sorter=order)
        mine = order[np.minimum(place, len(ids) - 1)]
        both = ids[mine] == batch["id"]
        predicted[mine[both]], rows[mine[both]] = batch["class"][both], start + np.flatnonzero(both)
        start += len(both)
    return Answers(predicted, lambda wanted: distributions_at(other, rows[wanted]))


def _difference(table: LabelTable, other: LabelTable) -> str:
    """In a few words why two tables are not of the same pictures and classes; "" where they are."""
    if differs := table.origin.difference(other.origin, ("teacher", "round", "preprocessing", "top")):
        return differs
    mine, theirs = (found.manifest for found in (table, other))
    if mine["pictures"] != theirs["pictures"]:
        return f"it is of {theirs['pictures']:,} pictures instead of {mine['pictures']:,}"
    names = [found.get("files", {}).get("files.parquet") for found in (mine, theirs)]
    return "its pictures have other names" if not table.origin.pictures and names[0] != names[1] else ""
