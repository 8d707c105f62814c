"""Calibration of a teacher by one temperature, so that it is as often right as it is confident (Guo et al., 2017).

The temperature is fitted on the logits of validation pictures, which the teacher was not trained on, and applied to
distributions as the label table keeps them, without its logits: of p = softmax(z), softmax(z / T) is p ** (1 / T) over
its sum. Of top-k labels the part that is not kept is taken as spread evenly over the other classes, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nsfast.errors import NsfastError
from nsfast.labels.quality.reliability import reliability_table

if TYPE_CHECKING:  # balancing does without torch
    from nsfast.training.targets import Distributions

LOWEST, HIGHEST = 0.1, 10.0
"""Temperatures looked at."""

CELLS = 1 << 22
"""Numbers of a distribution that are worked on at once, about 50 MB."""


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature, and what it does to the pictures that it was fitted on."""

    value: float
    """Logits are divided by it: above 1 the teacher was too sure, below 1 not sure enough."""
    low: float | None
    high: float | None
    """95 % interval (Huber's sandwich, on the logarithm); None where the likelihood has no maximum inside."""
    n: int
    """Validation pictures."""
    nll_before: float
    nll_after: float
    """Mean of -log(probability of the true class), in nats, at temperature 1 and at this one."""
    ece_before: float
    ece_after: float
    """Mean distance of confidence and accuracy over 15 bins of confidence, at temperature 1 and at this one."""
    note: str = ""
    """What there is to beware of, "" for nothing."""


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> Temperature:
    """Return the temperature from 0.1 to 10 at which the true classes are likeliest.

    Args:
        logits: (n, classes), of pictures that the teacher was not trained on; an array or a tensor on the CPU.
        labels: integers (n,), their true classes.

    Raises:
        NsfastError: arrays that do not fit each other, no picture, a logit that is not finite, or no such class.

    Source: Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599, section 4.2.
    """
    from scipy.optimize import minimize_scalar

    logits, labels = _checked(np.asarray(logits, np.float32), np.asarray(labels))
    n, classes = logits.shape
    right, notes = logits.argmax(1) == labels, []
    ends: tuple[float | None, float | None] = (None, None)
    # the likelihood has one maximum, which lies where its slope changes sign
    steepest, flattest = (_moments(logits, labels, t)[0] for t in (LOWEST, HIGHEST))
    if steepest < 0 or (steepest == 0 and right.all()):
        value = LOWEST
        notes.append(
            f"{right.sum():,} of the {n:,} validation pictures are right, and by so wide a margin that a lower "
            f"temperature fits ever better; it stops at {LOWEST:g}, where nearly every label is certain: calibrate on "
            "more pictures"
        )
    elif flattest >= 0:
        value = HIGHEST
        notes.append(
            "the logits say so little of the true classes that a higher temperature fits ever better; it stops at "
            f"{HIGHEST:g}: {right.sum():,} of the {n:,} validation pictures are right"
        )
    else:
        found = minimize_scalar(
            lambda log: _likelihood(logits, labels, np.exp(log))[0].mean(),
            bounds=(np.log(LOWEST), np.log(HIGHEST)),
            method="bounded",
            options={"xatol": 1e-4},
        )
        value = float(np.exp(found.x))
        _, squares, curvature = _moments(logits, labels, value)
        reach = 1.959964 * value * np.sqrt(squares) / curvature
        ends = (float(value * np.exp(-reach)), float(value * np.exp(reach)))
    if n < classes:
        notes.append(f"{n:,} validation pictures of {classes:,} classes are few to calibrate with")
    (before, unsure), (after, sure) = (_likelihood(logits, labels, t) for t in (1.0, value))
    errors = (reliability_table(c, right).expected_calibration_error for c in (unsure, sure))
    return Temperature(value, *ends, n, float(before.mean()), float(after.mean()), *errors, "; ".join(notes))


def _shifted(logits: np.ndarray, labels: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Some rows after others: logits (m, classes) less their largest, and those of the true classes (m,)."""
    step = max(CELLS // logits.shape[1], 1)
    for start in range(0, len(logits), step):
        z = logits[start : start + step]
        z = z - z.max(1, keepdims=True)
        yield z, z[np.arange(len(z)), labels[start : start + step]].astype(np.float64)


def _likelihood(logits: np.ndarray, labels: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Return each picture's -log(probability of its class) and its confidence at a temperature, (n,) each."""
    totals, likelihood = [], []
    for z, true in _shifted(logits, labels):
        totals.append(np.exp(z / np.float32(temperature)).sum(1, dtype=np.float64))
        likelihood.append(np.log(totals[-1]) - true / temperature)
    return np.concatenate(likelihood), 1 / np.concatenate(totals)


def _moments(logits: np.ndarray, labels: np.ndarray, temperature: float) -> tuple[float, float, float]:
    """Return sums over the pictures: slope, squared slope and curvature of -log(probability) by 1 / temperature.

    They are the mean of the logits less the true one, its square, and the variance of the logits.
    """
    slope = squares = curvature = 0.0
    for z, true in _shifted(logits, labels):
        weight = np.exp(z / np.float32(temperature))
        weight /= weight.sum(1, keepdims=True)
        mean = (weight * z).sum(1, dtype=np.float64)
        slope += (mean - true).sum()
        squares += ((mean - true) ** 2).sum()
        curvature += ((weight * z * z).sum(1, dtype=np.float64) - mean**2).sum()
    return float(slope), float(squares), float(curvature)


def _checked(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise NsfastError(
            f"logits have shape {logits.shape} and labels {labels.shape}; they must be (n, classes) and (n,), with at "
            "least one validation picture"
        )
    if not np.isfinite(logits).all():
        raise NsfastError("a logit is not a finite number; the teacher is broken, so train it again")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise NsfastError(
            f"labels range from {labels.min()} to {labels.max()} for {logits.shape[1]} classes; leave out the pictures "
            "of no class (-1)"
        )
    return logits, labels


def recalibrated(kept: Distributions, temperature: float) -> np.ndarray:
    """Return the confidence (n,) float32 that distributions have at a temperature, without making them whole."""
    return recalibrated_confidence(kept.probabilities, kept.classes, temperature)


def recalibrated_confidence(probabilities: np.ndarray, classes: int, temperature: float) -> np.ndarray:
    """Return the confidence (n,) float32 that distributions have at a temperature; the likeliest class stays it.

    Args:
        probabilities: (n, classes), or (n, k) of the likeliest k, as the label table keeps them.
        classes: how many there are, at least k.
        temperature: above 0.
    """
    if not temperature > 0:
        raise NsfastError(f"temperature is {temperature!r}; it must be above 0")
    kept, power = np.asarray(probabilities, np.float64), 1 / temperature
    rest = residual(kept, classes)
    largest = np.maximum(kept.max(1), rest)
    with np.errstate(invalid="ignore"):  # what is no number is refused by whoever reads it
        # a share of the largest, not of the whole: a small number to a high power is 0
        total = ((kept / largest[:, None]) ** power).sum(1)
        total += (classes - kept.shape[1]) * (rest / largest) ** power
    return (1 / total).astype(np.float32)


def residual(kept: np.ndarray, classes: int) -> np.ndarray:
    """Return what each class that is not kept gets of what (n, k) probabilities leave of 1; 0 if all are kept."""
    others = classes - kept.shape[1]
    return np.maximum(1 - kept.sum(1), 0) / others if others else np.zeros(len(kept), kept.dtype)
