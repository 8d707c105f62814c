"""Balancing of a label table: a person's decisions, leaked pictures and duplicates are heeded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nsfast.errors import NsfastError
from nsfast.files import read_csv, read_json, write_json

if TYPE_CHECKING:
    from nsfast.labels import LabelTable
    from nsfast.labels.balancing.balance import Balanced, Balancing


NOT_ASKED = ("seed", "calibrate", "decisions", "duplicates")


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

    @property
    def dropped(self) -> np.ndarray:
        """(n,) int64, all that are left out, whatever else is decided of them."""
        return np.unique(np.concatenate([self.leaked, self.rejected, self.twice]))

    def counts(self) -> dict[str, int]:
        """Return how many pictures each decision is of."""
        return {
            name: len(getattr(self, name))
            for name in ("leaked", "rejected", "twice", "relabeled", "accepted")
        }

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
        labels: the label table.
        decisions: the explorer's (.jsonl).
        duplicates: whether pictures that are equal to another of the pool stay; else the first of each is kept, and
            decisions on the others are lost.

    Raises:
        NsfastError: bad decisions, or no list of duplicates.
    """
    from nsfast.labels.balancing.decisions import read_decisions

    accepted, rejected, relabeled, twice = frozenset(), frozenset(), {}, np.empty(0, np.int64)
    if not duplicates:
        path = labels.folder / "duplicates.csv"
        if not path.is_file():
            raise NsfastError(
                f"no {path}, so no picture is known to be there twice; label again, or let them stay"
            )
        twice = _listed(path)
    if decisions:
        found = read_decisions(decisions)
        if found.warning:
            print(f"warning: {found.warning}")
        accepted, rejected, relabeled = found.by_id(labels.folder, labels.classes)
    leaked = _listed(labels.folder / "leaked.csv")
    return DecidedPictures(relabeled, accepted, leaked, np.array(sorted(rejected), np.int64), twice)


def balance_table(labels: LabelTable, out: str | Path, how: Balancing, decided: DecidedPictures) -> Balanced:
    """Filter and balance a label table, keep the labels of what is selected as training reads them, and say what came.

    Args:
        labels: the label table.
        out: folder for `selection.parquet`, `selection.labels.npy`, `balance.csv` and `balancing.json`.
        how: what is asked for.
        decided: of single pictures.

    Raises:
        NsfastError: as `balance`.
    """
    from nsfast.labels.balancing.balance import balance
    from nsfast.labels.storage import write_targets

    out = Path(out)
    balanced = balance(labels, how, out, decided.relabeled, decided.accepted, decided.dropped)
    write_json(out / "balancing.json", {**read_json(out / "balancing.json"), **decided.counts()})
    write_targets(labels, out / "selection.parquet", out / "selection.labels.npy")
    if said := str(decided):
        print(said)
    print(balanced.why)
    if empty := balanced.empty:
        more = f" and {len(empty) - 3:,} others" if len(empty) > 3 else ""
        names = ", ".join(map(repr, empty[:3]))
        print(f"warning: no pseudo-label of {names}{more} is confident enough; a student sees none")
    return balanced


def _listed(path: Path) -> np.ndarray:
    """The ids of a list that labeling may have left."""
    rows = read_csv(path, ("name", "split", "held_out", "same_as")) if path.is_file() else []
    return np.array([row["id"] for row in rows], np.int64)
