"""Balancing of a label table: a person's decisions, leaked pictures and duplicates are heeded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nsfast.errors import NsfastError
from nsfast.files import read_csv

if TYPE_CHECKING:
    from nsfast.labels import LabelTable
    from nsfast.labels.balance import Balanced, Balancing


NOT_ASKED = ("seed", "calibrate", "decisions", "duplicates")


def balancing_of(parameters: dict[str, Any], temperature: float = 1.0) -> Balancing:
    """Return what the parameters of 03_balancing ask for; raise `NsfastError` for one that is outside its range."""
    from nsfast.labels.balance import Balancing

    chosen = {name: value for name, value in parameters.items() if name not in NOT_ASKED}
    return Balancing(**chosen, seed=parameters.get("seed", 0), temperature=temperature)


def decisions_of(
    labels: LabelTable, decisions: str | Path | None = None, duplicates: bool = True
) -> dict[str, Any]:
    """Return what is decided of single pictures, as `balance` takes it: `relabeled`, `accepted` and `dropped` ids.

    Dropped is what `leaked.csv` lists, for it is validated or tested on, and what a person rejected.

    Args:
        labels: the label table.
        decisions: the explorer's (.jsonl): accepted and relabeled pictures are sure, rejected ones are left out.
        duplicates: whether pictures that are equal to another of the pool stay; else the first of each is kept, and
            decisions on the others are lost.

    Raises:
        NsfastError: bad decisions, or no list of duplicates.
    """
    from nsfast.labels.decisions import read_decisions

    accepted, dropped, relabeled = frozenset(), [_listed(labels.folder / "leaked.csv")], {}
    if not duplicates:
        path = labels.folder / "duplicates.csv"
        if not path.is_file():
            raise NsfastError(
                f"no {path}, so no picture is known to be there twice; label again, or let them stay"
            )
        dropped.append(_listed(path))
    if decisions:
        decided = read_decisions(decisions)
        if decided.warning:
            print(f"warning: {decided.warning}")
        accepted, rejected, relabeled = decided.by_id(labels.folder, labels.classes)
        dropped.append(np.array(sorted(rejected), np.int64))
    return {"relabeled": relabeled, "accepted": accepted, "dropped": np.unique(np.concatenate(dropped))}


def balance_table(labels: LabelTable, out: str | Path, how: Balancing, decided: dict[str, Any]) -> Balanced:
    """Filter and balance a label table, and keep the labels of what is selected as training reads them.

    Args:
        labels: the label table.
        out: folder for `selection.parquet`, `selection.labels.npy`, `balance.csv` and `balancing.json`.
        how: what is asked for.
        decided: see `decisions_of`.

    Raises:
        NsfastError: as `balance`.
    """
    from nsfast.labels.balance import balance
    from nsfast.labels.storage import write_targets

    if count := len(decided["dropped"]):
        print(f"{count:,} left out: also validated or tested on, rejected, or there twice")
    balanced = balance(labels, how, out, **decided)
    write_targets(labels, Path(out) / "selection.parquet", Path(out) / "selection.labels.npy")
    return balanced


def _listed(path: Path) -> np.ndarray:
    """The ids of a list that labeling may have left."""
    rows = read_csv(path, ("name", "split", "held_out", "same_as")) if path.is_file() else []
    return np.array([row["id"] for row in rows], np.int64)
