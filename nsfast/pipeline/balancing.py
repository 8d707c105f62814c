"""Balancing of a label table: a person's decisions, leaked pictures and duplicates are heeded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nsfast.errors import NsfastError
from nsfast.files import read_csv, read_json, write_csv, write_json

if TYPE_CHECKING:
    from nsfast.labels import LabelTable
    from nsfast.labels.balancing.balance import Balanced, Balancing
    from nsfast.labels.decisions import Decisions


NOT_ASKED = ("seed", "calibrate", "decisions", "duplicates")
OF_RUN = "decisions.jsonl"
"""The file of a run's folder that the explorer writes; it need not exist."""
SAID = 3
"""So many conflicts are named."""


def decisions_file(run: str | Path, given: str) -> Path | None:
    """Return the file that balancing's parameter `decisions` means, None for none.

    Args:
        run: the run folder; a relative path is one in it if there is such a file, else one from here.
        given: the parameter.

    Raises:
        NsfastError: there is no such file; that of the run itself need not exist.
    """
    if not given:
        return None
    own = Path(run) / given
    found = next((path for path in (own, Path(given)) if path.is_file()), None)
    if given == OF_RUN:
        return own if own.is_file() else None
    if found is None:
        raise NsfastError(
            f"balancing.decisions is {given!r}, but there is no such file in {run} nor elsewhere; give the path of a "
            f"decisions file, {OF_RUN!r} for the run's own, or '' for none"
        )
    return found


def balancing_of(parameters: dict[str, Any], temperature: float = 1.0) -> Balancing:
    """Return what the parameters of 03_balancing ask for; raise `NsfastError` for one that is outside its range."""
    from nsfast.labels.balancing.balance import Balancing

    chosen = {name: value for name, value in parameters.items() if name not in NOT_ASKED}
    return Balancing(**chosen, seed=parameters.get("seed", 0), temperature=temperature)


