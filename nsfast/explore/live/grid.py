"""The grid of the live explorer: a page of pictures, one of them in detail, and keys to decide with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
from traitlets import Bytes, Dict, Int, List, Unicode

DECISIONS = ("accept", "reject", "relabel")
MOVES = ("next", "previous", "first", "last")
ACTIONS = (*DECISIONS, "undo", "open", "close", *MOVES)

Callback = Callable[[str, int, str], None]


class PictureGrid(anywidget.AnyWidget):
    """A page of pictures with what is said of them, beside it one picture in detail.

    It knows no labels: it shows what `show` and `show_detail` are given, and tells `on_action` what is asked for with
    keys or buttons.
    """

    _esm = "\n".join(
        Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("picture.js", "grid.js")
    )
    _css = Path(__file__).with_name("grid.css")

    sprite = Bytes(help="a PNG of all tiles, row by row").tag(sync=True)
    tile = Int(96, help="side of a tile in pixels").tag(sync=True)
    columns = Int(6, help="tiles side by side where there is room").tag(sync=True)
    items = List(help="what is said of each tile, see `core.page.items_of`").tag(sync=True)
    classes = List(help="names of all classes").tag(sync=True)
    page = Int(help="which page this is, from 0").tag(sync=True)
    pages = Int(1, help="how many there are").tag(sync=True)
    total = Int(help="pictures on all pages").tag(sync=True)
    selected = Int(help="which tile is selected, from 0").tag(sync=True)
    detail = Dict(help="what is said of one picture, see `core.page.detail_of`; {} for none").tag(sync=True)
    picture = Bytes(help="a PNG of that picture, larger than its tile; b'' where the tile has to do").tag(
        sync=True
    )
    views = Bytes(help="a PNG of that picture as the student sees it, square and side by side").tag(sync=True)
    views_count = Int(help="how many of them").tag(sync=True)
    message = Unicode(help="one line on what was done last").tag(sync=True)

    def __init__(self, **traits: Any):
        super().__init__(**traits)
        self._callbacks: list[Callback] = []
        self.on_msg(self._heard)

    def show(
        self, tiles_png: bytes, tile: int, items: list[dict[str, Any]], page: int, pages: int, total: int
    ) -> None:
        """Show a page, its first picture selected.

        Args:
            tiles_png: `columns` tiles in a row, as many rows as are needed.
            tile: side of a tile in pixels.
            items: one for each tile, see `core.page.items_of`.
            page: which it is, from 0.
            pages: how many there are.
            total: pictures on all of them.
        """
        with self.hold_sync():
            self.sprite, self.tile, self.items = tiles_png, tile, items
            self.page, self.pages, self.total, self.selected = page, pages, total, 0

    def show_detail(
        self,
        detail: dict[str, Any],
        views_png: bytes = b"",
        views_count: int = 0,
        picture_png: bytes = b"",
    ) -> None:
        """Show one picture of the page in detail; none when `detail` is empty.

        Args:
            detail: see `core.page.detail_of`.
            views_png: the picture as the student sees it, square and side by side.
            views_count: how many times.
            picture_png: the picture, larger than its tile; without it the tile is enlarged.
        """
        with self.hold_sync():
            self.detail, self.picture = detail, picture_png
            self.views, self.views_count = views_png, views_count

    def on_action(self, callback: Callback) -> None:
        """Call a function when something is asked for.

        Args:
            callback: takes the action ("accept", "reject", "relabel", "undo", "open", "close", "next", "previous",
                "first" or "last"), the tile it is about (-1 for none), and the name of the class to relabel to ("" for
                other actions).
        """
        self._callbacks.append(callback)

    def _heard(self, _: PictureGrid, content: Any, buffers: list) -> None:
        """Pass on what the front end asks for; what it cannot have meant is ignored."""
        if not isinstance(content, dict) or content.get("kind") != "action":
            return
        action, index, value = content.get("action"), content.get("index"), content.get("value")
        if action not in ACTIONS:
            return
        there = type(index) is int and 0 <= index < len(self.items)
        about = action in DECISIONS or action == "open"
        if (about and not there) or (action == "relabel" and not isinstance(value, str)):
            return
        if about and content.get("name", self.items[index].get("name")) != self.items[index].get("name"):
            # The page was replaced while the key was on its way: another picture stands in that place now.
            self.message = "the page had changed meanwhile, so nothing was done"
            return
        if action == "close":
            self.show_detail({})
        for callback in self._callbacks:
            callback(action, index if there else -1, value if action == "relabel" else "")
