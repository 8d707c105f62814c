"""Comparisons against tables, closed forms and a slow bootstrap."""

import itertools
import math

import numpy as np
import pytest

from nsfast.analysis.comparisons import (
    ends,
    holm,
    mcnemar,
    paired_bootstrap,
    resampled_means,
    seed_interval,
    sign_flip_test,
)
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


def test_sign_flip_test_over_one_version_is_mcnemars():
    for counts in ({}, {"only_first": 10, "only_second": 10}, {"only_first": 1, "only_second": 0}):
        first, second = answers(**counts)
        p_value = sign_flip_test(second.astype(int) - first.astype(int))
        assert p_value == pytest.approx(mcnemar(first, second).p_value, rel=1e-9)


def test_sign_flip_test_counts_every_choice_of_signs():
    differences = np.array([3, -1, 2, 5, 0, -4, 1, 1, 2, 5])
    sums = [np.dot(signs, differences) for signs in itertools.product([-1, 1], repeat=10)]
    slow = np.mean(np.abs(sums) >= abs(differences.sum()))
    assert sign_flip_test(differences) == pytest.approx(slow, abs=1e-12)
    assert sign_flip_test(-differences) == pytest.approx(slow, abs=1e-12)


def test_sign_flip_test_at_its_limits():
    assert sign_flip_test(np.zeros(5, int)) == 1
    assert sign_flip_test(np.ones(500, int)) == 1e-12  # as fine as it is computed


def test_sign_flip_test_goes_over_into_its_normal_limit():
    generator = np.random.default_rng(0)
    for size in (950, 1050):  # the differences add up to about 20 each: below and above 20,000
        differences = generator.integers(-40, 43, size)
        z = abs(differences.sum()) / np.sqrt((differences**2).sum())
        assert (np.abs(differences).sum() > 20_000) == (size > 1000)
        assert sign_flip_test(differences) == pytest.approx(math.erfc(z / math.sqrt(2)), abs=2e-3)


def test_versions_of_a_picture_that_err_together_do_not_make_a_difference_significant():
    # five copies of one answer are no more evidence than one; McNemar over all rows would say p = 2e-4
    first, second = answers(only_first=6, only_second=12)
    one = sign_flip_test(second.astype(int) - first.astype(int))
    assert sign_flip_test(5 * (second.astype(int) - first.astype(int))) == pytest.approx(one)
    assert one > 0.1 > mcnemar(np.repeat(first, 5), np.repeat(second, 5)).p_value


def test_holm_steps_down_as_in_the_textbook():
    def slow(p_values):
        adjusted = [0.0] * len(p_values)
        highest = 0.0
        for place, at in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
            highest = max(highest, min(1.0, (len(p_values) - place) * p_values[at]))
            adjusted[at] = highest
        return adjusted

    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    generator = np.random.default_rng(2)
    for size in (1, 2, 15):
        p_values = generator.random(size).round(1)  # with ties
        assert holm(p_values) == pytest.approx(slow(p_values))
    assert holm([]).shape == (0,)


def test_resampled_means_are_those_of_a_loop_over_the_same_draws():
    from nsfast.streams import numpy_stream

    values = np.random.default_rng(3).random((17, 2, 3))
    drawn = numpy_stream(5, "resampled_means", 17).integers(0, 17, size=(40, 17))
    slow = np.stack([values[rows].mean(axis=0) for rows in drawn])
    assert resampled_means(values, 40, seed=5) == pytest.approx(slow, abs=1e-12)


def test_measures_resampled_apart_belong_to_the_same_draws():
    values = np.random.default_rng(3).random((50, 4))
    together = resampled_means(values, 30)
    assert resampled_means(values[:, 2:3], 30) == pytest.approx(together[:, 2:3])


def test_the_interval_of_correlated_versions_is_wider_than_that_of_as_many_pictures():
    generator = np.random.default_rng(4)
    hard = generator.random(300) < 0.3  # a hard picture is missed in most of its versions
    wrong = generator.random((300, 20)) < np.where(hard, 0.8, 0.05)[:, None]
    low, high = ends(resampled_means(wrong.mean(axis=1)[:, None], 4000)[:, 0])
    naive_low, naive_high = ends(resampled_means(wrong.reshape(-1, 1), 500)[:, 0])
    assert high - low > 2.5 * (naive_high - naive_low)
    closed_form = 2 * 1.96 * wrong.mean(axis=1).std() / math.sqrt(300)
    assert high - low == pytest.approx(closed_form, rel=0.06)


def test_many_pictures_are_drawn_in_parts_that_do_not_repeat():
    values = np.arange(5_000_000, dtype=float)[:, None]
    means = resampled_means(values, 2)[:, 0]
    assert means[0] != means[1] and abs(means - 2_499_999.5).max() < 5 * 5e6 / math.sqrt(12 * 5e6)


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
        (lambda: holm([0.5, 1.5]), "between 0 and 1"),
        (lambda: holm([0.5, math.nan]), "between 0 and 1"),
        (lambda: sign_flip_test(np.array([0.5])), "one whole number"),
        (lambda: resampled_means(np.ones((0, 2))), "no picture"),
        (lambda: resampled_means(np.ones((2, 2)), draws=0), "draws is 0"),
    ],
)
def test_says_what_is_wrong(wrong, message):
    with pytest.raises(NsfastError, match=message):
        wrong()
