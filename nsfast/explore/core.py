"""What a threshold would keep of each class, fast enough to follow a slider over any number of pseudo-labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from nsfast.analysis.metrics import wilson_interval
from nsfast.errors import NsfastError, within
from nsfast.labels.balancing.balance import Balancing, what_if
from nsfast.labels.balancing.limits import Limits
from nsfast.labels.histogram import CODES, Histogram, confidence_of


@dataclass(frozen=True)
class ThresholdTable:
    """What one threshold makes of the pseudo-labels; every array is (classes,), int64 but for `right`."""

    threshold: float
    classes: tuple[str, ...]
    predicted: np.ndarray
    """Pseudo-labels of each class, whatever their confidence."""
    above: np.ndarray
    """Those that reach the threshold."""
    kept: np.ndarray
    """Those of them that enter training: the most confident `per_class`, or all when there is no cap."""
    copies: np.ndarray
    """Copies added to fill the class up to `per_class`; none for a class with nothing to copy."""
    right: np.ndarray | None
    """float64: kept ones whose label is right, where the truth is known; of equally confident ones of which only some
    are kept, whom lots will decide, as many as are expected."""

    @property
    def dropped(self) -> np.ndarray:
        """Pseudo-labels that do not enter training, for the threshold or for the cap."""
        return self.predicted - self.kept

    @property
    def seen(self) -> np.ndarray:
        """Kept and copies: what the student sees in one pass."""
        return self.kept + self.copies

    @property
    def coverage(self) -> float:
        """Share of all pseudo-labels that are kept, 0 to 1."""
        return float(self.kept.sum() / self.predicted.sum())

    @property
    def precision(self) -> float | None:
        """Share of the kept that is right, 0 to 1; nan when nothing is kept, None without a truth."""
        return None if self.right is None else float(_share(self.right.sum(), self.kept.sum()))

    @property
    def imbalance_before(self) -> float:
        """Largest class over smallest of those above the threshold; inf if one is empty, nan if all are."""
        return _imbalance(self.above)

    @property
    def imbalance_after(self) -> float:
        """Largest class over smallest, of those the student sees; inf when one is empty, nan when all are."""
        return _imbalance(self.seen)

    def rows(self) -> list[dict]:
        """Return a row per class with the columns of `balance.csv`.

        Where the truth is known, also the precision and its Wilson interval (low, high).
        """
        names = ("predicted", "above", "kept", "dropped", "copies", "seen")
        columns = {name: getattr(self, name).tolist() for name in names}
        if self.right is not None:
            low, high = wilson_interval(self.right, self.kept)
            share = _share(self.right, self.kept)
            columns |= {"precision": share.tolist(), "low": low.tolist(), "high": high.tolist()}
        return [
            {"class": name, **{key: values[number] for key, values in columns.items()}}
            for number, name in enumerate(self.classes)
        ]

    def totals(self) -> dict[str, float]:
        """Return the threshold, the sums over classes, coverage and imbalance before and after balancing.

        Where the truth is known, also the precision and its Wilson interval (low, high).
        """
        names = ("predicted", "above", "kept", "dropped", "copies", "seen")
        totals = {"threshold": self.threshold, **{name: int(getattr(self, name).sum()) for name in names}}
        totals |= {
            "coverage": self.coverage,
            "imbalance_before": self.imbalance_before,
            "imbalance_after": self.imbalance_after,
        }
        if self.right is not None:
            low, high = wilson_interval(self.right.sum(), self.kept.sum())
            totals |= {"precision": self.precision, "low": float(low), "high": float(high)}
        return totals


class ThresholdPreview:
    """Pseudo-labels counted once by class and confidence, so that any threshold costs a few look-ups per class.

    What a threshold does is what `labels.balance` would do: it is compared in float16 after rounding both sides.

    Args:
        predicted: int64 (n,), the class of each pseudo-label, n at least 1.
        confidence: float (n,), its probability, 0 to 1.
        classes: the name of each class.
        per_class: pictures of each class after balancing, or how to find that number, as `Balancing.per_class`; None
            to filter only, 0 for as many as the largest class has above the threshold.
        truth: int64 (n,), the true classes, -1 for a picture of no class (a label of it is always wrong).

    Raises:
        NsfastError: arrays that do not fit each other, a class that does not exist, confidence outside 0 to
            1.
    """

    def __init__(
        self,
        predicted: np.ndarray,
        confidence: np.ndarray,
        classes: Sequence[str],
        per_class: int | str | None = None,
        truth: np.ndarray | None = None,
    ):
        predicted, confidence = np.asarray(predicted), np.asarray(confidence)
        truth = None if truth is None else np.asarray(truth)
        _check(predicted, confidence, classes, truth)
        how = Balancing(per_class=per_class or "largest", method="none" if per_class is None else "top")
        labels, right = Histogram(len(classes)), None
        labels.add(predicted, confidence)
        if truth is not None:
            same, right = truth == predicted, Histogram(len(classes))
            right.add(predicted[same], confidence[same])
        self._count(labels, classes, how, right)

    @classmethod
    def of_histogram(
        cls, labels: Histogram, classes: Sequence[str], how: Balancing, right: Histogram | None = None
    ) -> ThresholdPreview:
        """Return a preview of labels that have been counted, however many they are.

        Args:
            labels: all of them, as `LabelTable.histogram`.
            classes: the name of each class.
            how: how they will be balanced; `at` takes the place of its threshold.
            right: those whose label is right, where the truth is known.
        """
        preview = cls.__new__(cls)
        preview._count(labels, classes, how, right)
        return preview

    def _count(
        self, labels: Histogram, classes: Sequence[str], how: Balancing, right: Histogram | None
    ) -> None:
        self.classes = tuple(str(name) for name in classes)
        self.how = how
        self._labels, self._right = labels, right

    def __len__(self) -> int:
        return int(self._labels.predicted.sum())

    def at(self, threshold: float) -> ThresholdTable:
        """Return what the threshold (0 to 1) keeps, drops and copies in each class."""
        within("threshold", threshold, 0, 1)
        limits = what_if(self._labels, self.classes, replace(self.how, threshold=float(threshold)))
        counts = limits.predicted, limits.above, limits.kept, limits.seen - limits.kept
        right = None if self._right is None else _right(self._right, limits)
        return ThresholdTable(float(threshold), self.classes, *counts, right)

    @cached_property
    def histogram(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Edges (41,), pseudo-labels in each of 40 equal bins, the wrong ones (None without truth)."""
        edges, confidence = np.linspace(0, 1, 41), confidence_of(np.arange(CODES)).astype(np.float32)

        def binned(counts: Histogram) -> np.ndarray:
            return np.histogram(confidence, edges, weights=counts.counts.sum(0, dtype=np.int64))[0]

        labels = binned(self._labels)
        return edges, labels, None if self._right is None else labels - binned(self._right)


