"""How often labels are right, by confidence and by threshold; and which labels each mark of these charts stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nsfast.errors import NsfastError, within
from nsfast.explore.core.labels import PseudoLabels
from nsfast.explore.core.selection import truth_of
from nsfast.labels.histogram import CODES, codes_of, confidence_of
from nsfast.labels.quality.reliability import ReliabilityTable, wilson_interval

if TYPE_CHECKING:
    from nsfast.labels.quality.estimate import Validation

THRESHOLDS = (*(step / 20 for step in range(20)), 0.96, 0.97, 0.98, 0.99, 1.0)
"""Closer together where most labels of a sure teacher are."""

SHOWN = 10
"""Classes that are drawn; more lines cannot be told apart."""


@dataclass(frozen=True)
class Reliability(ReliabilityTable):
    """Confidence and accuracy by bin of confidence, with the interval of the accuracy.

    A bin begins with its lower edge in float16, so that it is what a filter of the same confidences finds; 1 is in the
    last one.
    """

    low: np.ndarray
    """float64 (bins,), the Wilson interval (95 %) of the accuracy; 0 in an empty bin."""
    high: np.ndarray
    """float64 (bins,); 1 in an empty bin."""
    what: str
    """Of what: "unlabeled pictures" or "validation pictures"."""

    def selects(self, bin: int) -> dict[str, Any]:
        """Return the condition of the labels with a bin's confidence."""
        return {"confidence": between(self.edges, bin)}


@dataclass(frozen=True)
class Precision:
    """Of each class (classes,), at each threshold (t,)."""

    classes: tuple[str, ...]
    thresholds: tuple[float, ...]
    reached: np.ndarray
    """int64 (classes, t), labels of the class that reach the threshold."""
    right: np.ndarray
    """int64 (classes, t), those of them that are right."""

    @cached_property
    def precision(self) -> np.ndarray:
        """float64 (classes, t), the share that is right; nan where nothing reaches the threshold."""
        with np.errstate(invalid="ignore"):
            return self.right / self.reached

    @property
    def low(self) -> np.ndarray:
        """float64 (classes, t), where the Wilson interval (95 %) of the precision begins; 0 where nothing is."""
        return self._interval[0]

    @property
    def high(self) -> np.ndarray:
        """float64 (classes, t), where it ends; 1 where nothing is."""
        return self._interval[1]

    @cached_property
    def _interval(self) -> tuple[np.ndarray, np.ndarray]:
        return wilson_interval(self.right, self.reached)

    @property
    def shown(self) -> list[int]:
        """The numbers of the classes that are drawn: all, or of more than 10 the 10 worst, the worst first.

        The worst is the one whose interval at the lowest threshold ends lowest: few labels are no proof of a bad class.
        """
        if len(self.classes) <= SHOWN:
            return list(range(len(self.classes)))
        worst = np.lexsort((self.precision[:, 0], self.high[:, 0]))[:SHOWN]
        return [number for number in worst.tolist() if self.reached[number, 0]]

    def selects(self, class_number: int, step: int) -> dict[str, Any]:
        """Return the conditions of the labels of a class that reach a threshold."""
        return {"predicted": self.classes[class_number], "confidence": (self.thresholds[step], 1.0)}


def reliability(labels: PseudoLabels, bins: int = 15) -> Reliability:
    """Return how often labels of some confidence are right.

    Args:
        labels: with their truth.
        bins: how many, equally wide, 1 to 1000.

    Raises:
        NsfastError: the truth is not known.
    """
    right = truth_of(labels, "how often labels are right") == labels.predicted
    return _reliability(labels.codes, right, bins, "unlabeled pictures")


def reliability_of(validation: Validation, bins: int = 15) -> Reliability:
    """Return how often the teacher is right on validation pictures of some confidence.

    Args:
        validation: predicted class, confidence and true class of each.
        bins: how many, equally wide, 1 to 1000.
    """
    predicted, confidence, truth = map(np.asarray, validation)
    if not len(predicted) or not predicted.shape == confidence.shape == truth.shape:
        raise NsfastError(
            f"validation has {predicted.shape} classes, {confidence.shape} confidences and {truth.shape} labels; give "
            "one each of at least 1 picture"
        )
    return _reliability(codes_of(confidence), predicted == truth, bins, "validation pictures")


def precision_by_threshold(labels: PseudoLabels, steps: Sequence[float] = THRESHOLDS) -> Precision:
    """Return the precision of what reaches each threshold, of each class.

    Args:
        labels: with their truth.
        steps: (t,) thresholds, 0 to 1, rising.

    Raises:
        NsfastError: the truth is not known; thresholds that do not rise.
    """
    right = truth_of(labels, "precision") == labels.predicted
    steps = tuple(float(within("threshold", step, 0, 1)) for step in steps)
    if not steps or any(a >= b for a, b in zip(steps, steps[1:], strict=False)):
        raise NsfastError(f"thresholds are {steps}; give at least one, and each above the one before")
    reached = np.searchsorted(codes_of(np.array(steps)), np.arange(CODES), side="right")
    cells = labels.predicted * np.int64(len(steps) + 1) + reached[labels.codes]

    def counted(some: np.ndarray) -> np.ndarray:
        """Of each class, labels that reach each step: those that reach only lower ones are taken from all."""
        shape = len(labels.classes), len(steps) + 1
        found = np.bincount(some, minlength=shape[0] * shape[1]).reshape(shape)
        return found[:, :0:-1].cumsum(1)[:, ::-1]

    return Precision(labels.classes, steps, counted(cells), counted(cells[right]))


def between(edges: np.ndarray, bin: int) -> tuple[float, float]:
    """Return the edges of a bin as they are typed: with the fewest digits that are the same number in float16."""
    low, high = (float(str(np.float16(edge))) for edge in edges[bin : bin + 2])
    return low, high


def _reliability(codes: np.ndarray, right: np.ndarray, bins: int, what: str) -> Reliability:
    within("bins", bins, 1, 1000)
    edges = np.linspace(0, 1, int(bins) + 1)
    starts = codes_of(edges[:-1])
    every, hits = (np.bincount(some, minlength=CODES) for some in (codes, codes[right]))
    count, success, total = (
        np.add.reduceat(values, starts)
        for values in (every, hits, every * confidence_of(np.arange(CODES)).astype(np.float64))
    )
    low, high = wilson_interval(success, count)
    with np.errstate(invalid="ignore"):
        return Reliability(edges, count, total / count, success / count, low, high, what)
