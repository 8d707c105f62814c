"""The numbers of the charts against loops over the pictures; every mark finds as many pictures as it shows."""

import time
from collections import Counter

import numpy as np
import pytest

from nsfast.analysis.metrics import wilson_interval
from nsfast.errors import NsfastError
from nsfast.explore.core import Answers, Filter, PseudoLabels, select
from nsfast.explore.core.accuracy import between
from nsfast.explore.core.charts import (
    THRESHOLDS,
    changes,
    confidence_bins,
    confusion,
    embedding_points,
    precision_by_threshold,
    reliability,
    reliability_of,
)
from nsfast.explore.core.selection import NO_CLASS
from nsfast.labels.histogram import CODES, confidence_of

AGAINST = ("truth", "round 1", "student 3")


def finds(labels, keywords) -> int:
    return len(select(labels, Filter(**keywords)))


def names_of(labels, column) -> list[str]:
    return [NO_CLASS if number < 0 else labels.classes[number] for number in column.tolist()]


def said_by(labels, against) -> list[str | None]:
    """Names of what the truth or another model says; None for pictures that it says nothing of."""
    if against == "truth":
        return names_of(labels, labels.truth)
    said = names_of(labels, labels.others[against].predicted)
    return [None if name == NO_CLASS else name for name in said]


