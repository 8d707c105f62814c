"""How good predictions are: accuracy, likelihood, Brier score and calibration, from plain arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nsfast.errors import NsfastError, within
from nsfast.labels.quality.reliability import (
    ReliabilityTable,
    checked_confidence,
    confidence_bins,
    reliability_table,
    require_same_length,
    wilson_interval,
)

__all__ = [
    "CalibratedECE",
    "ReliabilityTable",
    "accuracy",
    "brier_of_squares",
    "brier_score",
    "calibrated_ece",
    "likelihood_loss",
    "negative_log_likelihood",
    "reliability_table",
    "summary",
    "top_accuracy",
    "wilson_interval",
]

SMALLEST_PROBABILITY = 2.0**-24
"""The smallest float16 above 0; a table at rest keeps nothing finer, so its 0 means "less than this"."""


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Return the share (0 to 1) of predictions that are right; a label of -1 (of no class) is always wrong.

    Args:
        predicted: int64 (n,), the class of each picture, n at least 1.
        labels: int64 (n,), its true class.
    """
    require_same_length(predicted, labels, "predicted", "labels")
    return float(np.mean(np.asarray(predicted) == np.asarray(labels)))


def negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of -log(probability of the true class), in nats; a probability of 0 counts as 2**-24.

    Args:
        probabilities: float (n, classes), rows that sum to 1.
        labels: int64 (n,), 0 to classes - 1.
    """
    probabilities, labels = _checked(probabilities, labels)
    return float(likelihood_loss(probabilities[np.arange(len(labels)), labels]).mean())


def likelihood_loss(true: np.ndarray) -> np.ndarray:
    """Return -log of the true class's probability for each picture (n,), which `negative_log_likelihood` averages."""
    return -np.log(np.maximum(np.asarray(true, dtype=np.float64), SMALLEST_PROBABILITY))


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the squared distance to the one-hot truth, summed over classes, 0 (perfect) to 2 (Brier 1950).

    Args:
        probabilities, labels: as for `negative_log_likelihood`.
    """
    probabilities, labels = _checked(probabilities, labels)
    error = probabilities.copy()
    error[np.arange(len(labels)), labels] -= 1
    return float((error**2).sum(axis=1).mean())


def brier_of_squares(squares: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the Brier score of each picture from two sums over classes.

    Args:
        squares: (n,), sum of the squared probabilities.
        true: (n,), probability of the true class.
    """
    return np.asarray(squares, dtype=np.float64) - 2 * np.asarray(true, dtype=np.float64) + 1


def top_accuracy(probabilities: np.ndarray, labels: np.ndarray, k: int = 5) -> float:
    """Return the share (0 to 1) of pictures whose true class is among the k most probable ones; the first of equals.

    Args:
        probabilities, labels: as for `negative_log_likelihood`.
        k: 1 to classes.
    """
    probabilities, labels = _checked(probabilities, labels)
    within("k", k, 1, probabilities.shape[1])
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((best == labels[:, None]).any(axis=1).mean())


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

    confidence = checked_confidence(confidence)
    within("draws", draws, 1)
    _, position = confidence_bins(confidence, bins)
    generator = numpy_stream(seed, "calibrated_ece")
    errors = np.empty(int(draws))
    member = np.eye(int(bins))[position]
    at_once = max(1, 4_000_000 // len(confidence))
    for first in range(0, len(errors), at_once):
        drawn = generator.random((min(at_once, len(errors) - first), len(confidence)))
        gap = (drawn < confidence) - confidence
        errors[first : first + at_once] = np.abs(gap @ member).sum(axis=1) / len(confidence)
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
