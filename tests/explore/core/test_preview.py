"""The preview against a slow loop, and against what balancing makes of the same labels."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from nsfast.analysis.metrics import wilson_interval
from nsfast.errors import NsfastError
from nsfast.explore.core import PseudoLabels, ThresholdPreview
from nsfast.labels import Balancing, balance, write_labels
from nsfast.labels.histogram import Histogram, above
from nsfast.labels.origin import Origin

CLASSES = ("cat", "dog", "eel", "none such")


def labels(n=500, seed=0):
    """Random pseudo-labels; nobody predicts the last class, and confidence has ties on the float16 grid."""
    generator = np.random.default_rng(seed)
    confidence = generator.beta(3, 1, n).astype(np.float32)
    confidence[::3] = np.round(confidence[::3], 1)
    return generator.choice(3, n, p=[0.6, 0.3, 0.1]), confidence, generator.integers(-1, 4, n)


def slow(predicted, confidence, threshold, per_class, truth):
    """One class at a time; of equals of which some are kept each is kept with the same chance."""
    rows, confidence = [], confidence.astype(np.float16)
    for number, name in enumerate(CLASSES):
        members = [i for i in range(len(predicted)) if predicted[i] == number]
        members.sort(key=lambda i: -confidence[i])
        above = [i for i in members if confidence[i] >= np.float16(threshold)]
        kept = above if per_class is None else above[:per_class]
        copies = per_class - len(kept) if per_class is not None and kept else 0
        right = 0.0
        for i in above if kept else []:
            equals = [confidence[j] for j in above].count(confidence[i])
            right += (truth[i] == number) * [confidence[j] for j in kept].count(confidence[i]) / equals
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
                "low": float(wilson_interval(min(right, len(kept)), len(kept))[0]),
                "high": float(wilson_interval(min(right, len(kept)), len(kept))[1]),
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
    low, high = wilson_interval(right, totals["kept"])
    assert (totals["low"], totals["high"]) == pytest.approx((float(low), float(high)))


def test_a_threshold_is_compared_in_float16():
    # 0.3 is 0.30004883 in float16, and so are its float32 neighbours
    confidence = np.array([0.3, 0.29999, 0.3001, 0.2998], dtype=np.float32)
    table = ThresholdPreview(np.zeros(4, int), confidence, ["one"]).at(0.3)
    assert table.above.tolist() == [3]


def test_the_cap_keeps_the_most_confident_and_of_equals_each_with_the_same_chance():
    """As balancing does, whose confidences are float16: there the last three are equal, and one of them is kept."""
    confidence = np.array([0.9, 0.30001, 0.30002, 0.3], dtype=np.float32)
    truth = np.array([0, -1, 0, -1])
    table = ThresholdPreview(np.zeros(4, int), confidence, ["one"], per_class=2, truth=truth).at(0)
    assert table.kept.tolist() == [2] and table.right == pytest.approx([1 + 1 / 3])
    assert table.precision == pytest.approx(2 / 3)
    everything = ThresholdPreview(np.zeros(4, int), confidence, ["one"], per_class=9, truth=truth).at(0)
    assert everything.right.tolist() == [2]


def test_rounding_makes_no_more_right_than_there_are():
    generator, n = np.random.default_rng(0), 400
    confidence = generator.choice([0.5, 0.6, 0.7], n)
    for per_class in range(1, 120, 7):
        predicted = generator.integers(0, 3, n)
        table = ThresholdPreview(predicted, confidence, CLASSES, per_class, predicted).at(0.3)
        assert table.totals()["precision"] == pytest.approx(1) and (table.right <= table.kept).all()
        table.rows()  # the intervals allow no more


@pytest.mark.parametrize("per_class", [None, 0, 30, 200, "paper", "auto"])
def test_counts_what_balancing_writes(tmp_path, per_class):
    probabilities = np.random.default_rng(0).dirichlet(np.full(4, 0.4), 300)
    labels = write_labels(tmp_path, probabilities, Origin(CLASSES, "teacher"))
    preview = ThresholdPreview(labels.predicted, labels.confidence, CLASSES, per_class)
    how = Balancing(0.6, per_class or "largest", "none" if per_class is None else "top")
    counted = ThresholdPreview.of_histogram(labels.histogram, CLASSES, how)
    for threshold in (0.4, 0.6, 0.9, float(labels.confidence.max())):
        expected = balance(labels, replace(how, threshold=threshold), tmp_path).rows
        assert preview.at(threshold).rows() == counted.at(threshold).rows() == expected
        assert preview.at(threshold).above.sum() == above(labels.confidence, threshold).sum()
    assert len(preview) == len(counted) == 300


def test_the_precision_is_that_of_selections_on_average(tmp_path):
    """Of the official method too, which takes only some of those inside."""
    predicted, confidence, truth = labels(400)
    confidence = np.maximum(confidence.round(1), 0.4)
    given = np.repeat((1 - confidence[:, None]) / 3, 4, 1)
    given[np.arange(400), predicted] = confidence
    table = write_labels(tmp_path, given, Origin(CLASSES, "teacher"))
    right = Histogram(4)
    right.add(predicted[truth == predicted], confidence[truth == predicted])
    for method in ("top", "official"):
        how = Balancing(0.5, 25, method)
        preview = ThresholdPreview.of_histogram(table.histogram, CLASSES, how, right)
        found = np.zeros(4)
        for seed in range(60):
            selection = balance(table, replace(how, seed=seed), tmp_path).selection
            same = selection.classes == truth[selection.ids]
            found += np.bincount(selection.classes[same], minlength=4) / 60
        assert preview.at(0.5).right == pytest.approx(found, abs=1.1)


def test_a_slider_over_many_classes_is_followed():
    generator, n = np.random.default_rng(0), 200_000
    predicted, confidence = generator.integers(0, 1000, n), generator.random(n)
    preview = ThresholdPreview(predicted, confidence, [str(i) for i in range(1000)], 100, predicted % 7)
    preview.at(0.5)
    start = time.process_time()
    for threshold in np.linspace(0, 1, 11):
        preview.at(threshold).totals()
    assert (time.process_time() - start) / 11 < 0.05


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


WAYS = (
    Balancing(0.5, "largest", "none"),
    Balancing(0.5, 20),
    Balancing(0.9, 200, max_copies=5),
    Balancing(0.5, "auto", floor=3),
    Balancing(0.6, "largest", thresholds={"eel": 0.8}),
)


def decided_labels(folder, decided):
    """A written table, the same labels with truth, some decided and some left out; what that is to balancing."""
    generator = np.random.default_rng(1)
    given = generator.dirichlet(np.full(4, 0.4), 300)
    given[:, 3] *= 0.2
    table = write_labels(folder, given / given.sum(1, keepdims=True), Origin(CLASSES, "teacher"))
    left_out = np.arange(300) % 29 == 0
    truth = np.where(generator.random(300) < 0.7, table.predicted, generator.integers(-1, 4, 300))
    labels = PseudoLabels(CLASSES, table.predicted, table.confidence, truth=truth, left_out=left_out)
    accepted, rejected = range(100, 130), range(130, 150)
    relabeled = {number: number % 4 for number in range(150, 180)}
    verdicts = dict.fromkeys(map(str, accepted), "accept") | dict.fromkeys(map(str, rejected), "reject")
    verdicts |= {str(number): ("relabel", CLASSES[to]) for number, to in relabeled.items()}
    decisions = decided({}, **verdicts, gone="reject", elsewhere=("relabel", "cat"))
    dropped = {*rejected, *np.flatnonzero(left_out).tolist()}
    return table, labels, decisions, dict(relabeled=relabeled, accepted=accepted, dropped=dropped)


def counts(table) -> list[dict]:
    """The columns of `balance.csv`."""
    return [
        {name: row[name] for name in row if name not in ("precision", "low", "high")} for row in table.rows()
    ]


@pytest.mark.parametrize("how", WAYS)
def test_decisions_count_as_balancing_counts_them(how, tmp_path, decided):
    table, labels, decisions, asked = decided_labels(tmp_path, decided)
    preview = ThresholdPreview.of_labels(labels, how, decisions)
    balanced = balance(table, how, tmp_path, **asked)
    assert counts(preview.at(how.threshold)) == balanced.rows and len(preview) == 300
    undecided = balance(table, how, tmp_path, dropped=np.flatnonzero(labels.left_out))
    for nothing in (None, decided({})):
        assert counts(ThresholdPreview.of_labels(labels, how, nothing).at(how.threshold)) == undecided.rows
    assert undecided.rows != balanced.rows


def test_the_precision_after_decisions_is_that_of_what_is_selected(tmp_path, decided):
    """A relabeled picture is right where its new class is the true one."""
    table, labels, decisions, asked = decided_labels(tmp_path, decided)
    for threshold in (0.3, 0.5, 0.8, 1):
        how = Balancing(threshold, "largest", "none")
        selection = balance(table, how, tmp_path, **asked).selection
        right = selection.classes == labels.truth[selection.ids]
        table_there = ThresholdPreview.of_labels(labels, how, decisions).at(threshold)
        assert table_there.right.tolist() == np.bincount(selection.classes[right], minlength=4).tolist()
        assert table_there.precision == right.mean()


def test_decisions_leave_the_labels_as_they_are(tmp_path, decided):
    _, labels, decisions, _ = decided_labels(tmp_path, decided)
    before = [labels.predicted.copy(), labels.confidence.copy(), labels.codes.copy(), labels.left_out.copy()]
    ThresholdPreview.of_labels(labels, WAYS[0], decisions)
    for array, same in zip(
        before, (labels.predicted, labels.confidence, labels.codes, labels.left_out), strict=True
    ):
        assert (array == same).all()


def test_a_class_that_does_not_exist_is_refused(everything, decided):
    with pytest.raises(NsfastError, match="unknown class 'dgo'; did you mean 'dog'?"):
        ThresholdPreview.of_labels(everything(), WAYS[0], decided({}, p001=("relabel", "dgo")))


def test_asking_for_another_balance_counts_nothing_again(tmp_path, decided, monkeypatch):
    _, labels, decisions, _ = decided_labels(tmp_path, decided)
    previews = [ThresholdPreview.of_labels(labels, how, decisions) for how in WAYS]
    monkeypatch.setattr(Histogram, "add_codes", None)
    for how, expected in zip(WAYS, previews, strict=True):
        asked = previews[0].asking(how)
        assert asked.how == how and asked.at(how.threshold).rows() == expected.at(how.threshold).rows()
        assert asked.at(0.7).totals() == expected.at(0.7).totals()
    assert previews[0].how == WAYS[0]


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
