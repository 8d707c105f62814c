"""The page of the live explorer: panel, figure, selection, grid and decisions, and what each does to the others."""

from __future__ import annotations

import html
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from nsfast.errors import NsfastError
from nsfast.explore.core.page import detail_of, items_of
from nsfast.explore.core.pictures import sprite_of, tiles_of
from nsfast.explore.core.selection import Filter
from nsfast.explore.live.bar import SelectionBar
from nsfast.explore.live.figure import ChartFigure
from nsfast.explore.live.grid import PictureGrid
from nsfast.explore.live.panel import ThresholdPanel
from nsfast.explore.live.rest import AtRest

if TYPE_CHECKING:
    from nsfast.explore.core.labels import PseudoLabels
    from nsfast.explore.live.explorer import Explorer
    from nsfast.labels.balancing.balance import Balancing

PICTURES, COLUMNS, TILE, PICTURE = 24, 6, 96, 256
MANY = 100_000
"""Labels from which on margins and entropies are made ahead, so that the first sort by one of them need not wait."""
SHOWN = 50
"""Decisions that are listed."""


class Page:
    """The widgets of an explorer.

    Args:
        explorer: whose state they show and change.
    """

    def __init__(self, explorer: Explorer):
        import ipywidgets as w

        self.explorer = explorer
        self._number, self._open, self._following = 0, None, False
        self.panel = ThresholdPanel(explorer.preview, explorer.how, explorer.labeled, explorer.validation)
        self.figure = ChartFigure(explorer.labels, explorer.preview, explorer.threshold, explorer.validation)
        self.bar = SelectionBar(explorer.labels, self._try_select)
        self.grid = PictureGrid(classes=list(explorer.labels.classes))
        self.decided = w.HTML()
        self.decided.add_class("nsf-decisions")
        self._count_again = AtRest(self._count)
        self._draw_again = AtRest(self._draw)
        self._noise_again = AtRest(self._noise)
        self.panel.observe(self._panel_changed, ["threshold", "how"])
        self.panel.on_write(self._write)
        self.figure.on_select(self._clicked)
        self.figure.on_threshold(self._dragged)
        self.grid.on_action(self._act)
        header = w.HTML(f"<b>{html.escape(explorer.title)}</b>{html.escape(_sampled(explorer.labels))}")
        more = w.Accordion([self.panel.classes, self.decided], titles=("Classes", "Decisions"))
        self.widget = w.VBox(
            [header, self.panel.widget, self.figure.widget, self.bar.widget, self.grid, more],
            layout=w.Layout(width="100%", max_width="1100px"),
        )
        self.widget.add_class("nsf-explorer")
        self._list_decisions()
        self.selection_changed()
        if explorer.labels.has_scores and len(explorer.labels) >= MANY:
            Thread(target=_read_ahead, args=(explorer.labels,), daemon=True).start()

    def threshold_changed(self) -> None:
        """Follow the explorer's threshold: the line and the counts at once, the figure at rest."""
        self.panel.threshold = self.explorer.threshold
        self.figure.move(self.explorer.threshold)
        self._draw_again()

    def follow(self, how: Balancing) -> None:
        """Show another way of balancing, which the explorer is given."""
        self._following = True
        try:
            self.panel.set_trait("how", how)  # what has no widget stays what it is there
            self.panel.threshold, self.panel.per_class, self.panel.method = (
                how.threshold,
                how.per_class,
                how.method,
            )
        finally:
            self._following = False
        self._count_again()

    def selection_changed(self) -> None:
        """Show the first page of the explorer's selection."""
        self.bar.show(self.explorer.selection)
        self._open = None
        self.grid.show_detail({})
        self._show(0)

    def decisions_changed(self) -> None:
        """Mark what is decided on the page, list it, and count again."""
        self.grid.items = self._items()
        if self._open is not None:
            self._show_detail()
        self._list_decisions()
        self._count_again()

    def _show(self, number: int) -> None:
        selection, labels = self.explorer.selection, self.explorer.labels
        pages = selection.pages(PICTURES)
        self._number = min(max(number, 0), pages - 1)
        self._rows = selection.page(self._number, PICTURES)
        tiles, self._problems = tiles_of(labels.pictures, self._rows, TILE)
        self.grid.show(sprite_of(tiles, COLUMNS), TILE, self._items(), self._number, pages, len(selection))
        if self.explorer.decided is not self._listed:  # others decide, too
            self._list_decisions()
            self._count_again()

    def _items(self) -> list[dict[str, Any]]:
        return items_of(self.explorer.labels, self._rows, self.explorer.decided, self._problems)

    def _show_detail(self) -> None:
        """Show what is known of the open picture; the noised views follow, since they take longer."""
        labels = self.explorer.labels
        tile = tiles_of(labels.pictures, np.array([self._open]), PICTURE)[0]
        detail = detail_of(labels, self._open, self.explorer.decided)
        self.grid.show_detail(detail, picture_png=sprite_of(tile, 1))
        self._noise_again()

    def _noise(self) -> None:
        """Show the open picture as the student sees it."""
        noised = self.explorer.noised
        if noised is None or self._open is None:
            return
        try:
            pictures = noised(self._open)
        except NsfastError as error:
            self.grid.message = str(error)
            return
        views = sprite_of(tiles_of(pictures, range(len(pictures)), TILE)[0], len(pictures))
        self.grid.show_detail(self.grid.detail, views, len(pictures), self.grid.picture)

    def _act(self, action: str, index: int, value: str) -> None:
        """Do what a key or a button of the grid asks for."""
        self.grid.message = ""
        moves = {"next": self._number + 1, "previous": self._number - 1, "first": 0, "last": 1 << 60}
        try:
            if action in moves:
                self._show(moves[action])
            elif action == "close":
                self._open = None
            elif action == "open":
                self._open = int(self._rows[index])
                self._show_detail()
            elif action == "undo":
                self.grid.message = self.explorer.undo()
            else:
                name = self.grid.items[index]["name"]
                getattr(self.explorer, action)(name, *([value] if action == "relabel" else []))
                done = {"accept": "accepted", "reject": "rejected", "relabel": f"relabeled to {value}"}[
                    action
                ]
                self.grid.message = f"{name}: {done}"
        except (NsfastError, OSError) as error:
            self.grid.message = str(error)

    def _try_select(self, asked: dict[str, Any]) -> None:
        try:
            self.explorer.select(**asked)
        except NsfastError as error:
            self.grid.message = str(error)

    def _clicked(self, found: dict[str, Any]) -> None:
        """Show what a mark of the figure stands for, in the order that is chosen."""
        now: Filter = self.explorer.selection.filter
        self._try_select({**found, "sort": now.sort, "descending": now.descending})

    def _dragged(self, threshold: float) -> None:
        self.explorer.threshold = round(min(max(threshold, 0.0), 1.0), 3)

    def _panel_changed(self, change: dict) -> None:
        if self._following:
            return
        if change["name"] == "threshold":
            self.explorer.threshold = self.panel.threshold
        else:
            self.explorer.how = self.panel.how

    def _count(self) -> None:
        """Count what the decisions and the way of balancing change."""
        self.panel.preview = self.explorer.preview
        self._draw()

    def _draw(self) -> None:
        self.figure.update(self.explorer.preview, self.explorer.threshold)

    def _write(self) -> None:
        try:
            self.panel.say(self.explorer.write_parameters())
        except (NsfastError, OSError) as error:
            self.panel.say(str(error))

    def _list_decisions(self) -> None:
        found = self._listed = self.explorer.decided
        verdicts = list(found.verdicts.items())
        numbers = (("accepted", found.accepted), ("rejected", found.rejected), ("relabeled", found.relabeled))
        counts = ", ".join(f"{len(some):,} {what}" for what, some in numbers)
        conflicts = f", {len(found.conflicts):,} on which people differ" if found.conflicts else ""
        heads = ("picture", "decision", "was", "who", "when", "why")
        lines = [_line("th", heads)]
        for name, verdict in verdicts[: -SHOWN - 1 : -1]:
            what = f"{verdict.action} to {verdict.to}" if verdict.to is not None else verdict.action
            what += " (people differ)" if name in found.conflicts else ""
            lines.append(_line("td", (name, what, verdict.was, verdict.who, verdict.ts, verdict.why)))
        table = f"<table>{''.join(lines)}</table>" if verdicts else ""
        where = html.escape(str(found.path))
        self.decided.value = f"<div>{counts}{conflicts}: <code>{where}</code></div>{table}"


def _read_ahead(labels: PseudoLabels) -> None:
    with suppress(NsfastError):  # who asks for them is told
        for name in ("margin", "entropy"):
            labels.order(name)


def _sampled(labels: PseudoLabels) -> str:
    if not labels.sampled_from:
        return ""
    return (
        f": {len(labels):,} of {labels.sampled_from:,} labels, drawn at random; the threshold counts all of them, "
        "as they were labeled"
    )


def _line(tag: str, cells) -> str:
    style = 'style="padding: 1px 10px; text-align: left"'
    return "<tr>" + "".join(f"<{tag} {style}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"
