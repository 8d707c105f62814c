"""The bar of a selection: each widget asks for what it says, and shows what was selected elsewhere."""

import numpy as np
import pytest

from nsfast.explore.core import Answers, Filter, PseudoLabels, select
from nsfast.explore.core.scores import scores_of
from nsfast.explore.live.bar import SelectionBar

CLASSES = ("cat", "<dog>", "eel")


@pytest.fixture
def labels():
    random = np.random.default_rng(0)
    likely = random.dirichlet(np.ones(3), 50)
    others = {
        name: Answers(random.integers(0, 3, 50).astype(np.int32))
        for name in ("round 1", "round 3", "student 3")
    }
    return PseudoLabels(
        *(CLASSES, likely.argmax(1), likely.max(1)),
        scores=lambda: scores_of([(likely, None)], 50, 3),
        truth=random.integers(-1, 3, 50),
        others=others,
        round=2,
    )


@pytest.fixture
def bar(labels):
    """A bar that shows what it asks for, as the page does; what was asked is in `asked`."""
    asked = []

    def ask(keywords):
        asked.append(keywords)
        found.show(select(labels, Filter(**keywords)))

    found = SelectionBar(labels, ask)
    found.asked = asked
    found.show(select(labels))
    assert not asked  # showing asks for nothing
    return found


def test_each_widget_asks_for_what_it_says(bar):
    bar.predicted.value = "<dog>"
    assert bar.asked[-1] == {"sort": "confidence", "predicted": "<dog>"}
    bar.truth.value = "(no class)"
    bar.confidence.value = (0.3, 0.5)
    both = {"predicted": "<dog>", "truth": "(no class)"}
    assert bar.asked[-1] == {"sort": "confidence", **both, "confidence": (0.3, 0.5)}
    bar.predicted.value = bar.truth.value = None
    bar.confidence.value = (0, 1)
    assert bar.asked[-1] == {"sort": "confidence"}
    bar.only.value = ("wrong", True)
    assert bar.asked[-1] == {"sort": "confidence", "wrong": True}
    bar.only.value = ("changed_since_round", 1)
    assert bar.asked[-1] == {"sort": "confidence", "changed_since_round": 1}
    bar.only.value = ("disagrees_with", "student 3")
    assert bar.asked[-1] == {"sort": "confidence", "disagrees_with": "student 3"}


def test_the_order_is_in_words_and_starts_with_the_most_doubtful(bar):
    for sort, first in (("entropy", "largest first"), ("margin", "smallest first"), ("flips", "most first")):
        bar.sort.value = sort
        assert bar.order.label == first and bar.asked[-1] == {"sort": sort}
        before = bar.asked[-1]
        bar.order.value = True
        assert bar.asked[-1] == {**before, "descending": sort not in ("entropy", "flips")}
        assert bar.order.value is True


def test_shows_what_was_selected_elsewhere_and_keeps_what_has_no_widget(bar, labels):
    chosen = {"seen_as": {"round 1": "cat"}, "predicted": "eel", "sort": "margin", "descending": True}
    bar.show(select(labels, Filter(**chosen)))
    assert (bar.predicted.value, bar.sort.value, bar.order.value) == ("eel", "margin", True) and not bar.asked
    bar.truth.value = "cat"
    assert bar.asked[-1] == {**chosen, "truth": "cat"}


def test_the_selection_is_shown_as_python_and_escaped(bar, labels):
    bar.show(select(labels, Filter(predicted="<dog>")))
    count = int((labels.predicted == 1).sum())
    assert f"{count} of 50 pictures" in bar.said.value
    assert "select(predicted=&#x27;&lt;dog&gt;&#x27;)" in bar.said.value and "<dog>" not in bar.said.value


def test_offers_only_what_is_known(labels):
    bare = PseudoLabels(CLASSES, labels.predicted, labels.confidence)
    bar = SelectionBar(bare, lambda asked: None)
    assert bar.sort.options == ("confidence", "quality")
    assert [label for label, _ in bar.only.options] == ["any"]


def test_the_button_shows_all_pictures_in_the_order_that_is_chosen(bar):
    bar.sort.value = "quality"
    bar.predicted.value = "cat"
    bar.widget.children[1].children[-1].click()
    assert bar.asked[-1] == {"sort": "quality"}
