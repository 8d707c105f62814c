"""What is said of a finished label table: pictures that have no label, and those that must not be trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nsfast.files import read_csv

if TYPE_CHECKING:
    from nsfast.images import Split
    from nsfast.labels import LabelTable


def say_quarantined(labels: LabelTable) -> None:
    """Print how many pictures have no label and why the first has none, and which tars were cut short."""
    rows = read_csv(labels.folder / "quarantined.csv", ("name", "reason")) if labels.quarantined else []
    if rows:
        where = labels.folder / "quarantined.csv"
        print(
            f"{len(rows):,} have none, for they cannot be looked at ({rows[0]['name']}: {rows[0]['reason']}): {where}"
        )
    for row in rows:
        if row["name"].endswith(".tar"):
            print(f"warning: {row['name']} is damaged, and what comes after is missing: {row['reason']}")


def find_leaks(labels: LabelTable, held_out: dict[str, Split], near: int = -1) -> int:
    """List in `leaked.csv` which labeled pictures are held out, and in `duplicates.csv` which are there twice.

    Args:
        labels: of a table with content codes.
        held_out: pictures that must not be trained on, by what they are for.
        near: those that look alike count, too, if at most so many of 64 bits differ, 0 to 8; -1 for equal pixels alone.

    Returns:
        How many leaked.
    """
    from nsfast.labels.contents import duplicates, leaked, write_duplicates, write_held_out, write_leaked

    folder, side = labels.folder, labels.origin.preprocessing["pixels"]
    side = side[0] if isinstance(side, list) else side  # codes are of what the first teacher saw
    for name, why in write_held_out(folder, held_out, side):
        print(f"warning: {name} is held out, but cannot be looked for among the labeled ones: {why}")
    leaks = leaked(folder, near)
    write_leaked(folder / "leaked.csv", leaks, folder)
    write_duplicates(folder / "duplicates.csv", *duplicates(folder), folder)
    return len(leaks)