def many(classes=1000, n=5000, seed=0, **change) -> PseudoLabels:
    """Labels of many classes of which some pairs are often taken for each other."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(-1, classes, n)
    predicted = np.where(generator.random(n) < 0.8, truth, generator.integers(0, classes, n))
    predicted[predicted < 0] = 0
    truth[:90], predicted[:90] = np.repeat([7, 500, 7], 30), np.repeat([999, 3, 20], 30)
    known = dict(
        classes=[f"c{i}" for i in range(classes)], predicted=predicted, confidence=generator.random(n)
    )
    return PseudoLabels(**(known | dict(truth=truth, others={"round 1": Answers(truth)}, round=2) | change))


def test_each_bin_finds_its_pictures(everything):
    labels = everything(2000)
    bins = confidence_bins(labels)
    assert len(bins.edges) == 41 and bins.count.sum() == 2000
    for number in range(40):
        assert finds(labels, bins.selects(number)) == bins.count[number]
        assert finds(labels, {**bins.selects(number), "wrong": True}) == bins.wrong[number]
    assert bins.selects(12) == {"confidence": (0.3, 0.325)} and bins.selects(39) == {
        "confidence": (0.975, 1.0)
    }
    assert confidence_bins(everything(truth=None)).wrong is None


def test_edges_are_typed_with_few_digits_and_are_the_same_numbers():
    every = confidence_of(np.arange(CODES))
    typed = [between(every, number)[0] for number in range(CODES - 1)]
    assert np.array(typed).astype(np.float16).tolist() == every[:-1].tolist()
    assert between(np.linspace(0, 1, 16), 1) == (0.06665, 0.1333)


@pytest.mark.parametrize("rows", [None, np.arange(0, 300, 3), np.arange(300) % 3 == 0])
@pytest.mark.parametrize("against", AGAINST)
def test_confusion_agrees_with_a_slow_loop(against, rows, everything):
    labels = everything()
    found = confusion(labels, against, rows=rows)
    counted = range(300) if rows is None else range(0, 300, 3)
    said, now = said_by(labels, against), names_of(labels, labels.predicted)
    expected = Counter((said[row], now[row]) for row in counted if said[row] is not None)
    assert found.columns == labels.classes and found.left_out == 0 and found.counts.dtype == np.int64
    strangers = any(name == NO_CLASS for name, _ in expected)  # there are none in every third row
    assert strangers == (against == "truth" and rows is None)
    assert found.rows == ((*labels.classes, NO_CLASS) if strangers else labels.classes)
    for row, name in enumerate(found.rows):
        for column, other in enumerate(found.columns):
            assert found.counts[row, column] == expected[name, other]
            if rows is None:
                assert finds(labels, found.selects(row, column)) == expected[name, other]
    assert found.counts.sum() == expected.total()


@pytest.mark.parametrize("classes", [1000, 1500])
@pytest.mark.parametrize("against", ["truth", "round 1"])
def test_of_many_classes_those_that_are_confused_most_are_shown(against, classes):
    """Whether each pair has a cell to be counted in or not."""
    labels = many(classes)
    found = confusion(labels, against, most=6)
    said, now = said_by(labels, against), names_of(labels, labels.predicted)
    pairs = Counter((a, b) for a, b in zip(said, now, strict=True) if a is not None and a != b)
    wanted = []
    for pair in sorted(pairs, key=lambda pair: (-pairs[pair], [place(labels, name) for name in pair])):
        wanted += [name for name in pair if name not in (*wanted, NO_CLASS)]
    wanted = sorted(wanted[:6], key=labels.classes.index)
    assert list(found.columns) == wanted and {"c3", "c7", "c20", "c500", "c999"} < set(wanted)
    assert found.rows == ((*wanted, NO_CLASS) if against == "truth" else tuple(wanted))
    for row in range(len(found.rows)):
        for column in range(6):
            assert found.counts[row, column] == finds(labels, found.selects(row, column))
    known = len(labels) if against == "truth" else sum(name is not None for name in said)
    assert found.counts.sum() + found.left_out == known


def place(labels, name) -> int:
    return -1 if name == NO_CLASS else labels.classes.index(name)


def test_where_nothing_is_confused_the_largest_classes_are_shown():
    predicted = np.repeat(np.arange(30), np.arange(1, 31))
    labels = PseudoLabels([f"c{i:02}" for i in range(30)], predicted, np.ones(465), truth=predicted)
    found = confusion(labels, most=4)
    assert found.rows == found.columns == ("c26", "c27", "c28", "c29")
    assert found.counts.tolist() == np.diag([27, 28, 29, 30]).tolist() and found.left_out == 465 - 114
    nothing = confusion(labels, most=4, rows=np.empty(0, int))
    assert nothing.counts.size == 0 and nothing.left_out == 0


def test_one_class_is_confused_with_nothing():
    labels = PseudoLabels(
        ["one"], [0, 0], [0.5, 1], truth=[0, -1], others={"round 1": Answers(np.array([-1, -1]))}
    )
    found = confusion(labels)
    assert found.rows == ("one", NO_CLASS) and found.counts.tolist() == [[1], [1]]
    assert confusion(labels, "round 1").counts.tolist() == [[0]]
    assert reliability(labels).count.sum() == 2 and precision_by_threshold(labels).reached[0, 0] == 2
    assert changes(labels, "round 1").pairs == [] and changes(labels, "truth").pairs == [(NO_CLASS, "one")]


@pytest.mark.parametrize("bins", [1, 7, 15, 40])
def test_reliability_agrees_with_a_slow_loop(bins, everything):
    labels = everything(2000)
    found = reliability(labels, bins)
    assert found.what == "unlabeled pictures" and found.count.sum() == 2000
    for number in range(bins):
        low, high = (float(np.float16(edge)) for edge in found.edges[number : number + 2])
        inside = [
            (float(confidence), truth == label)
            for confidence, truth, label in zip(
                labels.confidence, labels.truth, labels.predicted, strict=True
            )
            if low <= confidence and (confidence < high or high == 1)
        ]
        assert found.count[number] == len(inside) == finds(labels, found.selects(number))
        if not inside:
            assert np.isnan(found.confidence[number]) and np.isnan(found.accuracy[number])
            assert (found.low[number], found.high[number]) == (0, 1)
            continue
        right = sum(hit for _, hit in inside)
        assert found.confidence[number] == pytest.approx(sum(value for value, _ in inside) / len(inside))
        assert found.accuracy[number] == pytest.approx(right / len(inside))
        interval = wilson_interval(right, len(inside))
        assert (found.low[number], found.high[number]) == pytest.approx(tuple(map(float, interval)))
    gap = abs(found.accuracy - found.confidence)[found.count > 0] @ found.count[found.count > 0] / 2000
    assert found.expected_calibration_error == pytest.approx(gap)


def test_reliability_of_validation_pictures_is_counted_in_the_same_way(everything):
    labels = everything()
    found = reliability_of((labels.predicted, labels.confidence, labels.truth))
    for name in ("edges", "count", "confidence", "accuracy", "low", "high"):
        assert np.array_equal(getattr(found, name), getattr(reliability(labels), name), equal_nan=True)
    assert found.what == "validation pictures"


def test_precision_agrees_with_a_slow_loop(everything):
    labels = everything(500)
    steps = (0.3, 0.30004, 0.5, 0.99, 1.0)  # the first two are one number in float16
    found = precision_by_threshold(labels, steps)
    assert found.thresholds == steps and found.reached.dtype == found.right.dtype == np.int64
    for number, name in enumerate(labels.classes):
        for step, threshold in enumerate(steps):
            there = [
                row
                for row in range(500)
                if labels.predicted[row] == number and labels.confidence[row] >= np.float16(threshold)
            ]
            right = sum(labels.truth[row] == number for row in there)
            assert found.reached[number, step] == len(there) and found.right[number, step] == right
            assert found.selects(number, step) == {"predicted": name, "confidence": (threshold, 1.0)}
            assert finds(labels, found.selects(number, step)) == len(there)
            interval = tuple(map(float, wilson_interval(right, len(there))))
            assert (found.low[number, step], found.high[number, step]) == pytest.approx(interval)
            if there:
                assert found.precision[number, step] == right / len(there)
            else:
                assert np.isnan(found.precision[number, step])
    whole = precision_by_threshold(labels)
    assert whole.thresholds == THRESHOLDS and whole.reached[:, 0].sum() == 500
    assert (np.diff(whole.reached, axis=1) <= 0).all() and whole.shown == [0, 1, 2, 3]


def test_of_many_classes_the_worst_are_drawn():
    """A class of one wrong label is no proof; one of no label is not drawn."""
    right = [60 - 4 * number for number in range(14)]
    predicted = np.concatenate([np.repeat(np.arange(14), 100), [14]])
    truth = np.concatenate(
        [np.repeat([number, -1], [share, 100 - share]) for number, share in enumerate(right)]
    )
    labels = PseudoLabels(
        [f"c{i}" for i in range(16)], predicted, np.full(1401, 0.9), truth=np.append(truth, -1)
    )
    assert precision_by_threshold(labels).shown == [13, 12, 11, 10, 9, 8, 7, 6, 5, 4]
    few = PseudoLabels([f"c{i}" for i in range(16)], [3, 5], [0.9, 0.9], truth=[3, 0])
    assert precision_by_threshold(few).shown == [5, 3]


@pytest.mark.parametrize("threshold", [0, 0.3, 0.5, 1])
@pytest.mark.parametrize("against", AGAINST)
def test_changes_agree_with_a_slow_loop(against, threshold, everything):
    labels = everything(600)
    found = changes(labels, against, threshold, most=5)
    said, now = said_by(labels, against), names_of(labels, labels.predicted)
    sure = [
        (said[row], now[row])
        for row in range(600)
        if labels.confidence[row] >= np.float16(threshold) and said[row] is not None
    ]
    counted = Counter(pair for pair in sure if pair[0] != pair[1])
    order = sorted(counted, key=lambda pair: (-counted[pair], [place(labels, name) for name in pair]))
    assert found.pairs == order[:5] and found.against == against and found.threshold == threshold
    assert found.count.tolist() == [counted[pair] for pair in order[:5]]
    assert found.changed == counted.total() and found.compared == len(sure)
    for number, (before, _) in enumerate(found.pairs):
        assert found.share[number] == found.count[number] / sum(pair[0] == before for pair in sure)
        assert finds(labels, found.selects(number)) == found.count[number]


@pytest.mark.parametrize("classes", [1000, 1500])
def test_changes_of_many_classes(classes):
    labels = many(classes)
    found = changes(labels, "truth", most=3)
    assert found.pairs == [("c7", "c20"), ("c7", "c999"), ("c500", "c3")]
    assert [finds(labels, found.selects(number)) for number in range(3)] == found.count.tolist()


def test_points_are_pictures_on_the_map_drawn_at_random(everything):
    embedding = np.random.default_rng(0).normal(size=(300, 2))
    embedding[::10] = np.nan
    labels = everything(embedding=embedding)
    points = embedding_points(labels)
    assert points.rows.tolist() == [row for row in range(300) if row % 10]
    assert points.xy.tolist() == embedding[points.rows].tolist()
    assert points.predicted.tolist() == labels.predicted[points.rows].tolist()
    found = select(labels, Filter(**points.selects([0, 4, 9])))
    assert sorted(found.rows.tolist()) == [1, 5, 11] and finds(labels, points.selects([])) == 0
    some, same, others = (embedding_points(labels, most=50, seed=seed).rows.tolist() for seed in (0, 0, 1))
    assert some == same == sorted(set(some)) and len(some) == len(others) == 50 and some != others
    assert set(some) < set(points.rows.tolist())
    assert len(embedding_points(everything(embedding=np.full((300, 2), np.nan))).rows) == 0


@pytest.mark.parametrize(
    "ask, message",
    [
        (confusion, "truth is asked for, but the truth of these pictures is not known"),
        (reliability, "how often labels are right is asked for, but the truth"),
        (precision_by_threshold, "precision is asked for, but the truth"),
        (lambda labels: changes(labels, "truth"), "truth is asked for"),
        (
            lambda labels: changes(labels, "round 1"),
            "'round 1' is asked for, but only the labels of one round",
        ),
        (embedding_points, r"there is no map of these pictures; make one with explore_run\(..., map=True\)"),
    ],
)
def test_says_what_is_not_known(ask, message):
    """Of a table without truth, probabilities or another round."""
    with pytest.raises(NsfastError, match=message):
        ask(PseudoLabels(["a", "b"], [0, 1], [0.5, 0.6]))


@pytest.mark.parametrize(
    "ask, message",
    [
        (lambda labels: confusion(labels, "round 7"), "unknown model 'round 7'"),
        (lambda labels: confusion(labels, most=0), "most is 0; it must be at least 1"),
        (lambda labels: changes(labels, "truth", 30), "threshold is 30; it must be between 0 and 1"),
        (lambda labels: changes(labels, "truth", most=0), "most is 0"),
        (lambda labels: reliability(labels, 0), "bins is 0; it must be between 1 and 1000"),
        (
            lambda labels: precision_by_threshold(labels, (0.5, 0.3)),
            "thresholds are .*each above the one before",
        ),
        (lambda labels: precision_by_threshold(labels, ()), "give at least one"),
        (lambda labels: precision_by_threshold(labels, (2,)), "threshold is 2"),
        (lambda labels: reliability_of(([], [], [])), r"validation has \(0,\) classes"),
        (lambda labels: reliability_of(([1], [0.5, 1], [1])), r"\(2,\) confidences"),
        (lambda labels: embedding_points(labels, most=0), "most is 0"),
    ],
)
def test_says_what_is_wrong(ask, message, everything):
    with pytest.raises(NsfastError, match=message):
        ask(everything())


def test_a_map_has_two_directions(everything):
    with pytest.raises(NsfastError, match=r"embedding has shape \(300, 3\); it must be \(n, 2\)"):
        embedding_points(everything(embedding=np.zeros((300, 3))))


def test_a_million_labels_of_a_thousand_classes_are_counted_at_once():
    generator, n = np.random.default_rng(0), 1_000_000
    predicted, truth = generator.integers(0, 1000, (2, n))
    labels = many(
        predicted=predicted, confidence=generator.random(n), truth=truth, embedding=generator.random((n, 2)),
        others={"round 1": Answers(truth)},
    )  # fmt: skip
    for ask in (
        lambda: confidence_bins(labels),
        lambda: confusion(labels),
        lambda: confusion(labels, "round 1", most=1000),
        lambda: reliability(labels),
        lambda: precision_by_threshold(labels).shown,
        lambda: changes(labels, "round 1", 0.1),
        lambda: embedding_points(labels),
    ):
        took = []
        for _ in range(2):
            start = time.process_time()
            ask()
            took.append(time.process_time() - start)
        assert min(took) < 0.3  # a third of it where nothing else runs
