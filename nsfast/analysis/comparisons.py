"""Is one model better than another? Paired tests over images, and intervals over seeds.

The two answer different questions: images say how far to trust this test set, seeds how far one training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nsfast.errors import NsfastError, within


class Difference(NamedTuple):
    """Accuracy of the second model minus that of the first, with its bootstrap interval; -1 to 1."""

    difference: float
    low: float
    high: float
    n: int
    """Pictures both models were asked about."""


def paired_bootstrap(
    first: np.ndarray, second: np.ndarray, draws: int = 10_000, level: float = 0.95, seed: int = 0
) -> Difference:
    """Return how much more often `second` is right than `first`, with a percentile interval over images.

    Each draw takes whole images, so both models (and all corrupted versions of one image) stay together.

    Args:
        first, second: bool (n,), whether each model is right about each picture; or (n, versions), all the
            corrupted versions of each picture, which then count as one observation.
        draws: bootstrap samples.
        level: coverage of the interval, 0 to 1.
        seed: of the draws.

    Raises:
        NsfastError: shapes that differ, no picture, a level outside 0 to 1.

    Source: Efron & Tibshirani 1993, section 13.3 (percentile interval).
    """
    from nsfast.streams import numpy_stream

    first, second = _paired(first, second)
    within("draws", draws, 1)
    within("level", level, 0, 1)
    by_image = (second - first).reshape(len(first), -1).mean(axis=1)
    # to draw n images is to draw how often each of the few distinct differences occurs
    values, count = np.unique(by_image, return_counts=True)
    samples = numpy_stream(seed, "paired_bootstrap").multinomial(
        len(first), count / len(first), size=int(draws)
    )
    low, high = np.quantile(samples @ values / len(first), [0.5 - level / 2, 0.5 + level / 2])
    return Difference(float(by_image.mean()), float(low), float(high), len(first))


class McNemar(NamedTuple):
    """Pictures that only one of two models gets right, and the probability of so uneven a split by chance."""

    only_first: int
    only_second: int
    p_value: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """Return the exact two-sided McNemar test of two models on the same pictures.

    Args:
        first, second: bool (n,), whether each model is right about each picture.

    Returns:
        The discordant pictures and the p-value, 1 when the models never disagree.

    Source: McNemar 1947, in its exact binomial form.
    """
    from scipy.stats import binomtest

    first, second = _paired(first, second)
    if first.ndim != 1:
        raise NsfastError(
            f"McNemar's test got shape {first.shape}; it takes one answer a picture, shape (n,)"
        )
    only_first, only_second = int((first > second).sum()), int((second > first).sum())
    discordant = only_first + only_second
    p_value = binomtest(only_first, discordant, 0.5).pvalue if discordant else 1.0
    return McNemar(only_first, only_second, float(p_value))


class SeedInterval(NamedTuple):
    """Mean over trainings that differ in their seed, with the interval of that mean."""

    mean: float
    low: float
    high: float
    deviation: float
    """Sample standard deviation (n - 1)."""
    n: int
    """Seeds."""


def seed_interval(values: Sequence[float], level: float = 0.95) -> SeedInterval:
    """Return the mean over seeds and Student's t interval of that mean.

    Args:
        values: one measure for each seed, at least one.
        level: coverage, 0 to 1 (both excluded).

    Returns:
        The mean; low, high and deviation are nan for a single seed, which says nothing about training noise.
    """
    from scipy.stats import t

    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise NsfastError(f"values have shape {values.shape}; give one number for each seed")
    if not 0 < level < 1:
        raise NsfastError(f"level is {level!r}; it must lie between 0 and 1, for example 0.95")
    mean = float(values.mean())
    if len(values) == 1:
        return SeedInterval(mean, np.nan, np.nan, np.nan, 1)
    deviation = float(values.std(ddof=1))
    half = float(t.ppf(0.5 + level / 2, len(values) - 1)) * deviation / np.sqrt(len(values))
    return SeedInterval(mean, mean - half, mean + half, deviation, len(values))


def _paired(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.shape != second.shape or first.ndim not in (1, 2) or not first.size:
        raise NsfastError(
            f"answers of the two models have shapes {first.shape} and {second.shape}; both must be (n,) or "
            "(n, versions) over the same pictures in the same order"
        )
    return first, second
