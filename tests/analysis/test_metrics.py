"""Metrics against hand-computed values, closed forms and scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from nsfast.analysis.metrics import (
    accuracy,
    brier_score,
    calibrated_ece,
    negative_log_likelihood,
    reliability_table,
    summary,
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
    ],
)
def test_says_what_is_wrong(wrong, message):
    with pytest.raises(NsfastError, match=message):
        wrong()
