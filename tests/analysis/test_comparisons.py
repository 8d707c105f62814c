"""Comparisons against tables, closed forms and a slow bootstrap."""

import math

import numpy as np
import pytest

from nsfast.analysis.comparisons import mcnemar, paired_bootstrap, seed_interval
from nsfast.errors import NsfastError


def answers(both=60, only_first=3, only_second=22, neither=15):
    first = np.repeat([True, True, False, False], [both, only_first, only_second, neither])
    second = np.repeat([True, False, True, False], [both, only_first, only_second, neither])
    return first, second


def test_bootstrap_agrees_with_a_slow_one():
    first, second = answers()
    difference = paired_bootstrap(first, second, draws=20_000)
    generator = np.random.default_rng(5)
    slow = []
    for _ in range(5_000):
        chosen = generator.integers(0, 100, 100)
        slow.append(second[chosen].mean() - first[chosen].mean())
    assert difference.difference == pytest.approx(0.19) and difference.n == 100
    assert (difference.low, difference.high) == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.011)


def test_bootstrap_is_paired():
    # far narrower than the intervals of two separate shares: agreement adds nothing to it
    first, second = answers(both=475, only_first=0, only_second=10, neither=475)
    difference = paired_bootstrap(first, second)
    deviation = math.sqrt(10 / 960 * (1 - 10 / 960) / 960)
    assert difference.high - difference.low == pytest.approx(2 * 1.96 * deviation, rel=0.1)


def test_versions_of_one_picture_are_one_observation():
    first, second = answers()
    alone = paired_bootstrap(first, second)
    repeated = paired_bootstrap(np.tile(first[:, None], 75), np.tile(second[:, None], 75))
    assert repeated == pytest.approx(alone)


def test_versions_are_averaged_over_the_picture():
    first = np.zeros((4, 2), bool)
    second = np.array([[True, False]] * 4)
    assert paired_bootstrap(first, second) == (0.5, 0.5, 0.5, 4)


def test_bootstrap_is_seeded_and_antisymmetric():
    first, second = answers()
    there, back = paired_bootstrap(first, second, seed=1), paired_bootstrap(second, first, seed=1)
    assert there == paired_bootstrap(first, second, seed=1)
    assert there.difference == -back.difference
    assert there.low == pytest.approx(-back.high, abs=0.011)


def test_mcnemar_is_the_binomial_tail():
    # twice the probability of at most 3 heads in 25 throws
    tail = sum(math.comb(25, k) for k in range(4)) / 2**25
    test = mcnemar(*answers())
    assert (test.only_first, test.only_second) == (3, 22)
    assert test.p_value == pytest.approx(2 * tail)
    assert test.p_value == pytest.approx(1.6e-4, abs=5e-6)


def test_mcnemar_is_symmetric_and_blind_to_agreement():
    first, second = answers()
    assert mcnemar(first, second).p_value == mcnemar(second, first).p_value
    assert mcnemar(first, second).p_value == mcnemar(*answers(both=0, neither=0)).p_value


def test_models_that_agree_cannot_be_told_apart():
    first, _ = answers()
    assert mcnemar(first, first) == (0, 0, 1.0)
    assert paired_bootstrap(first, first) == (0, 0, 0, 100)


def test_seed_interval_matches_the_table_of_student():
    # t(0.975; 4) = 2.776 and t(0.975; 2) = 4.303 in any printed table
    five = seed_interval([1, 2, 3, 4, 5])
    assert five.mean == 3 and five.deviation == pytest.approx(math.sqrt(2.5)) and five.n == 5
    assert five.high - five.mean == pytest.approx(2.776 * math.sqrt(2.5 / 5), abs=1e-3)
    assert five.mean - five.low == pytest.approx(five.high - five.mean)
    three = seed_interval([0.9, 0.92, 0.94])
    assert three.high - three.mean == pytest.approx(4.303 * 0.02 / math.sqrt(3), rel=1e-3)


def test_one_seed_has_no_interval():
    one = seed_interval([0.9])
    assert one.mean == 0.9 and math.isnan(one.low) and math.isnan(one.high) and one.n == 1


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: paired_bootstrap(np.ones(3), np.ones(4)), r"\(3,\) and \(4,\)"),
        (lambda: paired_bootstrap(np.ones(0), np.ones(0)), "same pictures"),
        (lambda: paired_bootstrap(np.ones(3), np.ones(3), level=95), "level is 95"),
        (lambda: mcnemar(np.ones((3, 2)), np.ones((3, 2))), "one answer a picture"),
        (lambda: seed_interval([]), "one number for each seed"),
    ],
)
def test_says_what_is_wrong(wrong, message):
    with pytest.raises(NsfastError, match=message):
        wrong()
