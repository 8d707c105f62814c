"""What a threshold would keep of each class, fast enough to follow a slider over any number of pseudo-labels."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from nsfast.errors import NsfastError, within
from nsfast.explore.core.threshold_table import ThresholdTable
from nsfast.labels.balancing.balance import Balancing, what_if
from nsfast.labels.balancing.decided import SURE
from nsfast.labels.balancing.limits import Limits
from nsfast.labels.histogram import CODES, Histogram, codes_of, confidence_of
from nsfast.labels.quality.estimate import PrecisionFit
from nsfast.labels.sorted_histogram import SortedHistogram

if TYPE_CHECKING:
    from nsfast.explore.core.labels import PseudoLabels
    from nsfast.labels.decisions import Decisions

Counts = Histogram | SortedHistogram


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
        codes, right = codes_of(confidence), None
        labels = SortedHistogram(len(classes), predicted, codes)
        if truth is not None:
            same = truth == predicted
            right = SortedHistogram(len(classes), predicted[same], codes[same])
        self._count(labels, classes, how, right)

    @classmethod
    def of_histogram(
        cls, labels: Counts, classes: Sequence[str], how: Balancing, right: Counts | None = None
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

    @classmethod
    def of_labels(
        cls, labels: PseudoLabels, how: Balancing, decisions: Decisions | None = None
    ) -> ThresholdPreview:
        """Return a preview of labels as balancing will see them.

        Rejected pictures and those that are left out count as predicted and reach no threshold; accepted and relabeled
        ones have confidence 1.

        Args:
            labels: all of them, with their truth where it is known.
            how: how they will be balanced.
            decisions: what people decided.

        Of a sample all labels that it is of are counted, without decisions and with those that are left out, those
        from `how.below` on among them.
        """
        if labels.whole is not None:
            return cls.of_histogram(labels.whole.histogram, labels.classes, how, labels.whole.right)
        predicted, codes, out = labels.predicted, labels.codes, labels.left_out
        if decisions is not None and len(decisions):
            predicted, codes = predicted.copy(), codes.copy()
            out = np.zeros(len(labels), bool) if out is None else out.copy()
            numbers = decisions.numbers(labels.classes)
            for number, rows in zip(numbers.values(), labels.rows_of(list(numbers)), strict=True):
                predicted[rows] = number
            codes[labels.rows([*numbers, *decisions.accepted])] = SURE
            out[labels.rows(list(decisions.rejected))] = True
        if how.below:
            over = codes >= codes_of(np.array([how.below]))[0]
            out = over if out is None else out | over
        classes, stay = len(labels.classes), slice(None) if out is None else ~out
        below = None if out is None else np.bincount(predicted[out], minlength=classes)
        every, right = SortedHistogram(classes, predicted[stay], codes[stay], below), None
        if labels.truth is not None:
            same = labels.truth == predicted if out is None else (labels.truth == predicted) & ~out
            right = SortedHistogram(classes, predicted[same], codes[same])
        return cls.of_histogram(every, labels.classes, how, right)

    def asking(self, how: Balancing) -> ThresholdPreview:
        """Return a preview of the same labels that are balanced in another way; nothing is counted again."""
        preview = copy.copy(self)
        preview.how = how
        return preview

    def knowing(self, labeled: np.ndarray | None = None, fit: PrecisionFit | None = None) -> ThresholdPreview:
        """Return a preview of the same labels that compares and estimates, too; nothing is counted again.

        Args:
            labeled: int (classes,), how many labeled pictures each class has.
            fit: what precision is estimated from where the truth is not known; pictures that a person accepted or
                relabeled are taken as what the model is sure of.
        """
        preview = copy.copy(self)
        preview._labeled = None if labeled is None else int(np.sum(labeled))
        preview._fit = fit
        return preview

    def _count(self, labels: Counts, classes: Sequence[str], how: Balancing, right: Counts | None) -> None:
        self.classes = tuple(str(name) for name in classes)
        self.how = how
        self._labels, self._right = labels, right
        self._labeled: int | None = None
        self._fit: PrecisionFit | None = None

    def __len__(self) -> int:
        return int(self._labels.predicted.sum())

    def at(self, threshold: float) -> ThresholdTable:
        """Return what the threshold (0 to 1) keeps, drops and copies in each class."""
        within("threshold", threshold, 0, 1)
        limits = what_if(self._labels, self.classes, replace(self.how, threshold=float(threshold), below=0.0))
        counts = limits.predicted, limits.above, limits.kept, limits.seen - limits.kept
        right = estimated = None
        if self._right is not None:
            right = _right(self._right, limits)
        elif self._fit is not None and limits.kept.any():
            estimated = self._fit.of(_kept_codes(self._labels, limits))
        lowest = np.where(
            limits.inside > 0, confidence_of(np.minimum(limits.code, CODES - 1)).astype(float), np.nan
        )
        known = right, lowest, limits.per_class, limits.why, self._labeled, estimated
        return ThresholdTable(float(threshold), self.classes, *counts, *known)


def _right(right: Counts, limits: Limits) -> np.ndarray:
    """How many of the kept are right; where lots decide, how many are expected to be."""
    over = right.at_least(np.minimum(limits.code + 1, CODES))
    at = right.at_least(limits.code) - over
    inside = over + at * ((limits.inside - limits.over) / np.maximum(limits.at, 1))
    expected = inside * (limits.kept / np.maximum(limits.inside, 1))
    return np.minimum(expected, limits.kept)  # rounding must not make more right than there are


def _kept_codes(labels: Counts, limits: Limits) -> np.ndarray:
    """How many of the kept have each confidence, float64 (15361,) by code; where lots decide, as many as expected."""
    share = limits.kept / np.maximum(limits.inside, 1)
    found, some = labels.by_code(share, limits.code), limits.kept > 0
    np.add.at(found, limits.code[some], ((limits.inside - limits.over) * share)[some])
    return found


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
