"""What a threshold keeps, in words and as a table of classes."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from nsfast.analysis.figures.page import percent
from nsfast.explore.core.preview import ThresholdTable

MOST, LONGEST = 30, 40
"""Classes that have a row, of more the largest; and characters of a name."""
COUNTS = ("predicted", "above", "kept", "dropped", "copies", "seen")
RIGHT = "right of the kept"


def describe(table: ThresholdTable) -> str:
    """Return what a threshold keeps in a few plain sentences."""
    totals = table.totals()
    text = f"{totals['kept']:,} of {totals['predicted']:,} pseudo-labels kept ({percent(totals['coverage'])})"
    text += f", {totals['copies']:,} copies added" if totals["copies"] else ""
    if "precision" in totals and totals["kept"]:
        text += f"; {percent(totals['precision'])} of the kept are right ({_interval(totals)})"
    if table.estimated:
        text += f"; about {percent(table.estimated['precision'])} of the kept are right, as validation pictures of the "
        text += f"same confidence are ({_interval(table.estimated)})"
    if "labeled" in totals:
        times = totals["times_labeled"]
        text += f". The student sees {totals['seen']:,} pictures, {times:,.{1 if times >= 0.1 else 4}f} times the "
        text += f"{totals['labeled']:,} labeled ones"
    before, after = ratio(totals["imbalance_before"]), ratio(totals["imbalance_after"])
    return f"{text}. Largest class to smallest: {before} before balancing, {after} after."


def ratio(imbalance: float) -> str:
    """Return an imbalance ratio as text, in words where it is no number."""
    if imbalance != imbalance:
        return "no labels"
    return "a class is empty" if imbalance == float("inf") else f"{imbalance:.1f}"


def classes_html(table: ThresholdTable) -> str:
    """Return a row per class and the totals as an HTML table; class names are escaped.

    Only the `MOST` largest classes have a row when there are more.
    """
    rows, known = table.rows(), table.right is not None
    shown = sorted(rows, key=lambda row: -row["predicted"])[:MOST] if len(rows) > MOST else rows
    lines = [_line("th", ["class", *COUNTS, *([RIGHT] if known else [])])]
    lines += [_line("td", _cells(row["class"], row, known)) for row in shown]
    if len(shown) < len(rows):
        lines.append(_line("td", [f"and {len(rows) - len(shown):,} smaller classes"]))
    lines.append(_line("th", _cells("all classes", table.totals(), known)))
    return f'<table class="tex2jax_ignore mathjax_ignore">{"".join(lines)}</table>'  # a name may hold two $


def _cells(name: str, row: Mapping[str, Any], known: bool) -> list[str]:
    name = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
    cells = [name, *(f"{row[key]:,}" for key in COUNTS)]
    if known:
        interval = f" ({percent(row['low'], 0)} to {percent(row['high'], 0)})" if row["kept"] else ""
        cells.append(percent(row["precision"]) + interval)
    return cells


def _interval(found: Mapping[str, Any]) -> str:
    return f"95 % interval {percent(found['low'])} to {percent(found['high'])}"


def _line(tag: str, cells: list[str]) -> str:
    style = 'style="padding: 1px 8px; text-align: {}"'
    first, others = style.format("left"), style.format("right")
    found = [
        f"<{tag} {others if place else first}>{html.escape(cell)}</{tag}>" for place, cell in enumerate(cells)
    ]
    return f"<tr>{''.join(found)}</tr>"
