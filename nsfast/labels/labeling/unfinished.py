"""A label table while any number of processes make it: which shards are done, and what an earlier attempt left.

A shard is done when its note says that it is whole, of this origin and of just these pictures. Before a process makes
one it takes away what an attempt left of it; `files.parquet`, the histogram and the manifest belong to whoever holds
the claim "table".
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nsfast.errors import NsfastError
from nsfast.files import fingerprint
from nsfast.labels.contents import contents_name, write_contents
from nsfast.labels.labeling.claims import Claims
from nsfast.labels.labeling.identity import begun_by_another, description, difference
from nsfast.labels.labeling.leftovers import pieces, remove_temporary
from nsfast.labels.origin import Origin
from nsfast.labels.pictures import FILES, files_stand, same_pictures, unchanged, write_files
from nsfast.labels.shards import Rows, note_of, read_note, shard_name, write_shard
from nsfast.labels.table import CHECKED, MADE_OF_TABLE, LabelTable, finish_table, read_labels

if TYPE_CHECKING:
    from nsfast.images import Split
    from nsfast.images.index import PictureIndex

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
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
        self.claims = Claims(folder, fingerprint(work), description(origin, pictures, shard))

    def rows(self, number: int) -> range:
        """Return the pictures of a shard."""
        return range(number * self.shard, min((number + 1) * self.shard, self.pictures))

    @property
    def pictures_done(self) -> int:
        """How many pictures lie in shards that are known to be done."""
        return sum(len(self.rows(number)) for number in tuple(self.done))

    def finished(
        self, pictures: Split | PictureIndex | None = None, replace: bool = False
    ) -> LabelTable | None:
        """Return the table if all of it is there already.

        Args:
            pictures: of which it must be; None where that is known.
            replace: whether another table is none, since it will be made anew.

        Raises:
            NsfastError: the folder holds a finished table that is another one, and `replace` is False.
        """
        if (table := self._labeled(pictures, replace)) is None:
            return None
        kept = table.manifest["files"]
        if not all(unchanged(self.folder / name, kept.get(name, "")) for name in CHECKED):
            return None
        self.claims.remove_dead("table")  # of one who died between the manifest and this
        return table

    def _labeled(self, pictures: Split | PictureIndex | None, replace: bool) -> LabelTable | None:
        """The same, though its histogram and the list of its pictures may be gone or damaged."""
        differs = difference(self.folder, self.origin, self.pictures, pictures)
        if differs and not replace:
            raise NsfastError(
                f"{self.folder} holds a finished label table that is another: {differs}; give another folder"
            )
        if differs != "":
            return None
        try:
            table = read_labels(self.folder)
        except NsfastError:  # a shard is gone or cut short: only that one is made again
            return None
        names = [note["file"].replace("part-", "contents-") for note in table.manifest["shards"]]
        if self.contents and not all((self.folder / name).is_file() for name in names):
            return None
        return table

    def prepare(self, pictures: Split | PictureIndex, replace: bool = False) -> LabelTable | None:
        """Make the folder ready: `files.parquet` is there, and nothing of another table is in the way.

        Args:
            pictures: of which the table is.
            replace: make a finished table of another origin, or of other pictures, anew.

        Returns:
            The table, if all of it is there already.

        Raises:
            NsfastError: the folder holds another table, finished or not, and `replace` is False.
        """
        while (table := self.finished(pictures, replace)) is None:
            differs = "" if replace or self._has_manifest else begun_by_another(self.folder, self.origin)
            if differs:
                raise NsfastError(
                    f"{self.folder} holds an unfinished label table that is another: {differs}; delete it, or give "
                    "another folder"
                )
            if self._prepared(pictures):
                return None
            if not self.claims.take("table"):
                time.sleep(PATIENCE)
                continue
            try:
                if self.finished(pictures, replace) is None and not self._mended(pictures):
                    self._prepare(pictures)
            finally:
                self.claims.release("table")
        return table

    @property
    def _has_manifest(self) -> bool:
        return (self.folder / "manifest.json").is_file()

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

    def finish(self, pictures: Split | PictureIndex) -> LabelTable | None:
        """Write the manifest, or wait for the one who does; return the table, or None if a shard is to be made again.

        That is so when a process that was wrongly taken for dead, or saw an old state of a network drive, has begun one
        a second time.
        """
        while (table := self.finished(replace=True)) is None:
            if not self.claims.take("table"):
                time.sleep(PATIENCE)
                continue
            try:
                if self.finished(replace=True) is None and not self._finish(pictures):
                    return None
            finally:
                self.claims.release("table")
        return table

    def _finish(self, pictures: Split | PictureIndex) -> bool:
        """Take away what the dead left, and write the manifest; return False if a shard is not done."""
        self.done.clear()
        self.look()
        if len(self.done) < self.shards:
            return False
        for _, path in pieces(self.folder):
            if path.suffix == ".claim":
                self.claims.remove(path.stem)
            elif path.suffix == ".tmp":
                path.unlink(missing_ok=True)
        remove_temporary(self.folder)
        if not (self.folder / FILES).is_file():
            write_files(self.folder, pictures)
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

    def _prepared(self, pictures: Split | PictureIndex) -> bool:
        """Whether the folder holds no manifest, nothing of a larger table, and the right `files.parquet`."""
        if self._has_manifest or any(n >= self.shards for n, _ in pieces(self.folder)):
            return False
        return files_stand(self.folder, pictures)

    def _mended(self, pictures: Split | PictureIndex) -> bool:
        """Make what is missing of a table all of whose shards are there; return whether that is so."""
        if (table := self._labeled(pictures, replace=True)) is None:
            return False
        write_files(self.folder, pictures, table.manifest["files"].get(FILES, ""))
        shards = len(table.manifest["shards"])
        return finish_table(self.folder, table.origin, self.pictures, shards) is not None

    def _prepare(self, pictures: Split | PictureIndex) -> None:
        """What `_prepared` asks for; the claim on the table is this process's."""
        differs = difference(self.folder, self.origin, self.pictures, pictures)
        if differs != "":
            for name in MADE_OF_TABLE:
                (self.folder / name).unlink(missing_ok=True)
        if differs or (differs is None and not same_pictures(self.folder, pictures)):  # nor are the shards
            for _, path in pieces(self.folder):
                if path.suffix == ".json":
                    path.unlink(missing_ok=True)
        (self.folder / "manifest.json").unlink(missing_ok=True)
        for number, path in pieces(self.folder):
            if number >= self.shards and path.suffix == ".claim":
                self.claims.remove(path.stem)
        for number, path in pieces(self.folder):
            if number >= self.shards:
                path.unlink(missing_ok=True)
        remove_temporary(self.folder)
        write_files(self.folder, pictures)


def _claim(number: int) -> str:
    return Path(shard_name(number)).stem
