"""Balancing of a label table: a person's decisions, leaked pictures and duplicates are heeded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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


def balance_table(
    labels: LabelTable,
    out: str | Path,
    how: Balancing,
    decisions: str | Path | None = None,
    duplicates: bool = True,
) -> Balanced:
    """Filter and balance a label table; what `leaked.csv` lists, for it is validated or tested on, is left out.

    Args:
        labels: the label table.
        out: folder for `selection.parquet`, `selection.labels.npy` and `balance.csv`.
        how: what is asked for.
        decisions: the explorer's (.jsonl): accepted and relabeled pictures are sure, rejected ones are left out.
        duplicates: whether pictures that are equal to another of the pool stay; else the first of each is kept.

    Raises:
        NsfastError: bad decisions, or as `balance`.
    """
    from nsfast.labels.balance import balance
    from nsfast.labels.decisions import read_decisions
    from nsfast.labels.storage import write_targets

    out = Path(out)
    accepted, dropped, relabeled = frozenset(), [_listed(labels.folder / "leaked.csv")], {}
    if not duplicates:
        dropped.append(_listed(labels.folder / "duplicates.csv"))
    if decisions:
        decided = read_decisions(decisions)
        if decided.warning:
            print(f"warning: {decided.warning}")
        accepted, rejected, relabeled = decided.by_id(labels.folder, labels.classes)
        dropped.append(np.array(sorted(rejected), np.int64))
    left_out = np.unique(np.concatenate(dropped))
    if len(left_out):
        print(f"{len(left_out):,} left out: also validated or tested on, rejected, or there twice")
    balanced = balance(labels, how, out, relabeled, accepted, left_out)
    write_targets(labels, out / "selection.parquet", out / "selection.labels.npy")
    return balanced


def _listed(path: Path) -> np.ndarray:
    """The ids of a list that labeling may have left."""
    rows = read_csv(path, ("name", "split", "held_out", "same_as")) if path.is_file() else []
    return np.array([row["id"] for row in rows], np.int64)
