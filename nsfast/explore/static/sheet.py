"""A contact sheet: the first pictures of a selection with what is known and decided of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.patches import Rectangle

from nsfast.analysis.figures.page import COPIED, FAINT, INK, RIGHT, WIDTH, WRONG, plain
from nsfast.explore.core.page import items_of
from nsfast.explore.core.pictures import tiles_of
from nsfast.explore.core.selection import NO_CLASS, Selection
from nsfast.explore.static.figure import Head

if TYPE_CHECKING:
    from nsfast.labels.decisions import Decisions

PICTURES, COLUMNS, SIDE = 24, 8, 96
"""On a sheet, in a row; and pixels of a picture."""
CELL, LINE, LETTERS = (WIDTH - 0.2) / COLUMNS, 0.145, 13
"""Inches of a cell and of a line below it, and the letters in that."""
MARKS = {
    "accept": ("✓ accepted", RIGHT, "-"),
    "reject": ("✗ rejected", WRONG, "-"),
    "relabel": ("→", COPIED, (0, (3, 1.5))),
}
"""What a decision is called, its colour and the dashes of its frame."""


@dataclass(frozen=True)
class Sheet:
    """Pictures of a sheet.

    Args:
        title: how many of how many.
        selection: which, as it is typed.
        tiles: uint8 (k, side, side, 3).
        items: what is known of each, as `items_of`.
    """

    title: str
    selection: str
    tiles: np.ndarray
    items: list[dict[str, Any]]

    @property
    def head(self) -> Head:
        """What stands above the pictures."""
        return Head(self.title, f"{self.selection}: {self.note}" if self.note else self.selection)

    @property
    def note(self) -> str:
        """What is to be said of all pictures, "" for nothing."""
        reasons = {item["problem"] for item in self.items}
        return reasons.pop() if len(reasons) == 1 else "" if reasons else "no picture is left"

    @property
    def rows(self) -> list[float]:
        """Inches of each row of pictures with its captions."""
        rows = [self.items[start : start + COLUMNS] for start in range(0, len(self.items), COLUMNS)]
        return [CELL + LINE * max(len(captions(item)) for item in row) + 0.1 for row in rows]

    @property
    def above(self) -> float:
        """Inches above the pictures."""
        return self.head.height + 0.06

    @property
    def height(self) -> float:
        """Inches that `draw_sheet` takes."""
        return self.above + sum(self.rows)


def sheet_of(selection: Selection, decisions: Decisions | None = None) -> Sheet:
    """Return the first `PICTURES` of a selection.

    Args:
        selection: which pictures, in which order.
        decisions: what people decided.
    """
    rows = selection.page(0, PICTURES)
    tiles, problems = tiles_of(selection.labels.pictures, rows, SIDE)
    items = items_of(selection.labels, rows, decisions, problems)
    every = len(selection) == len(selection.labels)
    title = f"all {len(selection):,}" if every else f"{len(selection):,} of {len(selection.labels):,}"
    title = f"The first {len(rows)} of {title}" if len(rows) < len(selection) else title.capitalize()
    return Sheet(f"{title} pictures", str(selection.filter), tiles, items)


def captions(item: Mapping[str, Any], longest: int | None = LETTERS) -> list[tuple[str, str]]:
    """Return the lines below a picture as kind ("class", "confidence", "truth", "before", "decision") and text.

    Args:
        item: what is known of it.
        longest: letters of a line, None for any number.
    """
    lines = [("class", str(item["class"])), ("confidence", f"{item['confidence']:.3f}")]
    if item["right"] is not None:
        wrong = "✗ of no class" if item["truth"] == NO_CLASS else f"✗ is {item['truth']}"
        lines.append(("truth", "✓ right" if item["right"] else wrong))
    else:
        changed = {name: seen for name, seen in item["before"].items() if seen != item["class"]}
        lines += [("before", f"{name}: {seen}") for name, seen in list(changed.items())[-1:]]
    if item["decision"]:
        to = f" {item['to']}" if item["decision"] == "relabel" else ""
        lines.append(("decision", MARKS[item["decision"]][0] + to))
    if item["conflict"]:
        lines.append(("decision", "people differ"))
    return [(kind, text if longest is None else _cut(text, longest)) for kind, text in lines]


def draw_sheet(figure: FigureBase, sheet: Sheet) -> None:
    """Draw the pictures in rows, each with its captions below, crossed out when it is rejected.

    Args:
        figure: where; the sheet fills it.
        sheet: what.
    """
    axes = figure.add_axes((0.1 / WIDTH, 0, 1 - 0.2 / WIDTH, 1))
    axes.set(xlim=(0, COLUMNS * CELL), ylim=(sheet.height, 0))
    axes.axis("off")
    sheet.head.draw(figure)
    tops = np.cumsum([sheet.above, *sheet.rows])
    for place, item in enumerate(sheet.items):
        left, top = place % COLUMNS * CELL, tops[place // COLUMNS]
        _draw_picture(axes, sheet.tiles[place], (left + 0.04 * CELL, top), 0.92 * CELL, item)
        if item["problem"]:
            missing = "missing\n" + _cut(item["name"], LETTERS)
            axes.text(left + CELL / 2, top + CELL / 2, plain(missing), ha="center", va="center", size=8)
        for line, (kind, text) in enumerate(captions(item)):
            style = {"ha": "center", "va": "top", "size": 8.2, "color": INK}
            style["weight"] = "bold" if kind in ("class", "decision") or text.startswith("✗") else "normal"
            axes.text(left + CELL / 2, top + 0.95 * CELL + line * LINE, plain(text), **style)


def _draw_picture(
    axes: Axes, tile: np.ndarray, corner: tuple[float, float], side: float, item: Mapping[str, Any]
) -> None:
    left, top = corner
    small = "nearest" if tile.shape[0] <= SIDE else "antialiased"
    axes.imshow(tile, extent=(left, left + side, top + side, top), interpolation=small, aspect="auto")
    _, color, dashes = MARKS.get(item["decision"], ("", WRONG if item["right"] is False else FAINT, "-"))
    width = 2.6 if item["decision"] else 1.8 if item["right"] is False else 0.6
    frame = {"edgecolor": color, "linewidth": width, "linestyle": dashes}
    axes.add_patch(Rectangle(corner, side, side, fill=False, **frame))
    if item["decision"] == "reject":
        for ends in ((top, top + side), (top + side, top)):
            axes.plot((left, left + side), ends, color=WRONG, linewidth=1.6)


def _cut(text: str, longest: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
