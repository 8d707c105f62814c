"""The grid of pictures in Chromium, without Jupyter: what keys ask for, where the focus is, what is drawn."""

import base64
import json

import numpy as np
import pytest

from nsfast.explore.core.pictures import sprite_of
from nsfast.explore.live.grid import PictureGrid
from tests.runs.fronts import CHROMIUM, FLAGS, require_browser

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=window.hacked=1>"
PAGE = f"<style>{PictureGrid._css}</style><button>before</button><div id=place></div>"
START = """async ([code, state]) => {
  const { default: widget } = await import("data:text/javascript;base64," + code);
  const heard = {};
  window.sent = [];
  window.model = {
    state: {}, on: (event, act) => (heard[event] ??= []).push(act), off() {}, save_changes() {},
    get: (name) => model.state[name], send: (content) => sent.push(content),
    set(name, value) { model.arrive({ [name]: value }); },
    arrive(state) {
      for (const [name, value] of Object.entries(state)) if (value?.base64 != null)
        state[name] = new DataView(Uint8Array.from(atob(value.base64), (one) => one.charCodeAt(0)).buffer);
      const changed = Object.keys(state).filter((name) => state[name] !== model.state[name]);
      Object.assign(model.state, state);
      for (const name of changed) for (const act of heard[`change:${name}`] ?? []) act();
    },
  };
  model.arrive(state);
  const el = document.createElement("div");
  document.querySelector("#place").replaceChildren(el);
  window.dispose = widget.render({ model, el });
}"""


def colours(start: int, count: int) -> np.ndarray:
    """uint8 (count, 8, 8, 3) tiles, each of another colour."""
    numbers = np.arange(start, start + count)
    colour = np.stack([numbers * 5, 255 - numbers * 5, np.full(count, 60)], 1).astype(np.uint8)
    return np.broadcast_to(colour[:, None, None], (count, 8, 8, 3))


def item(number: int, **more) -> dict:
    """What is said of a picture."""
    said = {"name": f"{number}.png", "class": "cat", "confidence": 0.5, "second": "dog", "margin": 0.1}
    said |= {"truth": None, "right": None, "before": {}, "decision": "", "to": None, "who": ""}
    return {**said, "conflict": False, "problem": "", **more}


def page_of(number: int, count: int = 24, **more) -> dict:
    """State of a page (from 0) of 24 pictures each, 40 in all."""
    start = 24 * number
    png = base64.b64encode(sprite_of(colours(start, count))).decode()
    items = [item(start + place) for place in range(count)]
    return {"sprite": {"base64": png}, "tile": 8, "items": items, "page": number, "selected": 0, **more}


class Person:
    """Who sits before a grid: what they press, and what they see."""

    def __init__(self, page):
        self.page = page

    def see(self, classes=("cat", "dog"), **more) -> None:
        """Have a new grid before them, its first picture in focus."""
        code = base64.b64encode(str(PictureGrid._esm).encode()).decode()
        state = {"pages": 2, "total": 40, "columns": 6, "classes": list(classes), "detail": {}, "message": ""}
        nothing = {"views": {"base64": ""}, "picture": {"base64": ""}, "views_count": 0}
        self.page.set_content(PAGE)
        self.page.evaluate(START, [code, {**page_of(0), **state, **nothing, **more}])
        self.page.wait_for_selector(".nsf-tile, .nsf-nothing:not([hidden])")
        self.page.focus(".nsf-grid")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def arrives(self, **state) -> None:
        """The kernel sends values; they are shown when this returns."""
        self.page.evaluate(
            "async (state) => { model.arrive(state); await new Promise((go) => setTimeout(go, 60)); }", state
        )

    @property
    def asked(self) -> list:
        """What was asked for since the last time: (action, name of the picture, class)."""
        sent = self.page.evaluate("sent.splice(0)")
        return [(one["action"], one.get("name"), one["value"]) for one in sent]

    @property
    def at(self) -> str:
        """The picture that is selected, and that has the focus."""
        return self.page.evaluate(
            "() => { const at = document.activeElement; return at.matches('[role=gridcell][aria-selected=true]"
            '[tabindex="0"].nsf-selected\') ? at.dataset.name : `not a picture: ${at.outerHTML}` }'
        )

    def text(self, what: str) -> str:
        return self.page.inner_text(what)


@pytest.fixture(scope="module")
def window():
    """A window of Chromium, and what its scripts complained of."""
    require_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        page, wrong = browser.new_page(viewport={"width": 900, "height": 250}), []
        page.on("pageerror", lambda error: wrong.append(error))
        yield page, wrong
        browser.close()


@pytest.fixture
def person(window):
    """A person before a grid of 40 pictures on two pages; no script may fail."""
    page, wrong = window
    wrong.clear()
    found = Person(page)
    found.see()
    yield found
    assert not wrong


