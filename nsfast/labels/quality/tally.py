"""Labels counted by class and confidence, all of them and the right ones: what their quality is reckoned from."""

from __future__ import annotations

import numpy as np

from nsfast.errors import NsfastError
from nsfast.labels.balancing.decided import Decided
from nsfast.labels.histogram import CODES, codes_of, confidence_of
from nsfast.labels.quality.reliability import reliability_of_counts, wilson_interval
from nsfast.labels.table import LabelTable

STEPS = tuple(step / 20 for step in range(21))
"""Thresholds at which more is said than at others."""

STEP_CODES = codes_of(np.array(STEPS)).astype(np.int64)
CONFIDENCES = confidence_of(np.arange(CODES)).astype(np.float64)


class Tally:
    """Some labels, counted; memory depends on the number of classes alone.

    Args:
        limits: (classes,) the code of each class's threshold.
    """

    def __init__(self, limits: np.ndarray):
        self.limits, classes = limits, len(limits)
        self.predicted = np.zeros(classes, np.int64)
        """(classes,) labels of each class."""
        self.reached = np.zeros(classes, np.int64)
        """(classes,) those of them that reach the threshold."""
        self.codes = np.zeros(CODES, np.int64)
        """(codes,) labels of each confidence."""
        self.reached_codes = np.zeros(CODES, np.int64)
        """(codes,) those of them that reach their class's threshold."""
        self._steps = np.zeros((classes, len(STEPS)), np.int64)

    def add(self, predicted: np.ndarray, codes: np.ndarray) -> None:
        """Count more labels: classes (n,) and the codes (n,) of their confidences."""
        reached = codes >= self.limits[predicted]
        self.predicted += np.bincount(predicted, minlength=len(self.limits))
        self.reached += np.bincount(predicted[reached], minlength=len(self.limits))
        self.codes += np.bincount(codes, minlength=CODES)
        self.reached_codes += np.bincount(codes[reached], minlength=CODES)
        cells = predicted.astype(np.int64) * len(STEPS) + _STEP_OF[codes]
        self._steps += np.bincount(cells, minlength=self._steps.size).reshape(self._steps.shape)

    @property
    def steps(self) -> np.ndarray:
        """(classes, steps) labels of each class that reach each of `STEPS`."""
        return self._steps[:, ::-1].cumsum(1)[:, ::-1]


_STEP_OF = np.searchsorted(STEP_CODES, np.arange(CODES), side="right") - 1


class Truth:
    """What the truth says of labels, once they are counted.

    Args:
        truth: int64 (pictures,) by id, -1 for a picture of no class.
        labels: of these pictures.
        limits: (classes,) the code of each class's threshold.

    Raises:
        NsfastError: a truth of other pictures, or with a class that does not exist.
    """

    def __init__(self, truth: np.ndarray, labels: LabelTable, limits: np.ndarray):
        pictures, classes = labels.manifest["pictures"], len(labels.classes)
        if truth.shape != (pictures,):
            raise NsfastError(
                f"the truth is of {len(truth):,} pictures, the labels in {labels.folder} of {pictures:,}"
            )
        if pictures and (truth.min() < -1 or truth.max() >= classes):
            raise NsfastError(
                f"the truth is from {truth.min()} to {truth.max()}; it must be from -1 (no class) to {classes - 1}"
            )
        self.classes, self._truth = np.bincount(truth[truth >= 0], minlength=classes), truth
        """(classes,) pictures of each class, labeled or not."""
        self.right = Tally(limits)
        """The labels that are right."""
        self.no_class = 0
        """Labels that reach the threshold, of pictures of no class."""
        self._of_a_class = 0

    def add(self, ids: np.ndarray, predicted: np.ndarray, codes: np.ndarray) -> None:
        """Count more labels (n,)."""
        truth = self._truth[ids]
        right = truth == predicted
        self.right.add(predicted[right], codes[right])
        self.no_class += int(((truth < 0) & (codes >= self.right.limits[predicted])).sum())
        self._of_a_class += int((truth >= 0).sum())

    @property
    def in_class_accuracy(self) -> float | None:
        """The share of right labels among those of pictures that have a class, whatever their confidence."""
        return share(self.right.predicted.sum(), self._of_a_class)

    def by_class(self, every: Tally) -> dict[str, list]:
        """Return columns over the classes: truth, right, precision, low, high, recall."""
        low, high = wilson_interval(self.right.reached, every.reached)
        columns = {"truth": self.classes.tolist(), "right": self.right.reached.tolist()}
        columns |= {"precision": shares(self.right.reached, every.reached)}
        columns |= {"low": low.tolist(), "high": high.tolist()}
        return columns | {"recall": shares(self.right.reached, self.classes)}

    def of_all(self, every: Tally) -> dict:
        """Return what is true of all classes together, as `quality` has it under `truth`."""
        reached, right = int(every.reached.sum()), int(self.right.reached.sum())
        found = {"reached": reached, "right": right, **precision(right, reached), "no_class": self.no_class}
        with_class = int(self.classes.sum())
        found |= {"with_class": with_class, "recall": share(right, with_class)}
        found["in_class_accuracy"] = self.in_class_accuracy
        steps = zip(STEPS, every.steps.sum(0).tolist(), self.right.steps.sum(0).tolist(), strict=True)
        found["by_threshold"] = [
            {"threshold": at, "reached": n, "right": hits, **precision(hits, n)} for at, n, hits in steps
        ]
        both = {"reached": every.steps.tolist(), "right": self.right.steps.tolist()}
        return found | {"by_class_and_threshold": both, **_reliability(every.codes, self.right.codes)}


def count(
    labels: LabelTable, limits: np.ndarray, truth: np.ndarray | None = None, temperature: float = 1.0
) -> tuple[Tally, Truth | None]:
    """Count every label, and what the truth says of it where that is known, in one pass.

    Args:
        labels: the label table.
        limits: (classes,) the code of each class's threshold.
        truth: int64 (pictures,) by id.
        temperature: of the confidences.
    """
    every, known = Tally(limits), None if truth is None else Truth(truth, labels, limits)
    for part in Decided(labels, temperature).parts(ids=truth is not None):
        every.add(part.classes, part.codes)
        if known is not None:
            known.add(part.ids, part.classes, part.codes)
    return every, known


def _reliability(codes: np.ndarray, right: np.ndarray) -> dict:
    """Rows of the bins that hold labels, and the ECE."""
    table = reliability_of_counts(CONFIDENCES, right, codes)
    hits = np.nan_to_num(table.accuracy * table.count).round()
    columns = (
        table.edges[:-1],
        table.edges[1:],
        table.confidence,
        table.accuracy,
        *wilson_interval(hits, table.count),
    )
    rows = [
        {
            "pictures": int(n),
            **dict(zip(("from", "to", "confidence", "accuracy", "low", "high"), row, strict=True)),
        }
        for n, *row in zip(table.count, *(column.tolist() for column in columns), strict=True)
        if n
    ]
    return {"reliability": rows, "ece": table.expected_calibration_error if rows else None}


def precision(right: int, count: int) -> dict[str, float | None]:
    """Return the share of right ones with its 95 % interval (Wilson): precision, low, high."""
    low, high = wilson_interval(right, count)
    return {"precision": share(right, count), "low": float(low), "high": float(high)}


def share(part: float, whole: float) -> float | None:
    """Return part / whole, None of nothing."""
    return float(part / whole) if whole else None


def shares(part: np.ndarray, whole: np.ndarray) -> list[float | None]:
    """Return `share` of each pair."""
    return [share(a, b) for a, b in zip(part.tolist(), whole.tolist(), strict=True)]
