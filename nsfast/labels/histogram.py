"""How many labels each class has at each confidence: all that a threshold and a number per class depend on.

Confidences are float16, of which 15,361 lie from 0 to 1; as integers they are in order, so a histogram over them is
exact, and those of several shards add up.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from nsfast.errors import NsfastError
from nsfast.labels.balancing.pieces import written_in_pieces
from nsfast.labels.shards import read_batches

CODES = 0x3C00 + 1
"""Float16 numbers from 0 to 1, both included."""

WIDE = 1 << 26
"""Cells from which on a cell is one byte, and what it cannot hold stands aside: 22,000 classes in 0.34 GB."""

BLOCK = 1 << 24
"""Cells up to which the running sums of all are kept, 64 MB, as of 1000 classes; beyond it of an eighth at a time."""


def codes_of(confidence: np.ndarray) -> np.ndarray:
    """Return confidences (n,) as uint16 codes that are in the same order: 0 for 0, 15,360 for 1.

    Raises:
        NsfastError: a confidence is not a number between 0 and 1.
    """
    codes = np.ascontiguousarray(confidence, np.float16).view(np.uint16)
    if len(codes) and codes.max() >= CODES:  # negative numbers and NaN have larger codes; -0 is one of them
        codes = np.where(codes == 0x8000, 0, codes).astype(np.uint16)
        if codes.max() >= CODES:
            wrong = np.ascontiguousarray(confidence, np.float16)[codes >= CODES][0]
            raise NsfastError(f"a confidence is {wrong}; every one must be between 0 and 1, so label again")
    return codes


def confidence_of(codes: np.ndarray) -> np.ndarray:
    """Return the confidences (n,) float16 of codes."""
    return np.asarray(codes, np.uint16).view(np.float16)


def above(confidence: np.ndarray, threshold: float) -> np.ndarray:
    """Return which confidences reach the threshold, compared in float16 after rounding both sides."""
    return np.asarray(confidence).astype(np.float16) >= np.float16(threshold)


class Histogram:
    """Labels by class and confidence.

    Args:
        classes: how many classes there are.
        lowest: the lowest code that has a cell of its own; labels below it are only counted by class.
    """

    def __init__(self, classes: int, lowest: int = 0):
        self.classes, self.lowest, self.width = classes, int(lowest), CODES - int(lowest)
        cells = classes * self.width
        self._cells = np.zeros(cells, np.uint32 if cells <= WIDE else np.uint8)
        self._aside: list[np.ndarray] = []  # the cell, once for every 256 that it could not hold
        self._sums: np.ndarray | None = None
        self.below = np.zeros(classes, np.int64)
        """(classes,) labels with a code below the lowest."""
        self.highest = -1
        """The code of the surest label, -1 where there is none."""

    def add(self, predicted: np.ndarray, confidence: np.ndarray) -> None:
        """Count more labels: classes (n,) and confidences (n,)."""
        self.add_codes(predicted, codes_of(confidence))

    def add_codes(self, predicted: np.ndarray, codes: np.ndarray) -> None:
        """Count more labels: classes (n,) and the codes (n,) of their confidences."""
        if not len(codes):
            return
        self._sums, self.highest = None, max(self.highest, int(codes.max()))
        if self.lowest:
            counted = codes >= self.lowest
            self.below += np.bincount(predicted[~counted], minlength=self.classes)
            predicted, codes = predicted[counted], codes[counted]
        cells = predicted.astype(np.int64) * self.width + (codes - np.uint16(self.lowest))
        if self._cells.dtype == np.uint32:
            np.add.at(self._cells, cells, np.uint32(1))  # another type of number is 20 times slower
        else:
            self._add(*np.unique(cells, return_counts=True))

    def _add(self, cells: np.ndarray, counts: np.ndarray) -> None:
        """Add to cells, each of which occurs once."""
        if self._cells.dtype == np.uint32:
            self._cells[cells] += counts.astype(np.uint32)
            return
        whole = self._cells[cells] + counts.astype(np.int64)
        self._cells[cells] = (whole & 255).astype(np.uint8)
        self._aside.append(np.repeat(cells, whole >> 8))

    @property
    def counts(self) -> np.ndarray:
        """(classes, codes from the lowest up) uint32."""
        return self._counts(slice(0, self.classes))

    def _counts(self, some: slice) -> np.ndarray:
        start, stop = some.start * self.width, some.stop * self.width
        found = self._cells[start:stop].astype(np.uint32, copy=False).reshape(-1, self.width)
        for aside in self._aside:
            mine = aside[(aside >= start) & (aside < stop)] - start
            np.add.at(found.reshape(-1), mine, np.uint32(256))
        return found

    def _blocks(self) -> Iterator[slice]:
        step = max(BLOCK // 8 // self.width, 1)
        return (slice(i, min(i + step, self.classes)) for i in range(0, self.classes, step))

    def _running(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Some classes after others, each time with how many labels (classes, 1 + codes) the surest codes have."""
        if len(self._cells) > BLOCK:
            for some in self._blocks():
                yield some, self._summed(some)
            return
        every = slice(0, self.classes)
        if self._sums is None:
            self._sums = self._summed(every)
        yield every, self._sums

    def _summed(self, some: slice) -> np.ndarray:
        sums = np.zeros((some.stop - some.start, self.width + 1), np.uint32)
        np.cumsum(self._counts(some)[:, ::-1], axis=1, dtype=np.uint32, out=sums[:, 1:])
        return sums

    @property
    def predicted(self) -> np.ndarray:
        """(classes,) int64: labels of each class, whatever their confidence."""
        return self.below + self.at_least(np.full(self.classes, self.lowest))

    def at_least(self, codes: np.ndarray) -> np.ndarray:
        """Return how many labels of each class have a code of at least `codes`, int64.

        Args:
            codes: (..., classes) integers, not below the lowest.
        """
        places = np.maximum(CODES - np.asarray(codes, np.int64), 0)
        parts = [
            sums[np.arange(len(sums)), places[..., some]].astype(np.int64) for some, sums in self._running()
        ]
        return np.concatenate(parts, axis=-1)

    def by_code(self, share: np.ndarray | None = None, above: np.ndarray | None = None) -> np.ndarray:
        """Return how many labels have each code, float64 (15361,), with nothing below the lowest.

        Args:
            share: (classes,) how much a label of each class counts; 1 if left out.
            above: (classes,) codes; only labels with a higher one count. All if left out.
        """
        found = np.zeros(CODES)
        first = np.zeros(self.classes, np.int64) if above is None else np.asarray(above) + 1
        for some in self._blocks():
            for number, counts in zip(range(some.start, some.stop), self._counts(some), strict=True):
                start = max(int(first[number]), self.lowest)
                weight = 1.0 if share is None else share[number]
                if weight and start < CODES:
                    found[start:] += counts[start - self.lowest :] * weight
        return found

    def surest(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where the most confident labels of each class end.

        Args:
            wanted: (classes,) how many labels, not more than have a code of at least the lowest.

        Returns:
            (classes,) int64 each: the code of the last of them, one above all codes where none is wanted; the labels
            with a higher code; and the labels with that code, which need not all be wanted.
        """
        found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for some, sums in self._running():
            need, rows = wanted[some], np.arange(len(sums))
            low, high = np.zeros(len(sums), np.int64), np.full(len(sums), self.width)
            while (low < high).any():
                middle = (low + high) // 2
                enough = sums[rows, middle] >= need
                low, high = np.where(enough, low, middle + 1), np.where(enough, middle, high)
            over = sums[rows, np.maximum(low - 1, 0)].astype(np.int64)
            found.append((CODES - low, over, sums[rows, low] - over))
        code, over, at = (np.concatenate(part) for part in zip(*found, strict=True))
        return code, over, at

    def save(self, path: str | Path) -> None:
        """Write it as a Parquet file: class, confidence, count; those that are 0 are left out."""
        fields = [("class", pa.uint16()), ("confidence", pa.float16()), ("count", pa.int64())]
        with written_in_pieces(path, pa.schema(fields)) as add:
            for some in self._blocks():
                counts = self._counts(some)
                which, code = np.nonzero(counts)
                columns = which + some.start, confidence_of(code + self.lowest), counts[which, code]
                add(columns[0].astype(np.uint16), columns[1], columns[2].astype(np.int64))

    @classmethod
    def load(cls, path: str | Path, classes: int, lowest: int = 0) -> Histogram:
        """Read what `save` wrote; only what is not below `lowest` gets a cell of its own."""
        found = cls(classes, lowest)
        for part in read_batches(path, ("class", "confidence", "count")):
            which, codes, count = part["class"], codes_of(part["confidence"]), part["count"]
            found.highest = max(found.highest, int(codes.max(initial=0)))
            counted = codes >= lowest
            below = np.bincount(which[~counted], weights=count[~counted], minlength=classes)
            found.below += below.astype(np.int64)
            cells = which[counted].astype(np.int64) * found.width + (codes[counted] - np.uint16(lowest))
            found._add(cells, count[counted])
        return found
