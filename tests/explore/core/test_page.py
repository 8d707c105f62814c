"""What is said of the pictures on a page, field by field, and of one of them over the rounds."""

import json

import numpy as np
import pytest

from nsfast.explore.core import Answers, PseudoLabels
from nsfast.explore.core.page import detail_of, items_of
from nsfast.explore.core.selection import NO_CLASS
from nsfast.labels.quality.quality import entropies

NOTHING = {"decision": "", "to": None, "who": "", "conflict": False}


def test_items_say_of_each_picture_what_is_known(everything):
    labels = everything()
    names = [*labels.classes, NO_CLASS]
    rows = np.random.default_rng(1).permutation(300)[:24]
    for item, row in zip(items_of(labels, rows), rows.tolist(), strict=True):
        assert item == {
            "row": row,
            "name": f"p{row:03}",
            "class": names[labels.predicted[row]],
            "confidence": round(float(labels.confidence[row]), 3),
            "second": names[labels.scores.second[row]],
            "margin": round(float(labels.scores.margin[row]), 3),
            "truth": names[labels.truth[row]],
            "right": bool(labels.truth[row] == labels.predicted[row]),
            "before": {
                name: names[answers.predicted[row]]
                for name, answers in labels.others.items()
                if answers.predicted[row] >= 0
            },
            **NOTHING,
            "problem": "",
        }


def test_a_picture_of_no_class_is_never_right(everything):
    labels = everything()
    strangers = items_of(labels, np.flatnonzero(labels.truth < 0))
    assert strangers and all(item["truth"] == NO_CLASS and item["right"] is False for item in strangers)


def test_what_is_not_known_is_none():
    labels = PseudoLabels(["a", "b"], [0, 1], [0.5, 0.625])
    (item,) = items_of(labels, np.array([1]))
    assert (
        item["class"] == "b" and item["confidence"] == 0.625 and item["name"] == "1" and item["before"] == {}
    )
    assert [item[name] for name in ("second", "margin", "truth", "right")] == [None] * 4


def test_decisions_stand_with_their_pictures(everything, decided):
    decisions = decided(
        {"p003": []}, p001="accept", p002="reject", p003=("relabel", "dog", "<b>bob</b>"), gone="accept"
    )
    items = items_of(everything(), np.array([0, 3, 2, 1]), decisions)
    found = [{name: item[name] for name in NOTHING} for item in items]
    assert found == [
        NOTHING,
        {"decision": "relabel", "to": "dog", "who": "<b>bob</b>", "conflict": True},
        {"decision": "reject", "to": None, "who": "ann", "conflict": False},
        {"decision": "accept", "to": None, "who": "ann", "conflict": False},
    ]


def test_an_accepted_picture_may_count_as_another_class(everything, decided):
    """In a later round whose teacher says something else than who accepted it saw."""
    carried = decided({}, p001="accept").carried_to({"p001": "bee"})
    (item,) = items_of(everything(), np.array([1]), carried)
    assert (item["decision"], item["to"]) == ("accept", "ant")


def test_problems_are_those_of_the_place_on_the_page(everything):
    items = items_of(everything(), np.array([7, 8, 9]), problems={1: "no such file"})
    assert [item["problem"] for item in items] == ["", "no such file", ""]


def test_everything_is_plain_data(everything, decided):
    """JSON holds it as it is: no number of numpy's, no nan."""
    labels, decisions = everything(), decided({}, p001=("relabel", "dog"))
    for found in (items_of(labels, np.arange(24), decisions), detail_of(labels, np.int64(1), decisions)):
        assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert items_of(labels, np.empty(0, int)) == []


def slow_rounds(labels, row, most=5):
    """Names, classes and probabilities, sorted by hand."""
    given = {"round 3": labels.distributions(np.array([row]))[0].tolist()}
    for name in ("round 1", "round 2"):
        found = labels.others[name].distributions(np.array([row]))[0].tolist()
        given |= {name: found} if found[0] == found[0] else {}
    classes = set()
    for found in given.values():
        order = sorted(range(4), key=lambda number: (-found[number], number))
        classes |= {number for number in order[:most] if found[number] > 0}
    order = sorted(classes, key=lambda number: (-given["round 3"][number], number))
    return [
        (name, [labels.classes[i] for i in order], [round(given[name][i], 3) for i in order])
        for name in sorted(given)
    ]


