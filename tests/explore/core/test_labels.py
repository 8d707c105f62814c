"""The columns of pseudo-labels: made once, when they are asked for, and refused when they do not fit."""

import numpy as np
import pytest

from nsfast.errors import NsfastError
from nsfast.explore.core import Answers, PseudoLabels
from nsfast.explore.core.scores import label_quality


def plain(**change) -> PseudoLabels:
    given = dict(classes=["a", "b", "c"], predicted=[0, 1, 2, 2], confidence=[0.5, 0.3, 0.9, 0.3])
    return PseudoLabels(**(given | change))


def test_confidences_are_kept_in_half_precision_and_their_codes_are_in_the_same_order():
    given = np.random.default_rng(0).random(1000)
    labels = PseudoLabels(["a"], np.zeros(1000, int), given)
    assert labels.confidence.tolist() == given.astype(np.float16).tolist()
    assert (np.argsort(labels.codes, kind="stable") == np.argsort(labels.confidence, kind="stable")).all()


@pytest.mark.parametrize("sort", ["confidence", "margin", "entropy", "quality", "flips"])
def test_an_order_rises_and_leaves_equals_in_the_order_of_the_rows(sort, everything):
    labels = everything()
    column = labels.score(sort).tolist()
    assert labels.order(sort).tolist() == sorted(range(300), key=lambda row: (column[row], row))
    assert labels.order(sort) is labels.order(sort) and labels.order(sort).dtype == np.int32


def test_scores_are_made_once_and_only_when_asked_for(everything):
    asked = []

    def scores():
        asked.append(1)
        return everything().scores

    labels = everything(scores=scores)
    labels.order("confidence"), labels.quality, labels.flips
    assert labels.has_scores and not asked
    assert len(labels.scores.margin) == len(labels.score("entropy")) == 300 and asked == [1]


def test_without_probabilities_it_says_what_is_not_known():
    assert not plain().has_scores
    for ask in (lambda labels: labels.scores, lambda labels: labels.order("margin")):
        with pytest.raises(NsfastError, match="no probabilities but the confidence"):
            ask(plain())


def test_quality_is_that_of_the_confidences_as_they_are_kept(everything):
    labels = everything()
    assert labels.quality.tolist() == label_quality(labels.predicted, labels.confidence, 4).tolist()


def test_flips_are_counted_over_the_rounds_before():
    """A later round and a student have no say."""
    others = {
        "round 1": Answers(np.array([0, 0, -1, 2])),
        "round 2": Answers(np.array([0, 1, 0, -1])),
        "round 4": Answers(np.array([1, 0, 0, 0])),
        "student 3": Answers(np.array([1, 0, 0, 0])),
        "round table": Answers(np.array([1, 0, 0, 0])),
    }
    labels = plain(others=others, round=3)
    assert labels.rounds == ["round 1", "round 2", "round 4"]
    assert labels.flips.tolist() == [0, 1, 1, 0]
    assert plain().flips.tolist() == [0, 0, 0, 0] and plain().rounds == []


def test_names_are_given_or_asked_for_or_numbers():
    assert plain().names(np.array([2, 0])) == ["2", "0"]
    assert plain(names=list("wxyz")).names([3]) == ["z"]
    assert plain(names=np.array(list("wxyz"))).names(range(2)) == ["w", "x"]
    assert plain(names=lambda rows: [f"picture {row}" for row in rows]).names(np.array([1])) == ["picture 1"]


@pytest.mark.parametrize("names", [None, ["w", "x", "y", "z"], np.array(["w", "x", "y", "z"])])
def test_rows_are_those_of_the_names(names):
    labels = plain(names=names)
    asked = labels.names(np.array([3, 1]))
    assert labels.rows(asked).tolist() == [1, 3] and labels.rows([]).tolist() == []
    assert [rows.tolist() for rows in labels.rows_of([*asked, "not there"])] == [[3], [1], []]
    assert labels.rows(["not there", ""]).dtype == np.int64


def test_a_name_may_be_there_more_than_once():
    labels = plain(names=["x", "y", "x", "x"])
    assert [rows.tolist() for rows in labels.rows_of(["x", "y", "z"])] == [[0, 2, 3], [1], []]
    assert labels.rows(["y", "x"]).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["4", "-1", "01", "1.0", " 1", "\N{ARABIC-INDIC DIGIT ONE}", "²", ""])
def test_a_number_that_is_no_row_is_no_picture(name):
    assert plain().rows([name]).tolist() == []


def test_a_name_is_looked_for_only_once():
    asked = []

    def find(names):
        asked.append(list(names))
        return [np.array([len(name)]) for name in names]

    labels = plain(names=lambda rows: ["?"] * len(rows), find=find)
    assert labels.rows(["a", "bb", "a"]).tolist() == [1, 2]
    assert labels.rows(["bb", "ccc"]).tolist() == [2, 3] and asked == [["a", "bb"], ["ccc"]]


def test_classes_are_text_and_labels_are_numbers():
    labels = plain(classes=[0, 1, 2], truth=[-1, 0, 1, 2], predicted=np.array([0, 1, 2, 2], np.uint16))
    assert labels.classes == ("0", "1", "2") and len(labels) == 4
    assert labels.predicted.dtype == labels.truth.dtype == np.int32 and labels.truth.tolist() == [-1, 0, 1, 2]


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(confidence=[0.5]), "confidence has 1 entries for 4 pseudo-labels; give one each"),
        (dict(truth=[0, 1]), "truth has 2 entries for 4"),
        (dict(names=["x"]), "names has 1 entries"),
        (dict(pictures=np.zeros((2, 8, 8, 1), np.uint8)), "pictures has 2 entries"),
        (dict(embedding=np.zeros((5, 2))), "embedding has 5 entries"),
        (dict(left_out=np.zeros(3, bool)), "left_out has 3 entries"),
        (dict(others={"round 1": Answers(np.zeros(2, int))}), "what 'round 1' says has 2 entries"),
        (
            dict(others={"round 1": Answers(np.full(4, 3))}),
            "what 'round 1' says: classes range from 3 to 3 but 3",
        ),
        (dict(predicted=[], confidence=[]), "there are no pseudo-labels; label pictures first"),
        (dict(predicted=[0, 1, 2, 3]), "predicted classes range from 0 to 3 but 3 classes are named"),
        (dict(predicted=[0, 1, 2, -1]), "predicted classes range from -1 to 2"),
        (dict(truth=[0, 1, 2, -2]), "truth classes range from -2 to 2"),
        (dict(predicted=[[0, 1, 2, 2]]), r"predicted has shape \(1, 4\); it must be \(n,\)"),
        (dict(confidence=[0.5, 0.3, 0.9, 1.1]), "confidence lies outside 0 to 1"),
        (dict(confidence=[0.5, 0.3, 0.9, -0.1]), "confidence lies outside 0 to 1"),
        (dict(confidence=[0.5, 0.3, 0.9, np.nan]), "confidence lies outside 0 to 1"),
    ],
)
def test_says_what_is_wrong(change, message):
    with pytest.raises(NsfastError, match=message):
        plain(**change)
