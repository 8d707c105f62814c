"""What a threshold would keep of each class, fast enough to follow a slider over a million pseudo-labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nsfast.analysis.metrics import wilson_interval
from nsfast.errors import NsfastError, within


@dataclass(frozen=True)
class ThresholdTable:
    """What one threshold makes of the pseudo-labels; every array is int64 (classes,)."""

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
    """Kept ones whose label is right, where the truth is known."""

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
        """Return a row per class with the columns of `labels.select.class_counts`.

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
    """Pseudo-labels sorted once, so that any threshold costs one binary search per class.

    Thresholds are compared in float16 after rounding both sides, as the selection does; ties at the cap are
    kept in the order of the arrays here, by id there.

    Args:
        predicted: int64 (n,), the class of each pseudo-label, n at least 1.
        confidence: float (n,), its probability, 0 to 1.
        classes: the name of each class.
        per_class: pictures of each class after balancing; None to filter only, 0 for as many as the largest
            class has above the threshold.
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
        per_class: int | None = None,
        truth: np.ndarray | None = None,
    ):
        predicted, confidence = np.asarray(predicted), np.asarray(confidence)
        truth = None if truth is None else np.asarray(truth)
        _check(predicted, confidence, classes, truth)
        if per_class is not None:
            within("per_class", per_class, 0)
        self.classes = tuple(str(name) for name in classes)
        self.per_class = per_class
        # float16 rounds, float32 searches: numpy has no fast comparison of float16
        rounded = confidence.astype(np.float16).astype(np.float32)
        order = np.lexsort((-confidence.astype(np.float32), predicted))
        self._falling = -rounded[order]
        count = np.bincount(predicted, minlength=len(self.classes))
        self._predicted = count
        self._start = np.concatenate([[0], np.cumsum(count)])
        self._right = None
        if truth is not None:
            self._right = np.concatenate([[0], np.cumsum((truth == predicted)[order])])

    def __len__(self) -> int:
        return len(self._falling)

    def at(self, threshold: float) -> ThresholdTable:
        """Return what the threshold (0 to 1) keeps, drops and copies in each class."""
        within("threshold", threshold, 0, 1)
        limit = -np.float32(np.float16(threshold))
        bounds = zip(self._start[:-1], self._start[1:], strict=True)
        above = np.array(
            [np.searchsorted(self._falling[a:b], limit, side="right") for a, b in bounds], np.int64
        )
        kept, copies = above, np.zeros_like(above)
        if self.per_class is not None:
            wanted = self.per_class or int(above.max())
            kept = np.minimum(above, wanted)
            copies = np.where(kept > 0, wanted - kept, 0)
        right = None
        if self._right is not None:
            right = self._right[self._start[:-1] + kept] - self._right[self._start[:-1]]
        return ThresholdTable(float(threshold), self.classes, self._predicted, above, kept, copies, right)

    @cached_property
    def histogram(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Edges (41,), pseudo-labels in each of 40 equal bins, the wrong ones (None without truth)."""
        edges = np.linspace(0, 1, 41)
        confidence = -self._falling
        wrong = None
        if self._right is not None:
            wrong = np.histogram(confidence[np.diff(self._right) == 0], edges)[0]
        return edges, np.histogram(confidence, edges)[0], wrong


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