@pytest.mark.parametrize("most", [1, 2, 5])
def test_the_detail_shows_the_same_classes_in_each_round(most, everything):
    labels = everything()
    for row in range(40):
        rounds = detail_of(labels, row, most=most)["rounds"]
        assert [tuple(found.values()) for found in rounds] == slow_rounds(labels, row, most)
        assert (
            rounds[-1]["name"] == "round 3"
            and rounds[-1]["classes"][0] == labels.classes[labels.predicted[row]]
        )


def test_the_detail_tells_the_scores(everything):
    labels = everything()
    found = detail_of(labels, 17)
    names = [*labels.classes, NO_CLASS]
    assert found["name"] == "p017" and found["class"] == names[labels.predicted[17]]
    assert found["truth"] == names[labels.truth[17]] and found["history"] == []
    assert found["quality"] == round(float(labels.quality[17]), 3) and found["flips"] == labels.flips[17]
    given = labels.distributions(np.array([17]))
    assert found["entropy"] == pytest.approx(float(entropies(given, 4)[0]), abs=2e-3)
    assert found["margin"] == pytest.approx(float(np.diff(np.sort(given[0]))[-1]), abs=2e-3)


def test_later_rounds_stand_behind_these_labels(everything):
    """And what is no round behind all of them."""
    even = Answers(np.zeros(300, int), lambda rows: np.full((len(rows), 4), 0.25))
    others = dict.fromkeys(("student 2", "round 10", "round 1"), even)
    names = [found["name"] for found in detail_of(everything(others=others, round=2), 0)["rounds"]]
    assert names == ["round 1", "round 2", "round 10", "student 2"]
    names = [found["name"] for found in detail_of(everything(others=others, round=0), 0)["rounds"]]
    assert names == ["round 1", "round 10", "student 2", "these labels"]


def test_without_probabilities_the_detail_shows_the_confidence():
    labels = PseudoLabels(["a", "b"], [0, 1], [0.5, 0.625])
    found = detail_of(labels, 1)
    assert found["rounds"] == [{"name": "these labels", "classes": ["b"], "probabilities": [0.625]}]
    assert [found[name] for name in ("truth", "entropy", "margin", "flips")] == [None] * 4


def test_a_probability_that_is_not_known_is_none():
    """Other models have probabilities, these labels of this picture have none."""
    other = Answers(np.array([0, 0]), lambda rows: np.tile([0.75, 0.25], (len(rows), 1)))

    def gap(rows):
        return np.full((len(rows), 2), np.nan, np.float32)

    labels = PseudoLabels(
        ["a", "b"], [0, 1], [0.5, 0.625], distributions=gap, others={"round 1": other}, round=2
    )
    assert detail_of(labels, 1)["rounds"] == [
        {"name": "round 1", "classes": ["b", "a"], "probabilities": [0.25, 0.75]},
        {"name": "round 2", "classes": ["b", "a"], "probabilities": [0.625, None]},
    ]


def test_the_history_tells_who_decided_what(everything, decided):
    decisions = decided({}, p001=("relabel", "dog", "ann", "a dog's nose"))
    history = detail_of(everything(), 1, decisions)["history"]
    assert history == [
        {
            "action": "relabel",
            "was": "ant",
            "to": "dog",
            "who": "ann",
            "why": "a dog's nose",
            "ts": "2026-01-31T12:00:00.000Z",
            "round": 2,
        }
    ]
    assert detail_of(everything(), 2, decisions)["history"] == []
    bob = decided({}, p001=("reject", None, "bob")).verdicts["p001"]
    both = decided({"p001": [bob, decisions.verdicts["p001"]]}, p001=("relabel", "dog"))
    history = detail_of(everything(), 1, both)["history"]
    assert [(found["who"], found["action"]) for found in history] == [("bob", "reject"), ("ann", "relabel")]