@dataclass(frozen=True)
class DecidedPictures:
    """What is decided of single pictures of a label table, by id."""

    relabeled: dict[int, int]
    """The class that a person gave them; they are sure of it."""
    accepted: frozenset[int]
    """Those that a person found right; they are sure."""
    leaked: np.ndarray
    """Those that are validated or tested on, too; left out."""
    rejected: np.ndarray
    """Those that a person found wrong; left out."""
    twice: np.ndarray
    """Those that are equal to one with a lower id, where each picture is to be there once; left out."""
    decisions: Decisions | None = None
    """What people decided, as far as it is of pictures that are here."""
    ids: dict[str, list[int]] = field(default_factory=dict)
    """Of the pictures that people decided, by name."""

    @property
    def dropped(self) -> np.ndarray:
        """(n,) int64, all that are left out, whatever else is decided of them."""
        return np.unique(np.concatenate([self.leaked, self.rejected, self.twice]))

    def counts(self) -> dict[str, int]:
        """Return how many pictures each decision is of."""
        counts = {name: len(getattr(self, name)) for name in ("leaked", "rejected", "twice")}
        out = {*self.dropped.tolist()}
        counts |= {name: sum(i not in out for i in getattr(self, name)) for name in ("relabeled", "accepted")}
        return counts | {"conflicts": len(self.conflicts)}

    @property
    def conflicts(self) -> list[str]:
        """Of which pictures people differ, and how, a line each."""
        if not self.decisions:
            return []
        return [self.decisions.disagreement(name) for name in self.decisions.conflicts if name in self.ids]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row of `decisions.csv`, by id, of each picture that is decided and not left out anyway."""
        out = {*self.leaked.tolist(), *self.twice.tolist()}
        rows = self.decisions.rows() if self.decisions else []
        found = [
            {"id": number, **row}
            for row in rows
            for number in self.ids.get(row["name"], ())
            if number not in out
        ]
        return sorted(found, key=lambda row: row["id"])

    def __str__(self) -> str:
        """ "left out: 4 leaked, 1 rejected; 2 relabeled", or "" where nothing is decided."""
        count = {name: f"{number:,} {name}" for name, number in self.counts().items() if number}
        out = ", ".join(count[name] for name in ("leaked", "rejected", "twice") if name in count)
        others = ", ".join(count[name] for name in ("relabeled", "accepted") if name in count)
        return "; ".join(part for part in (f"left out: {out}" if out else "", others) if part)


def decisions_of(
    labels: LabelTable, decisions: str | Path | None = None, duplicates: bool = True
) -> DecidedPictures:
    """Return what is decided of single pictures.

    Args:
        labels: the label table; decisions that were made in a round after its own are not heeded.
        decisions: the explorer's (.jsonl).
        duplicates: whether pictures that are equal to another of the pool stay; else the first of each is kept, and
            decisions on the others are lost.

    Raises:
        NsfastError: bad decisions, or no list of duplicates.
    """
    from nsfast.labels.decisions import read_decisions

    accepted, rejected, relabeled, twice = frozenset(), frozenset(), {}, np.empty(0, np.int64)
    if not duplicates:
        path = labels.folder / "duplicates.csv"
        if not path.is_file():
            raise NsfastError(
                f"no {path}, so no picture is known to be there twice; label again, or let them stay"
            )
        twice = _listed(path)
    found, ids = None, {}
    if decisions:
        found = read_decisions(decisions, labels.origin.round)
        if found.warning:
            print(f"warning: {found.warning}")
        ids = found.ids(labels.folder)
        found = found.carried_to(_said(labels, {name: ids[name] for name in found.accepted if name in ids}))
        accepted, rejected, relabeled = found.numbered(ids, labels.classes)
    leaked, out = _listed(labels.folder / "leaked.csv"), np.array(sorted(rejected), np.int64)
    return DecidedPictures(relabeled, accepted, leaked, out, twice, found, ids)


def _said(labels: LabelTable, ids: dict[str, list[int]]) -> dict[str, str]:
    """The class that some pictures are labeled as, by name; of those that have a label."""
    names = {number: name for name, numbers in ids.items() for number in numbers}
    wanted, said = np.array(sorted(names), np.int64), {}
    for batch in labels.batches(("id", "class")) if names else ():
        rows = np.flatnonzero(np.isin(batch["id"], wanted))
        for number, predicted in zip(batch["id"][rows].tolist(), batch["class"][rows].tolist(), strict=True):
            said[names[number]] = labels.classes[predicted]
    return said


def balance_table(labels: LabelTable, out: str | Path, how: Balancing, decided: DecidedPictures) -> Balanced:
    """Filter and balance a label table, keep the labels of what is selected as training reads them, and say what came.

    Args:
        labels: the label table.
        out: folder for `selection.parquet`, `selection.labels.npy`, `balance.csv`, `balancing.json` and
            `decisions.csv`.
        how: what is asked for.
        decided: of single pictures.

    Raises:
        NsfastError: as `balance`.
    """
    from nsfast.labels.balancing.balance import balance
    from nsfast.labels.decisions import COLUMNS
    from nsfast.labels.storage import write_targets

    out = Path(out)
    balanced = balance(labels, how, out, decided.relabeled, decided.accepted, decided.dropped)
    write_json(out / "balancing.json", {**read_json(out / "balancing.json"), **decided.counts()})
    write_csv(out / "decisions.csv", decided.rows(), ["id", *COLUMNS])
    write_targets(labels, out / "selection.parquet", out / "selection.labels.npy")
    if said := str(decided):
        print(said)
    _say_heeded(decided)
    print(balanced.why)
    if empty := balanced.empty:
        more = f" and {len(empty) - 3:,} others" if len(empty) > 3 else ""
        names = ", ".join(map(repr, empty[:3]))
        print(f"warning: no pseudo-label of {names}{more} is confident enough; a student sees none")
    return balanced


def _say_heeded(decided: DecidedPictures) -> None:
    """Print whose decisions were heeded, and where people differ."""
    if not decided.decisions:
        return
    later = decided.decisions.later
    if decided.ids or later:
        heeded = len({row["name"] for row in decided.rows()})
        more = f"; {later:,} of later rounds were not" if later else ""
        print(f"decisions on {heeded:,} pictures were heeded{more}: {decided.decisions.path}")
    if conflicts := decided.conflicts:
        some = "; ".join(conflicts[:SAID]) + ("; ..." if len(conflicts) > SAID else "")
        print(
            f"warning: people differ on {len(conflicts):,} pictures, and the latest decision counts: {some}"
        )


def _listed(path: Path) -> np.ndarray:
    """The ids of a list that labeling may have left."""
    rows = read_csv(path, ("name", "split", "held_out", "same_as")) if path.is_file() else []
    return np.array([row["id"] for row in rows], np.int64)
