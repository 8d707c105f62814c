"""The grid of pictures without a browser: what it is shown, what it is told, and what it makes of nonsense."""

import json

import pytest

from nsfast.explore.live.grid import ACTIONS, DECISIONS, PictureGrid

ITEMS = [{"name": f"{number}.png", "class": "cat", "confidence": 0.5} for number in range(3)]


@pytest.fixture
def grid():
    """A grid with three pictures on the second of five pages."""
    grid = PictureGrid(classes=["cat", "dog"])
    grid.show(b"png", 96, ITEMS, 1, 5, 13)
    return grid


@pytest.fixture
def asked(grid):
    """What the grid's callback was called with."""
    calls = []
    grid.on_action(lambda *call: calls.append(call))
    return calls


def tell(grid, content):
    """Send what a front end sends."""
    grid._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_is_passed_on_with_the_tile_and_a_class_only_to_relabel(grid, asked, action):
    tell(grid, {"kind": "action", "action": action, "index": 2, "value": "dog", "name": "2.png"})
    assert asked == [(action, 2, "dog" if action == "relabel" else "")]


def test_every_callback_hears_of_an_action_in_the_order_of_asking(grid, asked):
    grid.on_action(lambda *call: asked.append("second"))
    tell(grid, {"kind": "action", "action": "undo"})
    assert asked == [("undo", -1, ""), "second"]


@pytest.mark.parametrize("index", (-1, 3, 1 << 70, 1.0, True, "1", None, [1]))
@pytest.mark.parametrize("action", (*DECISIONS, "open"))
def test_what_is_about_no_tile_is_ignored(grid, asked, action, index):
    tell(grid, {"kind": "action", "action": action, "index": index, "value": "dog"})
    assert asked == []


@pytest.mark.parametrize(
    "content",
    (
        None,
        [],
        "accept",
        7,
        {},
        {"kind": "action"},
        {"action": "accept", "index": 0},
        {"kind": "key", "action": "accept", "index": 0},
        {"kind": "action", "action": "delete", "index": 0},
        {"kind": "action", "action": ["accept"], "index": 0},
        {"kind": "action", "action": {}, "index": 0},
        {"kind": "action", "action": "relabel", "index": 0},
        {"kind": "action", "action": "relabel", "index": 0, "value": 1},
    ),
)
def test_nonsense_is_ignored(grid, asked, content, caplog):
    tell(grid, content)
    assert asked == [] and grid.message == ""
    assert not caplog.records  # ipywidgets logs what a handler raises


@pytest.mark.parametrize("action", DECISIONS)
def test_a_decision_on_a_picture_that_is_no_longer_there_is_refused(grid, asked, action):
    tell(grid, {"kind": "action", "action": action, "index": 0, "value": "dog", "name": "24.png"})
    assert asked == [] and "nothing was done" in grid.message


def test_a_page_arrives_in_one_message_with_its_first_picture_selected(grid, monkeypatch):
    grid.set_state({"selected": 2})
    sent = []
    monkeypatch.setattr(
        PictureGrid, "_send", lambda self, message, buffers=None: sent.append((message, buffers))
    )
    grid.show(b"other", 64, ITEMS[:2], 2, 6, 15)
    (message, buffers) = sent.pop()
    assert not sent and buffers == [b"other"]
    json.dumps(message)
    wanted = {"tile": 64, "items": ITEMS[:2], "page": 2, "pages": 6, "total": 15, "selected": 0}
    assert message["state"] == wanted


def test_closing_takes_the_detail_away_before_it_is_passed_on(grid):
    seen = []
    grid.on_action(lambda action, *_: seen.append((action, grid.detail, grid.views, grid.picture)))
    grid.show_detail({"name": "0.png"}, b"views", 5, b"picture")
    assert (grid.detail, grid.views, grid.views_count, grid.picture) == (
        {"name": "0.png"},
        b"views",
        5,
        b"picture",
    )
    tell(grid, {"kind": "action", "action": "close", "index": 0})
    assert seen == [("close", {}, b"", b"")]


def test_the_front_end_fetches_nothing_and_sets_names_only_as_text():
    code = str(PictureGrid._esm) + str(PictureGrid._css)
    ways = ("innerHTML", "outerHTML", "insertAdjacentHTML", "write(", "eval", "fetch(", "XMLHttp")
    for way in (*ways, "http", "import(", "import ", "@import", "url("):
        assert way not in code
