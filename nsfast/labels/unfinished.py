"""A label table while any number of processes make it: which shards are done, and what an earlier attempt left.

A shard is done when its note says that it is whole, of this origin and of just these pictures. Before a process makes
one it takes away what an attempt left of it; `files.parquet`, the histogram and the manifest belong to whoever holds
the claim "table".
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nsfast.errors import NsfastError
from nsfast.files import atomic, fingerprint, read_json
from nsfast.images import Split
from nsfast.images.index import names_stand, write_names
from nsfast.labels.claims import Claims
from nsfast.labels.contents import contents_name, write_contents
from nsfast.labels.origin import Origin
from nsfast.labels.shards import SCHEMA_VERSION, Rows, note_of, read_note, shard_name, write_shard
from nsfast.labels.table import LabelTable, finish_table, read_labels

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PIECE = re.compile(r"\.?(?:part|contents)-(\d{5,})\.(?:parquet|json|claim)(?:\.\w+\.tmp)?")
OF_TABLE = re.compile(
    r"\.(?:files\.parquet|histogram\.parquet|quarantined\.csv|manifest\.json|table\.claim)\.\w+\.tmp"
)
PATIENCE = 0.2
"""Seconds between two looks at what another process does."""


class UnfinishedTable:
    """What is to be done of a label table, and what is done.

    Args:
        folder: of the table.
        origin: of the labels.
        pictures: how many there are.
        shard: pictures in a shard, 1 or more.
        contents: whether each shard has a file of content codes beside it.
    """

    def __init__(self, folder: str | Path, origin: Origin, pictures: int, shard: int, contents: bool = True):
        self.folder, self.origin, self.pictures = Path(folder), origin, pictures
        self.shard, self.contents, self.shards = shard, contents, -(-pictures // shard)
        self.done: set[int] = set()
        work = {"origin": origin.fingerprint, "pictures": pictures, "shard": shard}
        self.claims = Claims(folder, fingerprint(work))

    def rows(self, number: int) -> range:
        """Return the pictures of a shard."""
        return range(number * self.shard, min((number + 1) * self.shard, self.pictures))

    @property
    def pictures_done(self) -> int:
        """How many pictures lie in shards that are known to be done."""
        return sum(len(self.rows(number)) for number in tuple(self.done))

    def finished(self, replace: bool = False) -> LabelTable | None:
        """Return the table if all of it is there already.

        Raises:
            NsfastError: the folder holds a finished table that is another one, and `replace` is False.
        """
        path = self.folder / "manifest.json"
        if not path.is_file():
            return None
        try:
            differs = self._difference(read_json(path))
        except (NsfastError, OSError, KeyError, TypeError):  # damaged, or gone just now
            return None
        if differs:
            if replace:
                return None
            raise NsfastError(
                f"{self.folder} holds a finished label table that is another: {differs}; give another folder"
            )
        try:
            table = read_labels(self.folder)
        except NsfastError:  # a shard is gone or cut short: only that one is made again
            return None
        names = [note["file"].replace("part-", "contents-") for note in table.manifest["shards"]]
        if self.contents and not all((self.folder / name).is_file() for name in names):
            return None
        self.claims.remove_dead("table")  # of one who died between the manifest and this
        return table

    def _difference(self, manifest: dict[str, Any]) -> str:
        """In which a table differs from this one, "" for none."""
        if manifest["schema"] != SCHEMA_VERSION:
            return f"its schema is {manifest['schema']} instead of {SCHEMA_VERSION}"
        differs, pictures = self.origin.difference(Origin.from_dict(manifest["origin"])), manifest["pictures"]
        if not differs and pictures != self.pictures:
            differs = f"it is of {pictures:,} pictures instead of {self.pictures:,}"
        return differs

    def prepare(self, pictures, replace: bool = False) -> LabelTable | None:
        """Make the folder ready: `files.parquet` is there, and nothing of another table is in the way.

        Args:
            pictures: a `Split`, or what has a `files.parquet` of its own at `files_path`.
            replace: make a finished table of another origin anew.

        Returns:
            The table, if all of it is there already.
        """
        while (table := self.finished(replace)) is None:
            if self._prepared(pictures):
                return None
            if not self.claims.take("table"):
                time.sleep(PATIENCE)
                continue
            try:
                if self.finished(replace) is None:
                    self._prepare(pictures)
            finally:
                self.claims.release("table")
        return table

    def look(self) -> None:
        """See which shards have been done meanwhile, by whomever."""
        names = set(os.listdir(self.folder))
        for number in range(self.shards):
            if number not in self.done and note_of(Path(shard_name(number))).name in names:
                self.is_done(number)

    def is_done(self, number: int) -> bool:
        """Return whether a shard is whole, of this origin, and of just its pictures."""
        note, rows = read_note(self.folder / shard_name(number), self.origin), self.rows(number)
        if note is None or (self.contents and not (self.folder / contents_name(number)).is_file()):
            return False
        ids = [note["first"], note["last"]] if note["rows"] else []
        ids += [i for i, _ in note["quarantined"]]
        if note["rows"] + len(note["quarantined"]) != len(rows) or not all(i in rows for i in ids):
            return False
        self.done.add(number)
        return True

    def unclaimed(self, first: int) -> Iterator[int]:
        """Claim, one after another and once around, the shards that nobody has done or is at work on.

        Args:
            first: the shard to begin with.
        """
        for step in range(self.shards):
            number = (first + step) % self.shards
            if number in self.done or not self.claims.take(_claim(number)):
                continue
            if self.is_done(number):
                self.claims.release(_claim(number))
                continue
            note_of(self.folder / shard_name(number)).unlink(missing_ok=True)
            if not self.contents:
                (self.folder / contents_name(number)).unlink(missing_ok=True)
            yield number

    def write(
        self,
        number: int,
        rows: Rows,
        quarantined: Sequence[tuple[int, str]],
        codes: tuple[np.ndarray, np.ndarray] | None,
    ) -> None:
        """Write a shard that this process has claimed, and give up the claim.

        Args:
            codes: content codes (n,) uint64 of the rows' pictures, where the table has them.
        """
        try:
            if not self.claims.holds(_claim(number)):
                return  # someone took this process for dead and does the shard again
            if codes is not None:
                write_contents(self.folder / contents_name(number), rows.ids, *codes)
            write_shard(self.folder / shard_name(number), self.origin, rows, quarantined)
            self.done.add(number)
        except FileNotFoundError:  # the same, just now
            if self.claims.holds(_claim(number)):
                raise
        finally:
            self.claims.release(_claim(number))

    def finish(self) -> LabelTable | None:
        """Write the manifest, or wait for the one who does; return the table, or None if a shard is to be made again.

        That is so when a process that was wrongly taken for dead, or saw an old state of a network drive, has begun one
        a second time.
        """
        while (table := self.finished(replace=True)) is None:
            if not self.claims.take("table"):
                time.sleep(PATIENCE)
                continue
            try:
                if self.finished(replace=True) is None and not self._finish():
                    return None
            finally:
                self.claims.release("table")
        return table

    def _finish(self) -> bool:
        """Take away what the dead left, and write the manifest; return False if a shard is not done."""
        self.done.clear()
        self.look()
        if len(self.done) < self.shards:
            return False
        for _, path in self._pieces():
            if path.suffix == ".claim":
                self.claims.remove(path.stem)
            elif path.suffix == ".tmp":
                path.unlink(missing_ok=True)
        self._remove_temporary()
        return finish_table(self.folder, self.origin, self.pictures, self.shards) is not None

    @contextmanager
    def room(self) -> Iterator[None]:
        """Turn a full disk into one line that says how to go on.

        Raises:
            NsfastError: the disk or the quota is full, or a file may not be so large.
        """
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise
            self.look()
            free = shutil.disk_usage(self.folder).free
            raise NsfastError(
                f"{os.strerror(error.errno)} in {self.folder} ({free / 1e6:,.1f} MB free): {len(self.done)} of "
                f"{self.shards} shards are done; make room and run it again to go on"
            ) from None

    def _prepared(self, pictures) -> bool:
        """Whether the folder holds no manifest, nothing of a larger table, and the right `files.parquet`."""
        if (self.folder / "manifest.json").is_file() or any(n >= self.shards for n, _ in self._pieces()):
            return False
        if isinstance(pictures, Split):
            return names_stand(self.folder, pictures.ids)
        return _same_file(Path(pictures.files_path), self.folder / "files.parquet")

    def _prepare(self, pictures) -> None:
        """What `_prepared` asks for; the claim on the table is this process's."""
        (self.folder / "manifest.json").unlink(missing_ok=True)
        for number, path in self._pieces():
            if number >= self.shards and path.suffix == ".claim":
                self.claims.remove(path.stem)
        for number, path in self._pieces():
            if number >= self.shards:
                path.unlink(missing_ok=True)
        self._remove_temporary()
        if isinstance(pictures, Split):
            if not names_stand(self.folder, pictures.ids):
                write_names(self.folder, pictures.ids)
        elif not _same_file(Path(pictures.files_path), self.folder / "files.parquet"):
            with atomic(self.folder / "files.parquet") as temporary:
                shutil.copy2(pictures.files_path, temporary)

    def _pieces(self) -> list[tuple[int, Path]]:
        """Shards and all that belongs to one, by number: notes, content codes, claims, temporary files."""
        found = ((PIECE.fullmatch(name), name) for name in os.listdir(self.folder))
        return [(int(match[1]), self.folder / name) for match, name in found if match]

    def _remove_temporary(self) -> None:
        """Remove what a process that died was writing of the table; the claim on it is this process's."""
        for name in os.listdir(self.folder):
            if OF_TABLE.fullmatch(name):
                (self.folder / name).unlink(missing_ok=True)


def _claim(number: int) -> str:
    return Path(shard_name(number)).stem


def _same_file(one: Path, other: Path) -> bool:
    """Whether two paths are of one file, or of one and its copy, which has its length and time."""
    try:
        a, b = one.stat(), other.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(a, b) or (a.st_size, a.st_mtime_ns) == (b.st_size, b.st_mtime_ns)
