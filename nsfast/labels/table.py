"""The label table of a folder: shards, `files.parquet` (what each id is), and `manifest.json`, written last.

A table that is being made has no manifest; the last of its shards to be finished brings it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nsfast.errors import NsfastError
from nsfast.files import checksum, read_json, write_csv, write_json
from nsfast.images.index import write_names
from nsfast.labels.histogram import Histogram
from nsfast.labels.origin import Origin
from nsfast.labels.pictures import names_of
from nsfast.labels.shards import (
    SCHEMA_VERSION,
    damaged,
    read_batches,
    read_note,
    read_parquet,
    rows_of,
    schema_of,
    shard_name,
    write_shard,
)

if TYPE_CHECKING:
    from nsfast.training.targets import Distributions

CHECKED = ("files.parquet", "histogram.parquet")
"""Files that the manifest vouches for with a checksum."""

MADE_OF_TABLE = ("held_out.parquet", "leaked.csv", "duplicates.csv")
"""Files that may be made when a table is finished, and say nothing of another one."""


class LabelTable:
    """The pseudo-labels of a folder. Columns are read when they are asked for; `batches` never holds more than a part.

    Args:
        folder: what `read_labels` was given.
        manifest: what `manifest.json` says.
    """

    def __init__(self, folder: str | Path, manifest: dict[str, Any]):
        self.folder, self.manifest = Path(folder), manifest
        self.origin = Origin.from_dict(manifest["origin"])

    def __len__(self) -> int:
        return self.manifest["rows"]

    def __repr__(self) -> str:
        return f"LabelTable({len(self):,} labels of {self.manifest['pictures']:,} pictures in {self.folder})"

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return self.origin.classes

    @property
    def paths(self) -> list[Path]:
        """The shards, in order of their first id."""
        return [self.folder / note["file"] for note in self._shards]

    @property
    def _shards(self) -> list[dict[str, Any]]:
        """The notes of the shards, in order of their first id."""
        return sorted(self.manifest["shards"], key=lambda note: (note["first"], note["file"]))

    @cached_property
    def ids(self) -> np.ndarray:
        """(n,) int64: the picture's row in `files.parquet`; not every picture has a label."""
        return self._column("id", np.int64)

    @cached_property
    def predicted(self) -> np.ndarray:
        """(n,) int64 class index of the largest probability."""
        return self._column("class", np.uint16).astype(np.int64)

    @cached_property
    def confidence(self) -> np.ndarray:
        """(n,) float16 largest probability."""
        return self._column("confidence", np.float16)

    @cached_property
    def names(self) -> np.ndarray:
        """(n,) strings: each picture's own name, as the image set has it or its path below the folder."""
        path = self.folder / "files.parquet"
        found = read_parquet(path, ("id", "name"))["name"]
        if len(found) != self.manifest["pictures"]:
            raise damaged(path, f"{len(found):,} rows for {self.manifest['pictures']:,} pictures")
        return np.array(found.take(pa.array(self.ids)).to_pylist(), dtype=str)

    @cached_property
    def vectors(self) -> Distributions:
        """The distributions (n) as they are kept."""
        from nsfast.training.targets import Distributions

        width, *names = self.origin.top or len(self.classes), *self.vector_columns
        top = self._column(names[0], np.uint16, width) if self.origin.top else None
        return Distributions(self._column(names[-1], np.float16, width), len(self.classes), top)

    @property
    def vector_columns(self) -> tuple[str, ...]:
        """The columns that hold the distributions."""
        return ("top_classes", "top_probabilities") if self.origin.top else ("probabilities",)

    @cached_property
    def quarantined(self) -> list[tuple[int, str]]:
        """(id, reason) of the pictures that have no label, by id."""
        return sorted((i, why) for note in self.manifest["shards"] for i, why in note["quarantined"])

    @cached_property
    def histogram(self) -> Histogram:
        """Labels of each class and confidence, from `histogram.parquet`."""
        return Histogram.load(self.folder / "histogram.parquet", len(self.classes))

    def batches(
        self, columns: Sequence[str] = ("id", "class", "confidence"), rows: int = 1 << 20
    ) -> Iterator[dict[str, np.ndarray]]:
        """Go through the table in parts of at most `rows`; lists come as (n, k) arrays.

        Raises:
            NsfastError: a shard is damaged or gone; names it.
        """
        for _, batch in self._batches(columns, rows):
            yield batch

    def _batches(
        self, columns: Sequence[str], rows: int = 1 << 20
    ) -> Iterator[tuple[Path, dict[str, np.ndarray]]]:
        """The same, with the shard that each part is of."""
        schema = schema_of(self.origin)
        for note in self._shards:
            path = self.folder / note["file"]
            yield from ((path, batch) for batch in read_batches(path, columns, rows, note["rows"], schema))

    def require(self, expected: Origin, ignore: tuple[str, ...] = ()) -> None:
        """Raise `NsfastError` when the labels are not what is expected; one line says which differs."""
        if differs := expected.difference(self.origin, ignore):
            raise NsfastError(f"the labels in {self.folder} are others: {differs}; label again")

    def _column(self, name: str, kind: type, *width: int) -> np.ndarray:
        found, start = np.empty((len(self), *width), kind), 0
        for batch in self.batches((name,)):
            found[start : start + len(batch[name])] = batch[name]
            start += len(batch[name])
        return found


