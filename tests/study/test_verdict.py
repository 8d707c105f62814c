"""The rule of verdicts against the tests of scipy, a closed form and a simulation."""

import numpy as np
import pytest
from scipy import stats

from nsfast.study.verdict import smallest_effect, verdicts


def test_interval_and_p_value_are_those_of_the_paired_t_test():
    random = np.random.default_rng(0)
    first, second = random.normal(0.5, 1, 8), random.normal(0, 1, 8)
    (found,) = verdicts([first - second])
    test = stats.ttest_rel(first, second)
    interval = test.confidence_interval(0.95)
    assert found.p_value == pytest.approx(test.pvalue) and found.p_holm == found.p_value
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.difference == pytest.approx((first - second).mean()) and found.seeds == 8


def test_a_verdict_needs_the_adjusted_p_value_and_the_direction_of_the_paper():
    clear, other, weak = (
        [1.0, 1.1, 0.9, 1.05, 0.95],
        [-1.0, -1.1, -0.9, -1.05, -0.95],
        [0.2, 0.9, 0.1, 0.8, 0.7],
    )
    alone = verdicts([weak])[0]
    assert alone.p_value < 0.05 and alone.verdict == "reproduced"
    found = verdicts([clear, other, weak, [0.1, -0.1, 0.2, -0.2, 0.05]])
    assert [one.verdict for one in found] == ["reproduced", "contradicted", "undecided", "undecided"]
    assert found[2].p_value == alone.p_value and found[2].p_holm == pytest.approx(2 * alone.p_value)
    assert found[0].low > 0 and found[1].high < 0


def test_the_smallest_effect_of_a_study_is_that_of_holms_first_test():
    one, two = [1.0, 2.0, 4.0, 3.0], [0.1, -0.2, 0.3, 0.0]
    found = verdicts([one, two, two])
    assert found[0].smallest == pytest.approx(smallest_effect(np.std(one, ddof=1), 4, 1 - 0.05 / 3))
    assert (
        found[0].smallest
        > verdicts([one])[0].smallest
        == pytest.approx(smallest_effect(np.std(one, ddof=1), 4))
    )
    assert verdicts([[0.0, 1.0]] * 10)[0].smallest > 50  # two seeds and ten claims see next to nothing


def test_differences_without_variance():
    same, nothing = verdicts([[0.5, 0.5, 0.5], [0.0, 0.0, 0.0]])
    assert (same.verdict, same.p_value, same.smallest) == ("reproduced", 0.0, 0.0)
    assert (nothing.verdict, nothing.p_value) == ("undecided", 1.0)


@pytest.mark.parametrize("n", [2, 5, 20])
def test_the_smallest_effect_is_found_four_times_in_five(n):
    effect = smallest_effect(2.0, n)
    drawn = np.random.default_rng(1).normal(effect, 2.0, (40_000, n))
    found = stats.ttest_1samp(drawn, 0, axis=1)
    share = ((found.pvalue < 0.05) & (found.statistic > 0)).mean()
    assert share == pytest.approx(0.8, abs=0.01)


def test_the_smallest_effect_of_many_seeds_is_the_one_of_the_normal_distribution():
    wanted = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) / 100
    assert smallest_effect(1.0, 10_000) == pytest.approx(wanted, rel=1e-3)
