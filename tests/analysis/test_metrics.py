"""Metrics against hand-computed values, closed forms and scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from nsfast.analysis.metrics import (
    accuracy,
    brier_of_squares,
    brier_score,
    calibrated_ece,
    likelihood_loss,
    negative_log_likelihood,
    reliability_table,
    summary,
    top_accuracy,
    wilson_interval,
)
from nsfast.errors import NsfastError


def predictions(n=400, classes=5, seed=0):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(n, classes)) * 2
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([generator.choice(classes, p=row) for row in probabilities])
    return probabilities.astype(np.float32), labels


def test_accuracy_counts_a_picture_of_no_class_as_wrong():
    assert accuracy(np.array([0, 1, 2, 0]), np.array([0, 1, 1, -1])) == 0.5


@pytest.mark.parametrize(
    "successes, trials, low, high",
    [
        # Newcombe 1998 (Statistics in Medicine 17, 857-872), table I, method 3: score without correction
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_matches_newcombe(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_inverts_the_score_test():
    # its ends are the shares p at which |share - p| is z standard errors, the standard error taken at p
    successes, trials = np.array([1, 7, 30, 99]), np.array([10, 10, 31, 100])
    for end in wilson_interval(successes, trials, level=0.9):
        z = np.abs(successes / trials - end) / np.sqrt(end * (1 - end) / trials)
        assert z == pytest.approx(1.6448536, abs=1e-6)


def test_wilson_interval_at_its_limits():
    low, high = wilson_interval([0, 0, 5], [0, 5, 5])
    assert low[0] == 0 and high[0] == 1  # nothing is known
    assert low[1] == 0 and high[2] == 1
    assert high[1] == pytest.approx(1 - low[2])


def test_likelihood_is_that_of_scikit_learn():
    probabilities, labels = predictions()
    expected = log_loss(
        labels, probabilities.astype(np.float64) / probabilities.sum(1, keepdims=True, dtype=float)
    )
    assert negative_log_likelihood(probabilities, labels) == pytest.approx(expected, rel=1e-6)


def test_a_probability_of_zero_costs_what_float16_can_resolve():
    assert negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(24 * math.log(2))


def test_brier_score_sums_over_classes():
    probabilities, labels = predictions()
    slow = [
        sum((p - (c == y)) ** 2 for c, p in enumerate(row))
        for row, y in zip(probabilities, labels, strict=True)
    ]
    assert brier_score(probabilities, labels) == pytest.approx(np.mean(slow), rel=1e-6)
    assert brier_score(np.array([[1.0, 0.0]]), np.array([1])) == 2
    assert brier_score(np.full((1, 2), 0.5), np.array([1])) == 0.5


def test_reliability_table_by_hand():
    # two bins: (0, .5] holds .5 and .25; (.5, 1] holds .75 and 1.0, the edge that torchmetrics loses
    table = reliability_table(np.array([0.5, 0.25, 0.75, 1.0]), np.array([True, False, False, True]), bins=2)
    assert table.count.tolist() == [2, 2]
    assert table.confidence.tolist() == [0.375, 0.875]
    assert table.accuracy.tolist() == [0.5, 0.5]
    assert table.expected_calibration_error == pytest.approx((0.125 * 2 + 0.375 * 2) / 4)
    assert table.signed_gap == pytest.approx((-0.125 * 2 + 0.375 * 2) / 4)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_reliability_table_is_that_of_scikit_learn(bins):
    generator = np.random.default_rng(1)
    confidence = np.concatenate([generator.random(300), np.arange(11) / 10])  # edges of ten bins among them
    correct = generator.random(len(confidence)) < confidence**2
    table = reliability_table(confidence, correct, bins)
    right, mean = calibration_curve(correct, confidence, n_bins=bins)
    full = table.count > 0
    assert table.accuracy[full] == pytest.approx(right) and table.confidence[full] == pytest.approx(mean)
    assert table.count.sum() == len(confidence)
    assert np.isnan(table.accuracy[~full]).all()


def test_signed_gap_tells_over_from_underconfidence():
    sure = np.full(100, 0.9)
    assert reliability_table(sure, np.arange(100) < 60).signed_gap == pytest.approx(0.3)
    assert reliability_table(sure, np.arange(100) < 100).signed_gap == pytest.approx(-0.1)


def test_calibrated_ece_has_a_closed_form_for_two_pictures():
    # |k / 2 - 1/2| for k of two fair coins: 1/2, 0, 1/2 with probabilities 1/4, 1/2, 1/4
    assert calibrated_ece(np.full(2, 0.5), draws=20_000).mean == pytest.approx(0.25, abs=0.01)


def test_calibrated_ece_approaches_the_normal_limit():
    # one bin: E|mean gap| = sqrt(2 p (1 - p) / (pi n)); its 95th percentile is 1.96 standard deviations
    expected = math.sqrt(2 * 0.8 * 0.2 / (math.pi * 5000))
    chance = calibrated_ece(np.full(5000, 0.8), bins=1, draws=4000)
    assert chance.mean == pytest.approx(expected, rel=0.06)
    assert chance.high == pytest.approx(1.96 * math.sqrt(0.8 * 0.2 / 5000), rel=0.06)


def test_a_calibrated_model_does_not_exceed_its_own_chance_level():
    inside = 0
    for seed in range(60):
        probabilities, labels = predictions(n=300, seed=seed)
        row = summary(probabilities, labels, draws=100, seed=seed)
        inside += row["ece"] <= row["ece_calibrated_high"]
    assert 50 <= inside  # 57 of 60 expected


def test_draws_are_seeded():
    confidence = predictions()[0].max(axis=1)
    assert calibrated_ece(confidence, seed=3) == calibrated_ece(confidence, seed=3)
    assert calibrated_ece(confidence, seed=3) != calibrated_ece(confidence, seed=4)


@pytest.mark.parametrize("classes, bins", [(5, 15), (100, 10)])
def test_measures_are_those_of_torchmetrics(classes, bins):
    torch, torchmetrics = pytest.importorskip("torch"), pytest.importorskip("torchmetrics")
    probabilities, labels = predictions(n=1000, classes=classes)
    probabilities = probabilities.astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    p, y = torch.from_numpy(probabilities), torch.from_numpy(labels)
    of = torchmetrics.functional
    ece = of.classification.multiclass_calibration_error(p, y, classes, n_bins=bins, norm="l1")
    table = reliability_table(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels, bins)
    assert table.expected_calibration_error == pytest.approx(float(ece), abs=1e-6)
    squared = of.mean_squared_error(p, torch.nn.functional.one_hot(y, classes).double()) * classes
    assert brier_score(probabilities, labels) == pytest.approx(float(squared), abs=1e-6)
    perplexity = of.text.perplexity(p.log()[None], y[None])
    assert negative_log_likelihood(probabilities, labels) == pytest.approx(math.log(perplexity), abs=1e-6)
    for k in (1, 3):
        top = of.classification.multiclass_accuracy(p, y, classes, top_k=k, average="micro")
        assert top_accuracy(probabilities, labels, k) == pytest.approx(float(top), abs=1e-6)


def test_a_confidence_of_exactly_1_is_in_the_last_bin():
    # torchmetrics has a bin of its own for it and gets 0.525 here (torchmetrics#3510)
    confidence = np.repeat([1.0, 0.95], 20)
    correct = np.repeat([False, True, False, True], 10)
    ece = reliability_table(confidence, correct, bins=10).expected_calibration_error
    assert ece == pytest.approx(0.975 - 0.5)
    one_sided = reliability_table(np.ones(40), np.arange(40) < 38, bins=15)
    assert one_sided.expected_calibration_error == pytest.approx(0.05)
    assert calibrated_ece(np.ones(40)) == (0, 0)
    sure = np.eye(3)[[0, 1, 1]]
    assert brier_score(sure, np.array([0, 1, 2])) == pytest.approx(2 / 3)


def test_scores_of_a_picture_need_no_more_than_two_sums_of_its_probabilities():
    probabilities, labels = predictions()
    exact = probabilities.astype(np.float64)
    true = exact[np.arange(len(labels)), labels]
    squares = (exact**2).sum(axis=1)
    assert brier_of_squares(squares, true).mean() == pytest.approx(
        brier_score(probabilities, labels), abs=1e-6
    )
    assert likelihood_loss(true).mean() == pytest.approx(
        negative_log_likelihood(probabilities, labels), abs=1e-6
    )


def test_top_accuracy_counts_the_first_of_equal_probabilities():
    even = np.full((3, 4), 0.25)
    assert top_accuracy(even, np.array([0, 1, 3]), k=2) == pytest.approx(2 / 3)
    assert top_accuracy(even, np.array([0, 1, 3]), k=4) == 1
    probabilities, labels = predictions()
    assert top_accuracy(probabilities, labels, k=1) == np.mean(probabilities.argmax(axis=1) == labels)


def test_calibrated_ece_is_that_of_a_loop_over_the_same_draws():
    from nsfast.streams import numpy_stream

    confidence = predictions(n=50)[0].max(axis=1).astype(float)
    generator, slow = numpy_stream(7, "calibrated_ece"), []
    for _ in range(30):
        right = generator.random(50) < confidence
        slow.append(reliability_table(confidence, right).expected_calibration_error)
    found = calibrated_ece(confidence, draws=30, seed=7)
    assert found == pytest.approx((np.mean(slow), np.quantile(slow, 0.95)))


def test_summary_agrees_with_its_parts():
    probabilities, labels = predictions()
    row = summary(probabilities, labels)
    right = probabilities.argmax(axis=1) == labels
    assert row["n"] == 400 and row["accuracy"] == right.mean()
    assert (row["low"], row["high"]) == wilson_interval(right.sum(), 400)
    table = reliability_table(probabilities.max(axis=1), right)
    assert row["ece"] == pytest.approx(table.expected_calibration_error)
    assert row["signed_gap"] == pytest.approx(probabilities.max(axis=1).mean(dtype=float) - right.mean())


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: accuracy(np.zeros(3), np.zeros(2)), r"\(3,\) and labels \(2,\)"),
        (lambda: wilson_interval(3, 2), "more successes than trials"),
        (lambda: wilson_interval(1, 2, level=95), "level is 95"),
        (lambda: brier_score(np.ones((2, 2)), np.zeros(2, int)), "do not sum to 1"),
        (lambda: brier_score(np.full((2, 2), 0.5), np.array([0, -1])), "leave out the pictures of no class"),
        (lambda: brier_score(np.full((2, 2), 0.5), np.zeros(3, int)), r"\(2, 2\) and labels \(3,\)"),
        (lambda: brier_score(np.full((1, 2), np.nan), np.zeros(1, int)), "do not sum to 1"),
        (lambda: reliability_table(np.array([1.5]), np.array([True])), r"outside \[0, 1\]"),
        (lambda: reliability_table(np.array([]), np.array([])), "at least one picture"),
        (lambda: calibrated_ece(np.array([0.5]), bins=0), "bins is 0"),
        (lambda: top_accuracy(np.full((1, 2), 0.5), np.array([0]), k=3), "k is 3"),
    ],
)
def test_says_what_is_wrong(wrong, message):
    with pytest.raises(NsfastError, match=message):
        wrong()
