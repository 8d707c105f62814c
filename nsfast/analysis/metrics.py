"""How good predictions are: accuracy, likelihood, Brier score and calibration, from plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from nsfast.errors import NsfastError, within

SMALLEST_PROBABILITY = 2.0**-24
"""The smallest float16 above 0; a table at rest keeps nothing finer, so its 0 means "less than this"."""


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Return the share (0 to 1) of predictions that are right; a label of -1 (of no class) is always wrong.

    Args:
        predicted: int64 (n,), the class of each picture, n at least 1.
        labels: int64 (n,), its true class.
    """
    return float(np.mean(_same_length(predicted, labels, "predicted", "labels")))


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


def negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of -log(probability of the true class), in nats; a probability of 0 counts as 2**-24.

    Args:
        probabilities: float (n, classes), rows that sum to 1.
        labels: int64 (n,), 0 to classes - 1.
    """
    probabilities, labels = _checked(probabilities, labels)
    true = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(true, SMALLEST_PROBABILITY)).mean())


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the squared distance to the one-hot truth, summed over classes, 0 (perfect) to 2 (Brier 1950).

    Args:
        probabilities, labels: as for `negative_log_likelihood`.
    """
    probabilities, labels = _checked(probabilities, labels)
    error = probabilities.copy()
    error[np.arange(len(labels)), labels] -= 1
    return float((error**2).sum(axis=1).mean())


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
    confidence, correct = _confidence(confidence), np.asarray(correct, dtype=bool)
    _same_length(confidence, correct, "confidence", "correct")
    edges, position = _bins(confidence, bins)
    count = np.bincount(position, minlength=bins)
    with np.errstate(invalid="ignore"):
        return ReliabilityTable(
            edges=edges,
            count=count,
            confidence=np.bincount(position, weights=confidence, minlength=bins) / count,
            accuracy=np.bincount(position, weights=correct, minlength=bins) / count,
        )


class CalibratedECE(NamedTuple):
    """The ECE that a perfectly calibrated model would show on as few pictures, beside a measured one."""

    mean: float
    high: float
    """The 95th percentile; a measured ECE above it does not come from chance."""


def calibrated_ece(confidence: np.ndarray, bins: int = 15, draws: int = 200, seed: int = 0) -> CalibratedECE:
    """Return the ECE that a perfectly calibrated model with these confidences would show by chance.

    Labels are drawn from the predicted distributions, `draws` times; the predicted class is then right with a
    probability equal to its confidence, so the confidences are all that is needed. ECE is never negative, so
    few pictures give a value above 0 even to a perfect model.

    Args:
        confidence: float (n,), 0 to 1, n at least 1.
        bins: as for `reliability_table`.
        draws: simulated test sets.
        seed: of the draws.
    """
    from nsfast.streams import numpy_stream

    confidence = _confidence(confidence)
    within("draws", draws, 1)
    _, position = _bins(confidence, bins)
    generator = numpy_stream(seed, "calibrated_ece")
    errors = np.empty(draws)
    for draw in range(draws):
        gap = (generator.random(len(confidence)) < confidence) - confidence
        errors[draw] = np.abs(np.bincount(position, weights=gap, minlength=bins)).sum() / len(confidence)
    return CalibratedECE(float(errors.mean()), float(np.quantile(errors, 0.95)))


def summary(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = 15, draws: int = 200, seed: int = 0
) -> dict[str, float]:
    """Return every measure of one model on one set of labeled pictures, as a row of a table.

    Args:
        probabilities, labels: as for `negative_log_likelihood`.
        bins, draws, seed: as for `reliability_table` and `calibrated_ece`.

    Returns:
        n, accuracy with its Wilson interval (low, high), nll, brier, ece, signed_gap, and the ECE of a
        perfectly
        calibrated model: ece_calibrated (mean) and ece_calibrated_high (95th percentile).
    """
    probabilities, labels = _checked(probabilities, labels)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    table = reliability_table(np.minimum(confidence, 1), correct, bins)
    chance = calibrated_ece(np.minimum(confidence, 1), bins, draws, seed)
    low, high = wilson_interval(correct.sum(), len(correct))
    return {
        "n": len(labels),
        "accuracy": float(correct.mean()),
        "low": float(low),
        "high": float(high),
        "nll": negative_log_likelihood(probabilities, labels),
        "brier": brier_score(probabilities, labels),
        "ece": table.expected_calibration_error,
        "signed_gap": table.signed_gap,
        "ece_calibrated": chance.mean,
        "ece_calibrated_high": chance.high,
    }


def _bins(confidence: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges and the bin of each confidence, by comparison with the edges and not by a division."""
    within("bins", bins, 1)
    edges = np.linspace(0, 1, int(bins) + 1)
    return edges, np.searchsorted(edges[1:-1], confidence, side="left")


def _confidence(confidence: np.ndarray) -> np.ndarray:
    confidence = np.asarray(confidence, dtype=np.float64)
    if confidence.ndim != 1 or not len(confidence):
        raise NsfastError(
            f"confidence has shape {confidence.shape}; it must be (n,) with at least one picture"
        )
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise NsfastError("confidence lies outside [0, 1]; take the largest probability after the softmax")
    return confidence


def _same_length(first: np.ndarray, second: np.ndarray, name: str, other: str) -> np.ndarray:
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise NsfastError(
            f"{name} has shape {first.shape} and {other} {second.shape}; both must be (n,), n at least 1"
        )
    return first == second


def _checked(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    probabilities, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise NsfastError(
            f"probabilities have shape {probabilities.shape} and labels {labels.shape}; "
            "they must be (n, classes) and (n,), n at least 1"
        )
    if not ((labels >= 0) & (labels < probabilities.shape[1])).all():
        raise NsfastError(
            f"labels range from {labels.min()} to {labels.max()} for {probabilities.shape[1]} classes; "
            "leave out the pictures of no class (-1)"
        )
    if not (np.abs(probabilities.sum(axis=1) - 1) < 0.01).all() or probabilities.min() < 0:
        raise NsfastError(
            "probabilities have rows that do not sum to 1; apply the softmax to the logits first"
        )
    return probabilities, labels
