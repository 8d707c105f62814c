"""The rule by which a finding counts as reproduced, fixed before anything is run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nsfast.analysis.comparisons import holm, seed_interval

LEVEL, POWER = 0.95, 0.8
RULE = (
    "The rule, fixed before: each seed gives one difference, of both models on the same test pictures. Its mean over "
    "seeds has Student's 95 % interval; p-values of the paired t test are adjusted by Holm within the study. A finding "
    "is reproduced where the adjusted p-value is below 0.05 in the paper's direction, contradicted where it is so in "
    "the other, else undecided, with the smallest effect that would have been seen with 80 % power by the first of "
    "Holm's tests. What is no claim of the paper is better, worse or undecided."
)
"""What is printed before a study starts."""


class Verdict(NamedTuple):
    """What the differences of one comparison over seeds say, in the unit that they are given in."""

    verdict: str
    """"reproduced", "contradicted" or "undecided"."""
    difference: float
    low: float
    high: float
    seeds: int
    p_value: float
    p_holm: float
    smallest: float
    """The smallest true effect that is found with 80 % power by the first of Holm's tests, given how the seeds vary."""


def verdicts(families: Sequence[Sequence[float]]) -> list[Verdict]:
    """Return the verdict of each comparison of a study.

    Args:
        families: of each comparison the difference in every seed, first minus second, above 0 being what the paper
            found; at least two seeds.

    Returns:
        One verdict each. Of differences without any variance other than 0 the p-value is 0.
    """
    from scipy.stats import ttest_1samp

    found = []
    for differences in families:
        interval = seed_interval(differences, LEVEL)
        if interval.deviation > 0:
            p_value = float(ttest_1samp(np.asarray(differences, np.float64), 0).pvalue)
        else:
            p_value = 0.0 if interval.mean else 1.0
        found.append((interval, p_value))
    adjusted = holm([p_value for _, p_value in found])
    return [
        Verdict(
            _word(interval.mean, p_holm),
            *(interval.mean, interval.low, interval.high, interval.n),
            *(p_value, float(p_holm)),
            smallest_effect(interval.deviation, interval.n, 1 - (1 - LEVEL) / len(found)),
        )
        for (interval, p_value), p_holm in zip(found, adjusted, strict=True)
    ]


def _word(mean: float, p_holm: float) -> str:
    if p_holm >= 1 - LEVEL:
        return "undecided"
    return "reproduced" if mean > 0 else "contradicted"


def smallest_effect(deviation: float, n: int, level: float = LEVEL, power: float = POWER) -> float:
    """Return the true mean that a two-sided t test of `n` differences finds with this power.

    Args:
        deviation: standard deviation of the differences.
        n: how many there are, 2 or more.

    Source: Student's t test has, at an effect d, a noncentral t distribution with n - 1 degrees of freedom and
    noncentrality d sqrt(n) / deviation; this solves for d.
    """
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    if deviation == 0:
        return 0.0
    edge = t.ppf(0.5 + level / 2, n - 1)
    high = 10.0
    while nct.sf(edge, n - 1, high) < power:
        high *= 2
    shift = brentq(lambda c: nct.sf(edge, n - 1, c) - power, 0, high)
    return float(shift * deviation / np.sqrt(n))
