"""The preview against a slow loop, and against the selection that the pipeline makes."""

import math

import numpy as np
import pytest

from nsfast.analysis.metrics import wilson_interval
from nsfast.errors import NsfastError
from nsfast.explore.core import ThresholdPreview

CLASSES = ("cat", "dog", "eel", "none such")


def labels(n=500, seed=0):
    """Random pseudo-labels; nobody predicts the last class, and confidence has ties on the float16 grid."""
    generator = np.random.default_rng(seed)
    confidence = generator.beta(3, 1, n).astype(np.float32)
    confidence[::3] = np.round(confidence[::3], 1)
    return generator.choice(3, n, p=[0.6, 0.3, 0.1]), confidence, generator.integers(-1, 4, n)


def slow(predicted, confidence, threshold, per_class, truth):
    """One class at a time, one picture at a time."""
    rows = []
    for number, name in enumerate(CLASSES):
        members = [i for i in range(len(predicted)) if predicted[i] == number]
        members.sort(key=lambda i: -confidence[i])
        above = [i for i in members if np.float16(confidence[i]) >= np.float16(threshold)]
        kept = above if per_class is None else above[:per_class]
        copies = per_class - len(kept) if per_class is not None and kept else 0
        right = sum(truth[i] == number for i in kept)
        rows.append(
            {
                "class": name,
                "predicted": len(members),
                "above": len(above),
                "kept": len(kept),
                "dropped": len(members) - len(kept),
                "copies": copies,
                "seen": len(kept) + copies,
                "precision": right / len(kept) if kept else math.nan,
                "low": float(wilson_interval(right, len(kept))[0]),
                "high": float(wilson_interval(right, len(kept))[1]),
            }
        )
    return rows


@pytest.mark.parametrize("per_class", [None, 1, 40, 10_000])
@pytest.mark.parametrize("threshold", [0, 0.1, 0.3, 0.70001, 0.8, 0.95, 1])
def test_agrees_with_a_slow_loop(threshold, per_class):
    predicted, confidence, truth = labels()
    table = ThresholdPreview(predicted, confidence, CLASSES, per_class, truth).at(threshold)
    for row, expected in zip(
        table.rows(), slow(predicted, confidence, threshold, per_class, truth), strict=True
    ):
        assert row.keys() == expected.keys() and row["class"] == expected["class"]
        assert list(row.values())[1:] == pytest.approx(list(expected.values())[1:], nan_ok=True)


def test_totals_are_the_sums():
    predicted, confidence, truth = labels()
    table = ThresholdPreview(predicted, confidence, CLASSES, 40, truth).at(0.7)
    totals, rows = table.totals(), table.rows()
    for name in ("predicted", "above", "kept", "dropped", "copies", "seen"):
        assert totals[name] == sum(row[name] for row in rows)
    assert totals["predicted"] == 500 and totals["coverage"] == totals["kept"] / 500
    right = sum(row["precision"] * row["kept"] for row in rows if row["kept"])
    assert totals["precision"] == pytest.approx(right / totals["kept"])
    low, high = wilson_interval(round(right), totals["kept"])
    assert (totals["low"], totals["high"]) == (low, high)


def test_a_threshold_is_compared_in_float16():
    # 0.3 is 0.30004883 in float16, and so are its float32 neighbours
    confidence = np.array([0.3, 0.29999, 0.3001, 0.2998], dtype=np.float32)
    table = ThresholdPreview(np.zeros(4, int), confidence, ["one"]).at(0.3)
    assert table.above.tolist() == [3]


def test_the_cap_keeps_the_most_confident_even_where_float16_sees_a_tie():
    confidence = np.array([0.30001, 0.30002, 0.3], dtype=np.float32)
    table = ThresholdPreview(
        np.zeros(3, int), confidence, ["one"], per_class=1, truth=np.array([-1, 0, -1])
    ).at(0)
    assert table.kept.tolist() == [1] and table.precision == 1