def read_labels(folder: str | Path) -> LabelTable:
    """Open the label table of a folder.

    Raises:
        NsfastError: there is none, it is not finished, a shard is missing or cut short, or it was written with another
            version of the schema.
    """
    folder = Path(folder)
    path = folder / "manifest.json"
    if not path.is_file():
        if _old_schema(folder) == "1":
            raise NsfastError(f"{folder} has label schema 1, this nsfast reads {SCHEMA_VERSION}; label again")
        if any(folder.glob("part-*.parquet")):
            raise NsfastError(f"labeling in {folder} is not finished; run it again to go on with it")
        raise NsfastError(
            f"no label table in {folder}; run the labeling stage (02_labeling) or nsfast label first"
        )
    manifest = read_json(path)
    try:
        if manifest["schema"] != SCHEMA_VERSION:
            raise NsfastError(
                f"{folder} has label schema {manifest['schema']!r}, this nsfast reads {SCHEMA_VERSION}; label again, "
                "or read it with the nsfast that wrote it"
            )
        table = LabelTable(folder, manifest)
        for note in manifest["shards"]:
            part = folder / note["file"]
            if not part.is_file() or part.stat().st_size != note["bytes"]:
                raise damaged(part, "missing" if not part.is_file() else "cut short")
    except (KeyError, TypeError, AttributeError):
        raise damaged(path, "no manifest of a label table") from None
    return table


def _old_schema(folder: Path) -> str:
    """The schema version in the metadata of the folder's first shard, "" where there is none."""
    for path in sorted(folder.glob("part-*.parquet"))[:1]:
        try:
            return (pq.read_schema(path).metadata or {}).get(b"nsfast.schema", b"").decode(errors="replace")
        except (pa.ArrowException, OSError):
            return ""
    return ""


