"""A person's decisions on pseudo-labels: the explorer writes them one line after another, balancing reads them.

The file is JSON Lines in UTF-8 that is only appended to. A record is one line, written at once with its newline:

    {"seq": 7, "ts": "2026-01-31T12:00:00Z", "id": "birds/0017.jpg", "action": "relabel", "from": "crow", "to": "raven",
     "conf": 0.61, "selection": "...", "run": "runs/birds", "teacher": "ab12...", "nsfast": "0.5.0"}

- `action`: "accept" (the teacher's label is right), "reject" (the picture is not to be used), "relabel" (it is of class
  `to`), or "undo".
- `id`: the picture's name as in `files.parquet`, text, never a number. An "undo" takes back the last action that is not
  undone yet: of this picture, or of any when `id` is missing or null. There must be one.
- `to`: the name of a class; needed by "relabel" alone.
- The others (`seq`, when, the class and confidence it had, what was being looked at, the run, the teacher's fingerprint
  and nsfast's version) are for people and are not read.

What counts is the last action on a picture that is not undone, so each is accepted, rejected, relabeled, or undecided.
A process that is killed may leave the last line torn: it has no newline and is no JSON, and it is left out here with a
warning. Whoever goes on with the file cuts it off first. Empty lines are nothing; any other line that is no such record
is an error, since what follows it may depend on it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nsfast.errors import NsfastError, choice
from nsfast.labels.origin import class_number
from nsfast.labels.shards import damaged

ACTIONS = ("accept", "reject", "relabel", "undo")


@dataclass(frozen=True)
class Decisions:
    """What was decided of which picture; a name is in one of the three at most.

    Args:
        path: of the file.
        accepted, rejected: names of pictures.
        relabeled: the class's name by the picture's.
        warning: what was left out of the file, "" for nothing.
    """

    path: Path
    accepted: frozenset[str]
    rejected: frozenset[str]
    relabeled: dict[str, str]
    warning: str = ""

    def __len__(self) -> int:
        return len(self.accepted) + len(self.rejected) + len(self.relabeled)

    def by_id(
        self, folder: str | Path, classes: tuple[str, ...]
    ) -> tuple[frozenset[int], frozenset[int], dict[int, int]]:
        """Return the ids of the accepted and of the rejected pictures, and the class of the relabeled ones by id.

        Prints a warning that names decided pictures that are not there.

        Args:
            folder: of the label table; its `files.parquet` says which id has which name.
            classes: names.

        Raises:
            NsfastError: a class that does not exist, with the nearest that does; or none of the pictures is there.
        """
        numbers = {}
        for name, wanted in self.relabeled.items():
            try:
                numbers[name] = class_number(wanted, classes)
            except NsfastError as error:
                raise NsfastError(f"{self.path}: {name!r} is relabeled to an {error}") from None
        names = [*self.accepted, *self.rejected, *self.relabeled]
        ids = ids_of(folder, names)
        if unknown := sorted({*names} - {*ids}):
            some = ", ".join(map(repr, unknown[:3])) + (", ..." if len(unknown) > 3 else "")
            if not ids:
                raise NsfastError(
                    f"{self.path} decides of {some}, none of which is a picture in {folder}; give the decisions made "
                    "of these pictures"
                )
            print(f"warning: {len(unknown):,} of {len(names):,} pictures in {self.path} are not here: {some}")
        accepted, rejected = (
            frozenset(i for name in some for i in ids.get(name, ()))
            for some in (self.accepted, self.rejected)
        )
        return accepted, rejected, {i: number for name, number in numbers.items() for i in ids.get(name, ())}


def ids_of(folder: str | Path, names: list[str]) -> dict[str, list[int]]:
    """Return the ids of pictures by their names, from the `files.parquet` in a folder; of those that are there."""
    path, wanted = Path(folder) / "files.parquet", pa.array(names, pa.string())
    found: dict[str, list[int]] = {}
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(columns=["id", "name"]) if names else ():
                some = batch.filter(pc.is_in(batch["name"], wanted))
                for number, name in zip(some["id"].to_pylist(), some["name"].to_pylist(), strict=True):
                    found.setdefault(name, []).append(number)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise damaged(path, str(error).splitlines()[0]) from None
    return found


def read_decisions(path: str | Path) -> Decisions:
    """Read a decisions file.

    Raises:
        NsfastError: there is no such file, or a line is no decision; names the line and what is wrong with it.
    """
    path = Path(path)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise NsfastError(
            f"no decisions in {path} ({error.strerror}); give the file that the explorer wrote"
        ) from None
    history, warning = _History(), ""
    *lines, last = text.split(b"\n")
    for number, line in enumerate([*lines, last], 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line.decode("utf-8"))
        except ValueError as error:  # both of UTF-8 and of JSON
            if number > len(lines):
                warning = (
                    f"the last line of {path} is torn and was left out; a process was killed while writing it"
                )
                break
            raise NsfastError(f"{path}, line {number}: no JSON ({error}); mend or delete it") from None
        try:
            history.add(*_checked(record))
        except NsfastError as error:
            raise NsfastError(f"{path}, line {number}: {error}") from None
    decided = history.last()
    accepted, rejected = (
        frozenset(name for name, (action, _) in decided.items() if action == wanted)
        for wanted in ("accept", "reject")
    )
    relabeled = {name: to for name, (action, to) in decided.items() if action == "relabel"}
    return Decisions(path, accepted, rejected, relabeled, warning)


def _checked(record: Any) -> tuple[str, str | None, str | None]:
    """Action, picture and class of a record."""
    if not isinstance(record, dict):
        raise NsfastError(f"{json.dumps(record)[:40]} is no record, which is {{...}}")
    action, name, to = (record.get(key) for key in ("action", "id", "to"))
    if not isinstance(action, str):
        raise NsfastError("no 'action'" if action is None else f"action is {action!r}; it must be text")
    choice("action", action, ACTIONS)
    if not (isinstance(name, str) and name) and not (action == "undo" and name is None):
        raise NsfastError(f"id is {name!r}; it must be the name of a picture")
    if action == "relabel" and not (isinstance(to, str) and to):
        raise NsfastError(f"a relabel to {to!r}; 'to' must be the name of a class")
    return action, name, to


class _History:
    """The actions in their order, of which an undo takes one back."""

    def __init__(self):
        self._actions: list[tuple[str, str, str | None] | None] = []  # None is undone
        self._of: dict[str, list[int]] = {}

    def add(self, action: str, name: str | None, to: str | None) -> None:
        """Take one more action, or one back."""
        if action != "undo":
            self._of.setdefault(name, []).append(len(self._actions))
            self._actions.append((action, name, to))
            return
        while self._actions and self._actions[-1] is None:
            self._actions.pop()
        if name is None:
            name = self._actions[-1][1] if self._actions else None
        if not self._of.get(name):
            raise NsfastError(
                "an undo, but there is no action" + (f" on {name!r}" if name else "") + " to take back"
            )
        self._actions[self._of[name].pop()] = None

    def last(self) -> dict[str, tuple[str, str | None]]:
        """Return the action and the class of each picture that is decided."""
        found = {name: self._actions[rows[-1]] for name, rows in self._of.items() if rows}
        return {name: (action, to) for name, (action, _, to) in found.items()}