def test_arrows_move_within_the_page_and_past_its_edge_to_where_they_point(person):
    person.press("ArrowLeft", "ArrowUp", "PageUp")
    assert (person.at, person.asked) == ("0.png", [])
    person.press("ArrowRight", "ArrowDown", "ArrowDown", "ArrowLeft", "ArrowUp")
    assert (person.at, person.asked) == ("6.png", [])
    person.press("End", "ArrowLeft")
    assert person.at == "22.png"
    person.press("ArrowDown")
    assert person.asked == [("next", "22.png", "")]
    person.arrives(**page_of(1, 16))
    assert (person.at, person.text(".nsf-page")) == ("28.png", "page 2 of 2")
    person.press("ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown")
    assert (person.at, person.asked) == ("39.png", [])  # the last row is short, and this the last page
    person.press("Home", "ArrowLeft")
    assert person.asked == [("previous", "24.png", "")]
    person.arrives(**page_of(0))
    assert person.at == "23.png"
    person.press("ArrowRight")
    person.arrives(**page_of(1, 16))
    assert person.at == "24.png"
    person.press("ArrowRight", "ArrowUp")
    person.arrives(**page_of(0))
    assert person.at == "19.png"
    person.press("PageDown")
    person.arrives(**page_of(1, 16))
    assert person.at == "39.png"


@pytest.mark.parametrize(("key", "action"), (("a", "accept"), ("r", "reject"), ("A", "accept")))
def test_a_decision_names_its_picture_and_goes_on_to_the_next_until_the_page_ends(person, key, action):
    person.press("ArrowRight", key, key)
    assert person.asked == [(action, "1.png", ""), (action, "2.png", "")]
    assert person.at == "3.png"
    person.press("End", key)
    assert (person.at, person.asked) == ("23.png", [(action, "23.png", "")])


def test_a_key_that_is_held_decides_once(person):
    for _ in range(4):
        person.page.keyboard.down("r")
    person.page.keyboard.up("r")
    assert person.asked == [("reject", "0.png", "")]


def test_nothing_is_decided_while_another_page_is_on_its_way(person):
    person.press("PageDown", "r", "1", "c", "PageDown", "ArrowRight")
    assert (person.at, person.asked) == ("0.png", [("next", "0.png", "")])
    person.arrives(**page_of(1, 16))
    person.press("r")
    assert person.asked == [("reject", "24.png", "")]


def test_digits_relabel_to_the_class_with_that_number(person):
    person.press("1", "0", "7")
    assert person.asked == [("relabel", "0.png", "dog"), ("relabel", "1.png", "cat")]
    assert "no class" in person.text(".nsf-message") and person.at == "2.png"


def test_with_many_classes_a_digit_is_the_start_of_a_name(person):
    person.see([*(str(number) for number in range(100, 110)), "Cat"])
    person.press("1")
    assert person.page.input_value(".nsf-class-field") == "1"
    person.press("Enter")
    assert person.text(".nsf-message") == "10 classes start with 1"
    person.page.keyboard.type("07")
    person.press("Enter", "c")
    person.page.keyboard.type("cA")
    person.press("Enter", "/")
    person.page.keyboard.type("aru?")
    person.press("Enter")
    assert person.text(".nsf-message") == "no class aru?"
    person.press("Escape")
    assert person.asked == [("relabel", "0.png", "107"), ("relabel", "1.png", "Cat")]
    assert person.at == "2.png"


def test_other_keys_and_those_with_control_are_left_to_the_front_end(person):
    person.page.evaluate("addEventListener('keydown', (event) => (window.left ??= []).push(event.key))")
    person.press("r", "Control+a", "Alt+r", "Shift+Enter", "x")
    left = ["Control", "a", "Alt", "r", "Shift", "Enter", "x"]
    assert (person.page.evaluate("left"), person.asked) == (left, [("reject", "0.png", "")])


def test_whatever_can_have_the_focus_keeps_its_keys_from_jupyter(person):
    focusable = ".nsf-grid, .nsf-grid :is([tabindex], button, input)"
    assert person.page.locator(focusable).count() > 30
    assert person.page.locator(f":is({focusable}):not([data-lm-suppress-shortcuts=true])").count() == 0


def test_each_tile_shows_its_picture_of_the_sprite(person):
    pixels = """() => [...document.querySelectorAll('.nsf-tile canvas')].map((tile) => {
        const pixel = (x, y) => [...tile.getContext('2d').getImageData(x, y, 1, 1).data.slice(0, 3)];
        return [pixel(0, 0), pixel(7, 7)]; })"""
    for number, count in ((0, 24), (1, 16)):
        person.arrives(**page_of(number, count))
        corners = colours(24 * number, count)[:, [0, 7], [0, 7]]
        np.testing.assert_array_equal(person.page.evaluate(pixels), corners)


