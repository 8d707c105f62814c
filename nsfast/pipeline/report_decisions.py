"""What people decided in a run, as rows for its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nsfast.files import read_csv
from nsfast.labels.decisions import COLUMNS

DONE = {"accept": "accepted", "reject": "rejected", "relabel": "relabeled"}


def decisions_of_rounds(run: Path, rounds: int) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Return a row that counts for each round with decisions, and a row for each decision, once.

    Args:
        run: the run folder, with a `decisions.csv` in each round that was balanced.
        rounds: how many.

    Returns:
        `round`, `accepted`, `rejected`, `relabeled` and `conflicts`; and `picture`, `was`, `decided`, `who`, `why` and
        `first heeded in` of what one round or more heeded. All text is as the files have it: escape it.
    """
    counts, decisions = [], {}
    for number in range(1, rounds + 1):
        path = run / f"round-{number}" / "decisions.csv"
        rows = read_csv(path, ("id", *COLUMNS)) if path.is_file() else []
        if not rows:
            continue
        count = {name: sum(row["action"] == action for row in rows) for action, name in DONE.items()}
        conflicts = sum(row["conflict"] == "yes" for row in rows)
        counts.append({"round": number, **count, "conflicts": conflicts})
        for row in rows:
            said = _said(row)
            decisions.setdefault(
                (*said.values(), row["when"]), {**said, "first heeded in": f"round {number}"}
            )
    return counts, list(decisions.values())


def _said(row: dict[str, str]) -> dict[str, str]:
    """A row of `decisions.csv` as people read it."""
    decided = DONE[row["action"]] + (f" to {row['to']}" if row["action"] == "relabel" else "")
    if row["conflict"]:
        decided += " (people differ)"
    return {
        "picture": row["name"],
        "was": row["from"],
        "decided": decided,
        "who": row["who"],
        "why": row["why"],
    }
