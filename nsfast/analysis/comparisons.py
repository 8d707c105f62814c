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


def sign_flip_test(differences: np.ndarray) -> float:
    """Return the exact two-sided p-value that two models only differ by chance, over pictures in several versions.

    If the models were alike, each picture's difference could as well have had the other sign. Over one version it is
    `mcnemar`'s p-value; over several it keeps all versions of a picture together, which McNemar's test cannot.

    Args:
        differences: integers (n,), by how many versions of each picture the second model is right more often.

    Returns:
        The probability of a sum at least as far from 0; never below 1e-12, which is as fine as it is computed. Where
        the differences add up to more than 20,000 it is that of the normal limit.

    Source: Fisher 1935, section 21; the distribution of the sum is the Fourier transform of a product of cosines.
    """
    from scipy.fft import irfft, next_fast_len
    from scipy.special import ndtr

    differences = np.asarray(differences)
    size, count = np.unique(np.abs(differences.astype(np.int64)), return_counts=True)
    if differences.ndim != 1 or not (differences == differences.astype(np.int64)).all():
        raise NsfastError(
            f"differences have shape {differences.shape}; give one whole number for each picture"
        )
    most, seen = int(size @ count), abs(int(differences.sum()))
    if most > 20_000:
        deviation = np.sqrt(float(size**2 @ count))
        return float(np.clip(2 * ndtr(-seen / deviation), 1e-12, 1))
    length = next_fast_len(2 * most + 2, real=True)
    angle = 2 * np.pi * np.arange(length // 2 + 1) / length
    spectrum = np.prod(np.cos(np.multiply.outer(angle, size)) ** count, axis=1)
    chance = irfft(spectrum, length)  # of the sums 0, 1, ..., and from the end -1, -2, ...
    inside = chance[:seen].sum() + chance[length - seen + 1 :].sum() if seen else 0.0
    tail = chance[seen : length - seen + 1].sum()
    return float(np.clip(tail if tail < 0.5 else 1 - inside, 1e-12, 1))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return p-values adjusted for their number: one below 0.05 by mistake comes in 5 % of families at most.

    Args:
        p_values: (n,), 0 to 1, of one family of tests.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    if p_values.ndim != 1 or not ((p_values >= 0) & (p_values <= 1)).all():
        raise NsfastError(f"p-values are {p_values.tolist()}; give a list of numbers between 0 and 1")
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1))
    return np.minimum(adjusted, 1)


def resampled_means(values: np.ndarray, draws: int = 2000, seed: int = 0) -> np.ndarray:
    """Return the mean over pictures of each column in each of `draws` bootstrap samples of whole pictures.

    What belongs to one picture (its versions, the models that saw it) stays together. The same seed and number of
    pictures draw the same samples, so that measures resampled in two calls still belong to each other.

    Args:
        values: (n, ...), one row a picture.
        draws: bootstrap samples.
        seed: of the draws.

    Returns:
        float64 (draws, ...).

    Source: Efron & Tibshirani 1993, section 8.3; for clusters Davison & Hinkley 1997, section 3.8.
    """
    from nsfast.streams import numpy_stream

    within("draws", draws, 1)
    values = np.asarray(values, dtype=np.float64)
    if not values.size:
        raise NsfastError(f"values have shape {values.shape}: no picture to draw from; give at least one")
    n, columns = len(values), values.reshape(len(values), -1)
    generator = numpy_stream(seed, "resampled_means", n)
    means = np.empty((int(draws), columns.shape[1]))
    at_once = max(1, 4_000_000 // n)  # weights of 32 MB
    for first in range(0, len(means), at_once):
        some = min(at_once, len(means) - first)
        chosen = generator.integers(0, n, size=(some, n)) + n * np.arange(some)[:, None]
        weights = np.bincount(chosen.ravel(), minlength=some * n).reshape(some, n)
        means[first : first + some] = weights.astype(np.float64) @ columns / n
    return means.reshape(int(draws), *values.shape[1:])


def ends(samples: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Return the percentile interval of bootstrap samples (draws, ...): low and high as (2, ...)."""
    within("level", level, 0, 1)
    return np.quantile(samples, [0.5 - level / 2, 0.5 + level / 2], axis=0)


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
