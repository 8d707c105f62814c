"""How often labels are right: shares with their interval, and by confidence."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from nsfast.errors import NsfastError, within


def wilson_interval(successes, trials, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return the Wilson score interval of a share, which stays in [0, 1] and works for few trials.

    Args:
        successes: how many succeeded, a number or an array, 0 to `trials`.
        trials: of how many, a number or an array; 0 trials give (0, 1).
        level: coverage, 0 to 1 (both excluded).

    Returns:
        low, high: float64 of the shape that successes and trials share.

    Source: Wilson 1927; Brown, Cai & DasGupta 2001, section 3.1.1.
    """
    if not 0 < level < 1:
        raise NsfastError(f"level is {level!r}; it must lie between 0 and 1, for example 0.95")
    successes, trials = np.broadcast_arrays(np.asarray(successes, float), np.asarray(trials, float))
    if not ((successes >= 0) & (successes <= trials)).all():
        raise NsfastError("more successes than trials, or fewer than 0; count both over the same pictures")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    centre = (successes + z**2 / 2) / (trials + z**2)
    failures = trials - successes
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.where(trials > 0, successes * failures / trials, 0) + z**2 / 4
    half = z * np.sqrt(spread) / (trials + z**2)
    low = np.where(successes == 0, 0.0, centre - half)
    high = np.where(failures == 0, 1.0, centre + half)
    return low, high


@dataclass(frozen=True)
class ReliabilityTable:
    """Confidence and accuracy by bin of confidence, the numbers of a reliability diagram.

    Bin k holds edges[k] < confidence <= edges[k + 1]; a confidence of exactly 0 is in the first bin.
    """

    edges: np.ndarray
    """float64 (bins + 1,), from 0 to 1, equally far apart."""
    count: np.ndarray
    """int64 (bins,), how many pictures."""
    confidence: np.ndarray
    """float64 (bins,), their mean confidence; nan in an empty bin."""
    accuracy: np.ndarray
    """float64 (bins,), the share that is right; nan in an empty bin."""

    @property
    def expected_calibration_error(self) -> float:
        """Mean of |accuracy - confidence| over the pictures' bins (ECE; Guo et al., 1706.04599)."""
        return float(np.nansum(np.abs(self.accuracy - self.confidence) * self.count) / self.count.sum())

    @property
    def signed_gap(self) -> float:
        """Mean confidence minus accuracy: above 0 is overconfident, below 0 underconfident."""
        return float(np.nansum((self.confidence - self.accuracy) * self.count) / self.count.sum())


def reliability_table(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> ReliabilityTable:
    """Return confidence and accuracy by bin of confidence.

    Args:
        confidence: float (n,), the largest probability of each picture, 0 to 1; n at least 1.
        correct: bool (n,), whether the predicted class is the true one.
        bins: how many, equally wide.
    """
    confidence, correct = checked_confidence(confidence), np.asarray(correct, dtype=bool)
    require_same_length(confidence, correct, "confidence", "correct")
    return reliability_of_counts(confidence, correct, np.ones(len(correct), np.int64), bins)


def reliability_of_counts(
    confidence: np.ndarray, right: np.ndarray, count: np.ndarray, bins: int = 15
) -> ReliabilityTable:
    """Return what `reliability_table` does, from a histogram: `right` of `count` pictures have each confidence.

    Args:
        confidence: float (n,), 0 to 1.
        right: (n,), 0 to `count`.
        count: integers (n,).
        bins: how many, equally wide.
    """
    confidence = checked_confidence(confidence)
    edges, position = confidence_bins(confidence, bins)
    total = np.bincount(position, weights=count, minlength=bins)
    with np.errstate(invalid="ignore"):
        return ReliabilityTable(
            edges=edges,
            count=total.astype(np.int64),
            confidence=np.bincount(position, weights=confidence * count, minlength=bins) / total,
            accuracy=np.bincount(position, weights=right, minlength=bins) / total,
        )


def confidence_bins(confidence: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges and the bin of each confidence, by comparison with the edges and not by a division."""
    within("bins", bins, 1)
    edges = np.linspace(0, 1, int(bins) + 1)
    return edges, np.searchsorted(edges[1:-1], confidence, side="left")


def checked_confidence(confidence: np.ndarray) -> np.ndarray:
    """Return confidences (n,) as float64; raise `NsfastError` when there is none or one lies outside 0 to 1."""
    confidence = np.asarray(confidence, dtype=np.float64)
    if confidence.ndim != 1 or not len(confidence):
        raise NsfastError(
            f"confidence has shape {confidence.shape}; it must be (n,) with at least one picture"
        )
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise NsfastError("confidence lies outside [0, 1]; take the largest probability after the softmax")
    return confidence


def require_same_length(first: np.ndarray, second: np.ndarray, name: str, other: str) -> None:
    """Raise `NsfastError` naming both when two arrays are not (n,) with the same n, at least 1."""
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise NsfastError(
            f"{name} has shape {first.shape} and {other} {second.shape}; both must be (n,), n at least 1"
        )
