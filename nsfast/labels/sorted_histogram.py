"""Labels by class and confidence as one sorted list: four bytes a label, however many classes there are."""

from __future__ import annotations

import numpy as np

from nsfast.labels.histogram import CODES


class SortedHistogram:
    """What a `Histogram` of some labels answers, made anew in milliseconds.

    A histogram of 1000 classes takes 61 MB and as much again for its sums, which is worth it where labels come part by
    part; this one is for labels that are at hand.

    Args:
        classes: how many there are, at most 65,536.
        predicted: integers (n,), the class of each label.
        codes: integers (n,), the code of its confidence; see `codes_of`.
        below: (classes,) labels that are counted and reach no threshold; none if left out.
    """

    lowest = 0

    def __init__(
        self, classes: int, predicted: np.ndarray, codes: np.ndarray, below: np.ndarray | None = None
    ):
        self.classes = classes
        self.below = np.zeros(classes, np.int64) if below is None else np.asarray(below, np.int64)
        self._keys = predicted.astype(np.uint32)
        self._keys *= np.uint32(CODES)
        self._keys += codes.astype(np.uint32)
        self._keys.sort()
        self._first = np.arange(classes) * CODES
        ends = np.searchsorted(self._keys, np.arange(classes + 1) * CODES)
        self._starts, self._stops = ends[:-1], ends[1:]

    @property
    def predicted(self) -> np.ndarray:
        """(classes,) int64: labels of each class, whatever their confidence."""
        return self.below + self._stops - self._starts

    def at_least(self, codes: np.ndarray) -> np.ndarray:
        """Return how many labels of each class have a code of at least `codes` (..., classes), int64."""
        keys = self._first + np.minimum(np.asarray(codes, np.int64), CODES)
        return self._stops - np.searchsorted(self._keys, keys)

    def surest(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where the most confident labels of each class end, as `Histogram.surest`.

        Args:
            wanted: (classes,) how many labels, not more than there are.
        """
        code, some = np.full(self.classes, CODES), wanted > 0
        code[some] = (self._keys[(self._stops - wanted)[some]] - self._first[some]).astype(np.int64)
        over = self.at_least(code + 1)
        return code, over, self.at_least(code) - over

    def by_code(self, share: np.ndarray | None = None, above: np.ndarray | None = None) -> np.ndarray:
        """Return how many labels have each code, as `Histogram.by_code`."""
        codes = (self._keys % np.uint32(CODES)).astype(np.int64)
        counts = self._stops - self._starts
        weights = None if share is None else np.repeat(np.asarray(share, float), counts)
        if above is not None:
            reached = codes > np.repeat(above, counts)
            codes, weights = codes[reached], None if weights is None else weights[reached]
        return np.bincount(codes, weights, CODES).astype(float)