def finish_table(folder: str | Path, origin: Origin, pictures: int, shards: int) -> LabelTable | None:
    """Write histogram, `quarantined.csv` and manifest when every shard is there; return None while one is missing.

    Whoever finishes last may do it, and it does no harm if two do: they write the same bytes.

    Raises:
        NsfastError: a shard is damaged, or a confidence in it is none; names it.
    """
    folder = Path(folder)
    notes = [read_note(folder / shard_name(number), origin) for number in range(shards)]
    if None in notes:
        return None
    manifest: dict[str, Any] = {"schema": SCHEMA_VERSION, "origin": origin.to_dict(), "pictures": pictures}
    manifest |= {"rows": sum(note["rows"] for note in notes), "shards": notes}
    table, histogram = LabelTable(folder, manifest), Histogram(len(origin.classes))
    for path, batch in table._batches(("class", "confidence")):
        try:
            histogram.add(batch["class"], batch["confidence"])
        except NsfastError as error:
            raise damaged(path, str(error)) from None
    histogram.save(folder / "histogram.parquet")
    names = names_of(folder, [i for i, _ in table.quarantined])
    rows = [
        {"id": i, "name": name, "reason": why}
        for (i, why), name in zip(table.quarantined, names, strict=True)
    ]
    write_csv(folder / "quarantined.csv", rows, ["id", "name", "reason"])
    files = [name for name in CHECKED if (folder / name).is_file()]
    manifest["files"] = {name: checksum(folder / name) for name in files}
    write_json(folder / "manifest.json", manifest)
    return read_labels(folder)


def write_labels(
    folder: str | Path,
    probabilities: np.ndarray,
    origin: Origin,
    names: Sequence[str] | None = None,
    ids: np.ndarray | None = None,
    shard: int = 65536,
) -> LabelTable:
    """Write distributions that came from elsewhere, of any model, as a label table; one that is there is replaced.

    Args:
        folder: where to.
        probabilities: (n, classes), 0 to 1, each row of sum 1.
        origin: who labeled, and how.
        names: (pictures,) of all pictures; "0", "1", ... by default.
        ids: (n,) int64, which picture each row is of, in any order; all of them in order by default.
        shard: rows in a file.

    Raises:
        NsfastError: probabilities that are none, or not of these classes; ids that do not fit the pictures.
    """
    import torch

    folder, probabilities, n = Path(folder), np.asarray(probabilities), len(probabilities)
    ids = np.arange(n) if ids is None else np.asarray(ids, np.int64)
    pictures = len(names) if names is not None else int(ids.max(initial=-1)) + 1
    if np.shape(probabilities) != (len(ids), len(origin.classes)):
        raise NsfastError(
            f"probabilities are {np.shape(probabilities)}; give a row for each of {len(ids)} pictures and a column for "
            f"each of {len(origin.classes)} classes"
        )
    order = np.argsort(ids, kind="stable")
    wrong = ids[order][np.diff(ids[order], prepend=-1) <= 0].tolist() + ids[ids >= pictures].tolist()
    if wrong:
        raise NsfastError(
            f"id {wrong[0]} is negative, there twice or none of {pictures} pictures; give each once"
        )
    parts = [order[start : start + shard] for start in range(0, n, shard)]
    for rows in parts:
        _require_distributions(ids[rows], np.asarray(probabilities[rows], np.float32))
    (folder / "manifest.json").unlink(missing_ok=True)
    for old in (
        *folder.glob("part-*"),
        *folder.glob("contents-*"),
        *(folder / name for name in MADE_OF_TABLE),
    ):
        old.unlink(missing_ok=True)
    write_names(folder, (str(i) for i in range(pictures)) if names is None else names)
    for number, rows in enumerate(parts):
        some = torch.from_numpy(np.asarray(probabilities[rows], np.float32))
        write_shard(folder / shard_name(number), origin, rows_of(ids[rows], some, origin.top))
    return finish_table(folder, origin, pictures, len(parts))


def _require_distributions(ids: np.ndarray, probabilities: np.ndarray) -> None:
    """Raise `NsfastError` naming the first row that is no distribution, up to what float16 makes of one."""
    inside = (probabilities >= 0).all(1) & (probabilities <= 1).all(1)
    wrong = np.flatnonzero(~(inside & (abs(probabilities.sum(1) - 1) < 0.02)))
    if len(wrong):
        row = probabilities[wrong[0]]
        raise NsfastError(
            f"the probabilities of picture {ids[wrong[0]]} are no distribution: from {row.min():g} to {row.max():g}, "
            f"with a sum of {row.sum():g}; give the softmax of the logits"
        )
