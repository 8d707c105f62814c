"""The explorer as a page: its rows are those of a plain count, it fetches nothing, and names are text."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from nsfast.explore.core import Filter, ThresholdPreview, select
from nsfast.explore.static.page import report_fragment, report_html
from nsfast.labels.balancing.balance import Balancing
from nsfast.labels.decisions import DecisionLog

HOW = Balancing(threshold=0.5, per_class=30)
VOID = {"meta", "img"}
SEEN = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Tags with their attributes, texts, and tables as rows of cells; every tag must be closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.tables, self._open = [], [], [], []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.texts.append(data)
        if self._open and self._open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    def all(self, tag, kind=""):
        return [
            attrs
            for name, attrs in self.tags
            if name == tag and kind in (attrs.get("class") or "").split() + [""]
        ]


def page(labels, filter=None, make=report_html, **more):
    preview = ThresholdPreview.of_labels(labels, HOW)
    return make(labels, preview, 0.5, select(labels, filter), **more)


@pytest.fixture(scope="module")
def decided(made, tmp_path_factory):
    """Labels, and 105 decisions of two people on them; they differ on the first picture."""
    labels, path = made(), tmp_path_factory.mktemp("decided") / "decisions.jsonl"
    ann, bob = DecisionLog(path, who="ann"), DecisionLog(path, who=SEEN)
    names = select(labels).names
    bob.relabel(names[0], labels.classes[1])
    ann.accept(names[0], predicted=labels.classes[0], why=SEEN)
    for name in names[1:100]:
        ann.reject(name, predicted="was")
    for name in names[100:105]:
        ann.relabel(name, labels.classes[2])
    return labels, ann.decisions


@pytest.fixture(scope="module")
def whole(decided):
    """The page of them."""
    labels, decisions = decided
    return page(labels, decisions=decisions, title=SEEN)


@pytest.fixture(scope="module")
def part(decided):
    """The same as a part of a notebook."""
    labels, decisions = decided
    return page(labels, decisions=decisions, make=report_fragment)


def test_nothing_is_run_and_nothing_is_fetched(whole, part):
    for text in (whole, part):
        found = Page(text)
        assert {tag for tag, _ in found.tags} <= set(
            "html head meta title style body h1 h2 h3 p div section table tr td th img b small code".split()
        )
        for _, attrs in found.tags:
            assert not [
                name for name in attrs if name.startswith("on") or name in ("href", "action", "srcset")
            ]
            assert attrs.get("src", "data:image/").startswith("data:image/")
        assert not re.search(r"https?:|//|@import|url\(", re.sub(r"base64,[\w+/=]*", "", text))


def test_a_browser_is_told_to_fetch_nothing(whole):
    policy = [attrs["content"] for attrs in Page(whole).all("meta") if "http-equiv" in attrs]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_names_are_text(decided, whole):
    labels, found = decided[0], Page(whole)
    assert not found.all("i") and not found.all("script")
    for name in (*labels.classes, SEEN, select(labels).names[0]):
        assert any(name in text for text in found.texts), name
    assert all(0 < len(attrs["alt"]) for attrs in found.all("img"))


def test_the_rows_of_the_classes_are_a_plain_count(decided, whole):
    labels, found = decided[0], Page(whole).tables[0]
    above = labels.confidence >= np.float16(0.5)
    for number, name in enumerate(labels.classes):
        mine = labels.predicted == number
        kept = min((above & mine).sum(), 30)
        expected = [mine.sum(), (above & mine).sum(), kept, mine.sum() - kept, 30 - kept, 30]
        assert found[1 + number][:7] == [name, *map(str, expected)]
    assert found[-1][:2] == ["all classes", "120"]


def test_each_figure_is_a_picture_with_a_text_in_its_place(whole):
    found = Page(whole)
    assert [attrs["class"].split()[1] for attrs in found.all("section", "nsf-panel")] == [
        f"nsf-{name}" for name in ("confidence", "classes", "confusion", "reliability")
    ]
    figures = found.all("img")[:4]
    for attrs, words in zip(figures, ("reach 0.5", "copies", "differ", "calibration"), strict=True):
        assert words in attrs["alt"]
        picture = np.asarray(
            Image.open(io.BytesIO(base64.b64decode(attrs["src"].split(",")[1]))).convert("RGB")
        )
        assert picture.std() > 10


def test_the_pictures_are_those_of_the_selection(made):
    labels = made()
    filter = Filter(predicted=labels.classes[1], sort="quality")
    text = page(labels, filter)
    found = Page(text)
    rows = select(labels, filter).rows
    tiles = found.all("img")[4:]
    assert [attrs["alt"] for attrs in tiles] == [f"picture <i>{row}</i>.png" for row in rows[:24]]
    assert (
        len(found.all("div", "nsf-item")) == 24
        and f"The first 24 of {len(rows)} of 120 pictures" in found.texts
    )
    for row, attrs in zip(rows[:2], tiles, strict=False):
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(attrs["src"].split(",")[1]))).convert("L"))
        assert np.abs(shown[6::12, 6::12].astype(int) - labels.pictures[row, :, :, 0]).mean() < 8
    assert [text for text in found.texts if re.fullmatch(r"\d\.\d{3}", text)] == [
        f"{labels.confidence[row]:.3f}" for row in rows[:24]
    ]
    assert str(filter) in found.texts


def test_decisions_are_counted_and_the_first_hundred_listed(decided, whole):
    labels, decisions = decided
    found = Page(whole)
    rows = found.tables[1]
    assert rows[0] == ["picture", "was", "decision", "who", "when", "why"] and len(rows) == 101
    assert [row[0] for row in rows[1:]] == list(decisions.verdicts)[:100]
    first, second = rows[1], rows[2]
    assert "people differ: " in first[2] and f"{SEEN} says relabel to {labels.classes[1]}" in first[2]
    assert "ann says accept" in first[2]
    assert second[1:4] == ["was", "reject", "ann"] and second[4].startswith("20")
    assert "and 5 more" in found.texts
    said = " ".join(found.texts)
    assert "99 rejected" in said and "people differ on 1" in said


def test_a_picture_that_was_decided_says_so(decided, whole):
    labels, decisions = decided
    found = Page(whole)
    assert len(found.all("div", "nsf-reject")) == 23 and found.texts.count("✗ rejected") == 23
    assert "people differ" in found.texts


def test_missing_pictures_are_grey_and_say_so(made):
    found = Page(page(made(pictures=None)))
    assert found.texts.count("missing") == 24 and len(found.all("img")) == 4
    assert sum("no pictures are known" in text for text in found.texts) == 1, "once, since it is so of all"


def test_an_empty_selection_and_labels_alone_make_a_page(made):
    labels = made(truth=None, others={}, pictures=None)
    found = Page(page(labels, Filter(confidence=(0, 0))))
    assert not found.all("section", "nsf-decisions")
    assert any("no picture is left" in text for text in found.texts)
    assert len(found.all("img")) == 2 and not found.all("div", "nsf-item")


def test_a_fragment_is_the_page_without_its_frame_and_small(whole, part, made):
    assert part in whole and len(part) < 400_000
    assert not {"html", "head", "body"} & {tag for tag, _ in Page(part).tags}
    noise = np.random.default_rng(0).integers(0, 256, (120, 200, 300, 3)).astype(np.uint8)
    assert len(page(made(pictures=noise), make=report_fragment)) < 400_000