def _right(right: Histogram, limits: Limits) -> np.ndarray:
    """How many of the kept are right; where lots decide, how many are expected to be."""
    over = right.at_least(np.minimum(limits.code + 1, CODES))
    at = right.at_least(limits.code) - over
    inside = over + at * ((limits.inside - limits.over) / np.maximum(limits.at, 1))
    expected = inside * (limits.kept / np.maximum(limits.inside, 1))
    return np.minimum(expected, limits.kept)  # rounding must not make more right than there are


def _share(part, whole) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.true_divide(part, whole)


def _imbalance(count: np.ndarray) -> float:
    if not count.max():
        return float("nan")
    return float(count.max() / count.min()) if count.min() else float("inf")


def _check(
    predicted: np.ndarray, confidence: np.ndarray, classes: Sequence[str], truth: np.ndarray | None
) -> None:
    shapes = {"predicted": predicted.shape, "confidence": confidence.shape}
    if truth is not None:
        shapes["truth"] = truth.shape
    if len(set(shapes.values())) > 1 or predicted.ndim != 1 or not len(predicted):
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise NsfastError(
            f"shapes are {found}; all must be (n,), one entry for each pseudo-label, n at least 1"
        )
    if predicted.min() < 0 or predicted.max() >= len(classes):
        raise NsfastError(
            f"predicted classes range from {predicted.min()} to {predicted.max()} but {len(classes)} classes "
            "are named; name every class"
        )
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise NsfastError("confidence lies outside 0 to 1; take the largest probability after the softmax")
