"""The estimated precision is what the truth says, as often as its interval promises."""

import time

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from nsfast.errors import NsfastError
from nsfast.labels.histogram import CODES, codes_of
from nsfast.labels.quality.estimate import PrecisionFit, estimate_precision
from nsfast.labels.quality.reliability import wilson_interval

TEACHERS = {
    "calibrated": lambda c: c,
    "overconfident": lambda c: c**3,
    "underconfident": lambda c: 1 - (1 - c) ** 3,
    "nearly perfect": lambda c: 1 - 0.02 * (1 - c),
    "steep": lambda c: 1 / (1 + np.exp(-30 * (c - 0.7))),
}


def drawn(n, right, random, a=4.0):
    """Confidences and whether each is right."""
    confidence = random.beta(a, 1, n).astype(np.float16)
    return confidence, random.random(n) < right(confidence.astype(float))


def validation(confidence, right):
    return np.zeros(len(right), int), confidence, (~right).astype(int)


def histogram(confidence):
    return np.bincount(codes_of(confidence), minlength=CODES)


@pytest.mark.parametrize("teacher", TEACHERS)
@pytest.mark.parametrize("n, a", [(40, 4), (300, 2)])
def test_the_interval_holds_the_truth_of_a_less_sure_pool_at_least_nine_times_in_ten(teacher, n, a):
    random, held, repetitions = np.random.default_rng(0), 0, 100
    for _ in range(repetitions):
        known = validation(*drawn(n, TEACHERS[teacher], random))
        confidence, right = drawn(2000, TEACHERS[teacher], random, a)
        used = confidence >= 0.5
        found = estimate_precision(known, [histogram(confidence[used])])["sets"][0]
        held += found["low"] <= right[used].mean() <= found["high"]
    assert held >= 0.88 * repetitions


def test_with_many_validation_pictures_it_is_exact_and_narrow():
    random = np.random.default_rng(0)
    known = validation(*drawn(25_000, TEACHERS["overconfident"], random))
    confidence, right = drawn(200_000, TEACHERS["overconfident"], random, 2)
    begun = time.process_time()
    pools = [histogram(confidence[confidence >= t]) for t in np.linspace(0, 0.95, 20)]
    sets = estimate_precision(known, pools)["sets"]
    assert time.process_time() - begun < 2
    for found, threshold in zip(sets, np.linspace(0, 0.95, 20), strict=True):
        used = confidence >= threshold
        assert found["labels"] == used.sum()
        assert found["precision"] == pytest.approx(right[used].mean(), abs=0.015)
        assert found["high"] - found["low"] < 0.05


def test_it_is_the_mean_of_the_folds_isotonic_regressions():
    """With as many folds as pictures the cut does not matter, so that an independent reference can do the same."""
    random = np.random.default_rng(1)
    confidence, right = drawn(30, TEACHERS["calibrated"], random, 2)
    confidence = (np.round(confidence * 8) / 8).astype(np.float16)  # so that several share theirs
    pool = random.random(500).astype(np.float16)
    expected, held_out = [], []
    for i in range(30):
        others = np.arange(30) != i
        model = IsotonicRegression(out_of_bounds="clip").fit(confidence[others].astype(float), right[others])
        expected.append(model.predict(pool.astype(float)).mean())
        held_out.append(model.predict(confidence[[i]].astype(float))[0])
    found = estimate_precision(validation(confidence, right), [histogram(pool)], folds=30)
    assert found["sets"][0]["precision"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert found["brier"] == pytest.approx(np.mean((np.array(held_out) - right) ** 2), abs=1e-6)
    assert found["brier_of_confidence"] == pytest.approx(np.mean((confidence.astype(float) - right) ** 2))
    assert found["folds"] == found["n"] == 30 and "no class" in found["assumes"]


def test_if_all_are_right_the_interval_is_that_of_their_number():
    confidence, counts = np.full(50, 0.9, np.float16), np.zeros(CODES, np.int64)
    counts[codes_of(confidence[:1])] = 10**9
    found = estimate_precision(validation(confidence, np.ones(50, bool)), [counts])["sets"][0]
    low, high = wilson_interval(50, 50)
    assert found["precision"] == 1 and found["effective"] == pytest.approx(50, rel=1e-6)
    assert found["low"] == pytest.approx(float(low), rel=1e-6) and found["high"] == float(high) == 1


def test_few_labels_make_the_interval_wide_whatever_validation_says():
    random = np.random.default_rng(0)
    known = validation(*drawn(5000, TEACHERS["calibrated"], random))
    found = estimate_precision(known, [histogram(np.full(10, 0.8, np.float16))])["sets"][0]
    assert found["effective"] < 10 and found["high"] - found["low"] > 0.3


def test_no_label_has_no_precision():
    known = validation(*drawn(20, TEACHERS["calibrated"], np.random.default_rng(0)))
    found = estimate_precision(known, [np.zeros(CODES, int)])["sets"][0]
    assert found == {"labels": 0, "precision": None, "low": None, "high": None, "effective": None}


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: ([0], [0.5], [0]), "at least 2 pictures"),
        (lambda: ([0, 1], [0.5], [0, 1]), r"\(2,\) classes, \(1,\) confidences"),
        (lambda: ([0, 1], [0.5, np.nan], [0, 1]), "a confidence is nan"),
    ],
)
def test_what_is_no_validation_is_one_line(wrong, message):
    with pytest.raises(NsfastError, match=message):
        estimate_precision(tuple(map(np.asarray, wrong())), [np.zeros(CODES, int)])


def test_a_fit_made_once_answers_for_every_set():
    random = np.random.default_rng(2)
    known = validation(*drawn(300, TEACHERS["calibrated"], random))
    pools = [histogram(drawn(size, TEACHERS["calibrated"], random)[0]) for size in (10, 400, 5000)]
    fit, whole = PrecisionFit(known, folds=4, seed=3), estimate_precision(known, pools, folds=4, seed=3)
    assert [fit.of(pool) for pool in pools] == whole.pop("sets")
    assert fit.summary() == whole and whole["folds"] == 4 and whole["seed"] == 3
    for pool, alone in zip(pools, (estimate_precision(known, [pool], 4, 3) for pool in pools), strict=True):
        assert alone["sets"] == [fit.of(pool)]  # what was asked before changes nothing


def test_asking_a_fit_is_quick_enough_for_a_slider():
    random = np.random.default_rng(0)
    fit = PrecisionFit(validation(*drawn(10_000, TEACHERS["calibrated"], random)))
    pool = histogram(drawn(100_000, TEACHERS["calibrated"], random)[0])
    begun = time.process_time()
    for _ in range(20):
        fit.of(pool)
    assert (time.process_time() - begun) / 20 < 0.01