def test_an_update_of_what_is_said_moves_neither_focus_nor_page(person):
    person.press("End")
    before = person.page.evaluate("scrollY")
    assert before > 0
    items = [item(number, decision="reject", who="anna") for number in range(24)]
    person.arrives(items=items, message="rejected")
    assert (person.at, person.page.evaluate("scrollY")) == ("23.png", before)
    assert person.page.locator(".nsf-decision:has-text('rejected')").count() == 24


def test_tiles_say_what_is_known_in_words_and_marks(person):
    said = [
        item(0, truth="cat"),
        item(1, truth="dog"),
        item(2, decision="relabel", to="dog", conflict=True),
        item(3, problem="there is no file 3.png", decision="accept"),
    ]
    person.arrives(items=said)
    shown = [" ".join(text.split()) for text in person.page.locator(".nsf-tile").all_inner_texts()]
    assert shown == [
        "cat .500 ✓ right",
        "cat .500 ✗ is dog",
        "→ dog ≠ differ cat .500 or dog",
        "there is no file 3.png ✓ accepted cat .500 or dog",
    ]


def test_names_from_data_are_shown_as_text_everywhere(person):
    rounds = [{"name": HOSTILE, "classes": [HOSTILE], "probabilities": [None]}]
    said = {"action": "relabel", "to": HOSTILE, "who": HOSTILE, "why": HOSTILE, "ts": HOSTILE, "round": 1}
    evil = {"name": HOSTILE, "class": HOSTILE, "truth": HOSTILE}
    seen = item(0, **evil, second=HOSTILE, decision="relabel", to=HOSTILE, who=HOSTILE, problem=HOSTILE)
    seen |= {"before": {HOSTILE: HOSTILE}}
    person.see([HOSTILE], items=[seen], message=HOSTILE, detail={**evil, "rounds": rounds, "history": [said]})
    person.press("?", "c")
    person.page.wait_for_selector(".nsf-detail:not([hidden])")
    person.page.wait_for_timeout(100)
    assert person.page.locator("img").count() == 0
    assert person.page.evaluate("window.hacked") is None
    for part in ("nsf-tile", "nsf-message", "nsf-help", "nsf-name", "nsf-facts", "nsf-history"):
        assert HOSTILE in person.page.text_content(f".{part}")


def test_the_detail_opens_follows_and_closes(person):
    def detail(number):
        views = base64.b64encode(sprite_of(colours(30, 3), 3)).decode()
        return {
            "detail": {"name": f"{number}.png", "class": "cat"},
            "views": {"base64": views},
            "views_count": 3,
        }

    person.press("ArrowRight", "Enter")
    assert person.asked == [("open", "1.png", "")]
    person.arrives(**detail(1))
    assert person.text(".nsf-detail .nsf-name") == "1.png"
    assert person.page.locator(".nsf-views canvas").count() == 3
    person.press("r")
    person.page.wait_for_timeout(250)
    assert person.asked == [("reject", "1.png", ""), ("open", "2.png", "")]
    person.arrives(**detail(2))
    person.page.click(".nsf-accept")
    person.page.wait_for_timeout(250)
    person.arrives(**detail(3))
    person.press("Enter")  # the button has the focus
    assert person.asked == [("accept", "2.png", ""), ("open", "3.png", ""), ("accept", "3.png", "")]
    person.press("Escape")
    assert not person.page.is_visible(".nsf-detail") and person.at == "4.png"
    assert person.asked == [("close", "4.png", "")]
    person.page.click("[data-name='9.png']")
    assert (person.at, person.asked) == ("9.png", [("open", "9.png", "")])


def test_a_page_without_pictures_says_so_and_its_keys_do_nothing(person):
    person.arrives(items=[], pages=1, total=0)
    person.press("a", "r", "1", "c", "Enter", "End", "ArrowDown", "PageDown")
    assert person.asked == []
    assert person.text(".nsf-cells") == "no picture is selected" and person.text(".nsf-total") == "0 pictures"
    person.arrives(**page_of(0))
    person.page.focus(".nsf-grid")
    assert person.at == "0.png"


def test_the_messages_are_data_that_python_reads(person):
    grid = PictureGrid(classes=["cat", "dog"])
    grid.show(b"", 8, [item(number) for number in range(24)], 0, 2, 40)
    heard = []
    grid.on_action(lambda *call: heard.append(call))
    person.press("ArrowRight", "1", "r", "u")
    for content in json.loads(json.dumps(person.page.evaluate("sent"))):
        grid._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})
    assert heard == [("relabel", 1, "dog"), ("reject", 2, ""), ("undo", 3, "")]
