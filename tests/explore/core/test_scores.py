"""Margin, entropy, label quality and flips against slow loops over pictures and classes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsfast.explore.core.scores import flips, label_quality, scores_of


def distributions(n=60, classes=5, seed=0):
    """Random ones in float16; a third has equal probabilities, one is certain and one even."""
    given = np.random.default_rng(seed).dirichlet(np.full(classes, 0.5), n)
    given[: n // 3] = np.round(given[: n // 3], 1)
    given[-1], given[-2] = 1 / classes, np.eye(classes)[2]
    return given.astype(np.float16)


def slow(row):
    """Second class, margin and entropy of one distribution."""
    row = [float(value) for value in row]
    order = sorted(range(len(row)), key=lambda number: (-row[number], number))
    total = sum(row)
    entropy = -sum(value / total * math.log(value / total) for value in row if value > 0)
    return order[1], row[order[0]] - row[order[1]], entropy


def test_full_distributions_agree_with_a_slow_loop():
    given = distributions()
    found = scores_of([(given[:7], None), (given[7:], None)], 60, 5)
    for number, row in enumerate(given):
        second, margin, entropy = slow(row)
        assert found.second[number] == second
        assert found.margin[number] == pytest.approx(margin, abs=1e-6)
        assert found.entropy[number] == pytest.approx(entropy, abs=2e-3)
    assert (found.second.dtype, found.margin.dtype, found.entropy.dtype) == (
        np.uint16,
        np.float32,
        np.float32,
    )
    assert found.margin[-1] == 0 and found.margin[-2] == 1
    assert found.entropy[-1] == pytest.approx(math.log(5), abs=2e-3) and found.entropy[-2] == 0


def test_the_likeliest_alone_give_the_same_margin_and_second_class():
    given = distributions()
    named = np.argsort(-given.astype(np.float64), axis=1, kind="stable")[:, :2].astype(np.uint16)
    kept = np.take_along_axis(given, named, 1)
    found, whole = scores_of([(kept, named)], 60, 5), scores_of([(given, None)], 60, 5)
    assert found.second.tolist() == whole.second.tolist()
    assert found.margin == pytest.approx(whole.margin)


def test_parts_do_not_matter():
    given = distributions()
    whole = scores_of([(given, None)], 60, 5)
    parts = scores_of(((given[i : i + 7], None) for i in range(0, 60, 7)), 60, 5)
    for name in ("second", "margin", "entropy"):
        assert getattr(parts, name).tolist() == getattr(whole, name).tolist()


def test_of_one_class_nothing_is_doubtful():
    found = scores_of([(np.ones((3, 1), np.float16), None)], 3, 1)
    assert found.second.tolist() == [0, 0, 0]
    assert found.margin.tolist() == [1, 1, 1] and found.entropy.tolist() == [0, 0, 0]


def slow_quality(probabilities, labels):
    """Confident learning as it is defined: every probability less its class's threshold, then scaled again."""
    classes = len(probabilities[0])
    thresholds = []
    for number in range(classes):
        own = [row[number] for row, label in zip(probabilities, labels, strict=True) if label == number]
        thresholds.append(sum(own) / len(own) if own else None)
    largest = max(threshold for threshold in thresholds if threshold is not None)
    scores = []
    for row, label in zip(probabilities, labels, strict=True):
        adjusted = [
            value - (largest if threshold is None else threshold) + largest
            for value, threshold in zip(row, thresholds, strict=True)
        ]
        scores.append(adjusted[label] / sum(adjusted))
    return scores


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 25))
def test_label_quality_is_the_adjusted_self_confidence(seed, classes, n):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.full(classes, 0.5), n)
    probabilities[:, -1] *= generator.random()  # so that the last class is often nobody's
    probabilities /= probabilities.sum(1, keepdims=True)
    labels = probabilities.argmax(1)
    found = label_quality(labels, probabilities.max(1), classes)
    assert found == pytest.approx(slow_quality(probabilities.tolist(), labels.tolist()), abs=1e-6)
    assert found.dtype == np.float32 and (found >= 0).all() and (found <= 1).all()


def test_the_same_confidence_is_worse_in_a_class_that_the_model_is_sure_of():
    confidence = np.array([0.99, 0.98, 0.6, 0.5, 0.55, 0.6])
    found = label_quality(np.array([0, 0, 0, 1, 1, 1]), confidence, 2)
    assert found.argmin() == 2 and found[5] > found[2]


def slow_flips(rounds):
    found = []
    for said in zip(*rounds, strict=True):
        known = [number for number in said if number >= 0]
        found.append(sum(a != b for a, b in zip(known, known[1:], strict=False)))
    return found


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 6).flatmap(
        lambda n: st.lists(st.lists(st.integers(-1, 2), min_size=n, max_size=n), min_size=1)
    )
)
def test_flips_agree_with_a_slow_loop(rounds):
    assert flips([np.array(said) for said in rounds]).tolist() == slow_flips(rounds)


def test_a_round_without_a_label_is_no_flip_and_forgets_nothing():
    rounds = [[0, 0, -1, 0, -1], [-1, -1, 1, 1, -1], [0, 1, 1, 0, -1]]
    assert flips([np.array(said) for said in rounds]).tolist() == [0, 1, 0, 2, 0]
