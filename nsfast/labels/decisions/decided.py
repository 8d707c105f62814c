"""What is decided of which picture, as balancing and the explorer use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nsfast.errors import NsfastError
from nsfast.labels.decisions.history import History
from nsfast.labels.decisions.record import Verdict
from nsfast.labels.origin import class_number
from nsfast.labels.shards import damaged

COLUMNS = ["name", "action", "from", "to", "confidence", "who", "when", "why", "round", "conflict"]
"""Of `Decisions.rows`."""


@dataclass(frozen=True)
class Decisions:
    """What counts of each picture that is decided.

    Args:
        path: of the file.
        verdicts: by the picture's name, in the order in which they were said.
        conflicts: each person's verdict on the pictures of which people differ; the last one counts.
        warning: what was left out of the file, "" for nothing.
        later: how many actions hold for later rounds only.
    """

    path: Path
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    conflicts: dict[str, tuple[Verdict, ...]] = field(default_factory=dict)
    warning: str = ""
    later: int = 0

    @classmethod
    def of(cls, history: History, path: Path, warning: str = "") -> Decisions:
        """Return what a history comes to."""
        return cls(path, history.verdicts(), history.conflicts(), warning, history.later)

    def __len__(self) -> int:
        return len(self.verdicts)

    @cached_property
    def accepted(self) -> frozenset[str]:
        """Names of the pictures whose label is right."""
        return frozenset(n for n, v in self.verdicts.items() if v.action == "accept" and v.to is None)

    @cached_property
    def rejected(self) -> frozenset[str]:
        """Names of the pictures that are not to be used."""
        return frozenset(n for n, v in self.verdicts.items() if v.action == "reject")

    @cached_property
    def relabeled(self) -> dict[str, str]:
        """The class's name by the picture's, of those that count as another one than they are labeled."""
        return {name: verdict.to for name, verdict in self.verdicts.items() if verdict.to is not None}

    def disagreement(self, name: str) -> str:
        """Return in one line of what people differ: "'p.png': 'ann' accept 'cat', 'bob' reject"."""
        said = []
        for verdict in self.conflicts[name]:
            action, what = verdict.meaning
            said.append(
                f"{verdict.who!r} {verdict.action}" + (f" {what!r}" if what and action == "class" else "")
            )
        return f"{name!r}: {', '.join(said)}"

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each picture that is decided, with `COLUMNS`; None for what is not known."""
        return [
            {
                **{"name": name, "action": verdict.action, "from": verdict.was, "to": verdict.to},
                **{
                    "confidence": verdict.confidence,
                    "who": verdict.who,
                    "when": verdict.ts,
                    "why": verdict.why,
                },
                **{"round": verdict.round, "conflict": "yes" if name in self.conflicts else ""},
            }
            for name, verdict in self.verdicts.items()
        ]

    def carried_to(self, said: Mapping[str, str]) -> Decisions:
        """Return the decisions on labels that may have changed since.

        Who accepted a picture said that it is of the class that it had. Where another class is said now, it is heeded
        as a picture that was relabeled to that one: its verdict has that class as `to`.

        Args:
            said: the class's name by the picture's; others stay as they are.
        """
        verdicts = dict(self.verdicts)
        for name in self.accepted:
            verdict = verdicts[name]
            if said.get(name, verdict.was) != verdict.was:
                verdicts[name] = verdict._replace(to=verdict.was)
        return replace(self, verdicts=verdicts)

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
        return self.numbered(self.ids(folder), classes)

    def ids(self, folder: str | Path) -> dict[str, list[int]]:
        """Return the ids of the decided pictures by name; print a warning that names those that are not there.

        Raises:
            NsfastError: none of the pictures is there.
        """
        names = list(self.verdicts)
        ids = ids_of(folder, names)
        if unknown := sorted({*names} - {*ids}):
            some = ", ".join(map(repr, unknown[:3])) + (", ..." if len(unknown) > 3 else "")
            if not ids:
                raise NsfastError(
                    f"{self.path} decides of {some}, none of which is a picture in {folder}; give the decisions made "
                    "of these pictures"
                )
            print(f"warning: {len(unknown):,} of {len(names):,} pictures in {self.path} are not here: {some}")
        return ids

    def numbers(self, classes: tuple[str, ...]) -> dict[str, int]:
        """Return the class of the relabeled pictures as its place among the names.

        Raises:
            NsfastError: a class that does not exist, with the nearest that does.
        """
        return {name: self._number(name, to, classes) for name, to in self.relabeled.items()}

    def _number(self, name: str, wanted: str, classes: tuple[str, ...]) -> int:
        try:
            return class_number(wanted, classes)
        except NsfastError as error:
            done = "accepted as" if self.verdicts[name].action == "accept" else "relabeled to"
            raise NsfastError(f"{self.path}: {name!r} is {done} an {error}") from None

    def numbered(
        self, ids: Mapping[str, list[int]], classes: tuple[str, ...]
    ) -> tuple[frozenset[int], frozenset[int], dict[int, int]]:
        """Return what `by_id` does from the ids by name."""
        for name in self.accepted:
            if (was := self.verdicts[name].was) is not None:
                self._number(name, was, classes)
        numbers = self.numbers(classes)
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