def test_counts_what_the_selection_selects():
    select = pytest.importorskip("nsfast.labels.select")
    table = pytest.importorskip("nsfast.labels.table")
    probabilities = np.random.default_rng(0).dirichlet(np.full(4, 0.4), 300).astype(np.float16)
    teacher = table.LabelTable(np.array([f"{i:03}" for i in range(300)]), probabilities, CLASSES, {})
    for per_class in (0, 30, 200):
        selection = select.select(teacher, 0.6, per_class)
        expected = select.class_counts(teacher, selection, 0.6)
        preview = ThresholdPreview(teacher.predicted, teacher.confidence, CLASSES, per_class)
        assert preview.at(0.6).rows() == expected
    for threshold in (0.4, 0.6, 0.9, float(probabilities.max())):
        preview = ThresholdPreview(teacher.predicted, teacher.confidence, CLASSES)
        assert preview.at(threshold).above.sum() == select.above(teacher.confidence, threshold).sum()


def test_imbalance():
    predicted = np.repeat([0, 1], [30, 10])
    preview = ThresholdPreview(predicted, np.full(40, 0.9), ["a", "b"], per_class=20)
    table = preview.at(0.5)
    assert (table.imbalance_before, table.imbalance_after) == (3, 1)
    assert math.isnan(preview.at(0.95).imbalance_before)
    assert ThresholdPreview(predicted, np.full(40, 0.9), ["a", "b", "c"]).at(0.5).imbalance_before == math.inf


def test_without_a_truth_there_is_no_precision():
    predicted, confidence, _ = labels()
    table = ThresholdPreview(predicted, confidence, CLASSES).at(0.5)
    assert (
        table.precision is None and "precision" not in table.totals() and "precision" not in table.rows()[0]
    )


def test_does_not_depend_on_the_order_of_the_pictures():
    predicted, confidence, truth = labels()
    confidence = np.linspace(0.2, 0.99, 500, dtype=np.float32)  # without ties
    shuffled = np.random.default_rng(1).permutation(500)
    table = ThresholdPreview(predicted, confidence, CLASSES, 40, truth).at(0.6)
    other = ThresholdPreview(predicted[shuffled], confidence[shuffled], CLASSES, 40, truth[shuffled]).at(0.6)
    assert table.totals() == other.totals()


def test_raising_the_threshold_never_adds():
    preview = ThresholdPreview(*labels()[:2], CLASSES, 40)
    above = np.array([preview.at(threshold).above for threshold in np.linspace(0, 1, 101)])
    assert (np.diff(above, axis=0) <= 0).all()


def test_histogram_counts_everything_once():
    predicted, confidence, truth = labels()
    edges, count, wrong = ThresholdPreview(predicted, confidence, CLASSES, truth=truth).histogram
    assert len(edges) == 41 and count.sum() == 500 and wrong.sum() == (predicted != truth).sum()
    assert (wrong <= count).all()


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(confidence=np.ones(3)), r"predicted \(2,\), confidence \(3,\)"),
        (dict(truth=np.ones(3, int)), r"truth \(3,\)"),
        (dict(predicted=np.zeros(0, int), confidence=np.zeros(0)), "n at least 1"),
        (dict(predicted=np.array([0, 4])), "0 to 4 but 4 classes"),
        (dict(predicted=np.array([0, -1])), "-1 to 0"),
        (dict(confidence=np.array([0.5, np.nan])), "outside 0 to 1"),
        (dict(per_class=-1), "per_class is -1"),
    ],
)
def test_says_what_is_wrong(change, message):
    arguments = dict(predicted=np.array([0, 1]), confidence=np.array([0.5, 0.9]), classes=CLASSES)
    with pytest.raises(NsfastError, match=message):
        ThresholdPreview(**(arguments | change))


def test_a_threshold_outside_its_range():
    with pytest.raises(NsfastError, match="threshold is 30; it must be between 0 and 1"):
        ThresholdPreview(*labels()[:2], CLASSES).at(30)
