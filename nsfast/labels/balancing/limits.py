"""Where each class is cut off and how often its pictures stand in, from the histogram of confidences alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nsfast.errors import NsfastError
from nsfast.labels.histogram import Histogram, codes_of
from nsfast.labels.origin import class_number

if TYPE_CHECKING:
    from nsfast.labels.balancing.balance import Balancing


@dataclass(frozen=True)
class Limits:
    """What balancing does with each class; arrays are (classes,) int64."""

    classes: tuple[str, ...]
    per_class: int
    """N, what every class is to come to, copies counted; 0 where nothing is balanced."""
    why: str
    """Where N is from, and which classes come to less, in one sentence."""
    predicted: np.ndarray
    """Labels of each class, whatever their confidence."""
    above: np.ndarray
    """Those that reach the threshold."""
    inside: np.ndarray
    """The most confident ones that share the places of the class."""
    seen: np.ndarray
    """Places that they share: what the student sees, by the "official" method on average."""
    code: np.ndarray
    """The code of the least confident one inside."""
    over: np.ndarray
    """Labels with a higher code; all are inside."""
    at: np.ndarray
    """Labels with that code; inside - over of them, whom lots decide, are inside."""

    @property
    def whole(self) -> np.ndarray:
        """How often each picture inside stands in the selection at least."""
        return self.seen // np.maximum(self.inside, 1)

    @property
    def rest(self) -> np.ndarray:
        """How many of them, whom lots decide, stand in it once more; by the "official" method on average."""
        return self.seen % np.maximum(self.inside, 1)

    @property
    def tied(self) -> np.ndarray:
        """(classes,) bool: whether not all labels with the lowest code are inside."""
        return self.over + self.at > self.inside

    @property
    def kept(self) -> np.ndarray:
        """Different pictures in the selection; where "official" thins them out, how many on average."""
        return np.where(self.whole > 0, self.inside, self.rest)

    def rows(self, kept: np.ndarray | None = None, seen: np.ndarray | None = None) -> list[dict[str, Any]]:
        """Return a row per class: class, predicted, above, kept, dropped, copies, seen.

        `kept` are different pictures, `dropped` is predicted - kept and `copies` is seen - kept.

        Args:
            kept, seen: (classes,) as they were counted, if they were.
        """
        kept, seen = self.kept if kept is None else kept, self.seen if seen is None else seen
        columns = {"predicted": self.predicted, "above": self.above, "kept": kept}
        columns |= {"dropped": self.predicted - kept, "copies": seen - kept, "seen": seen}
        numbers = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [
            {"class": name, **dict(zip(columns, row, strict=True))}
            for name, row in zip(self.classes, numbers, strict=True)
        ]


def threshold_codes(how: Balancing, classes: Sequence[str]) -> np.ndarray:
    """Return the code (classes,) int64 that each class's confidences must reach.

    Raises:
        NsfastError: a threshold for a class that does not exist; names the nearest.
    """
    thresholds = np.full(len(classes), how.threshold, np.float64)
    for name, threshold in how.thresholds.items():
        thresholds[class_number(name, tuple(classes))] = threshold
    return codes_of(thresholds).astype(np.int64)


def limits_of(histogram: Histogram, classes: Sequence[str], how: Balancing) -> Limits:
    """Return where each class ends; takes some milliseconds, and less when the histogram has been asked before.

    Args:
        histogram: of every label, counted at `how.temperature`.
        classes: names.
        how: what is asked for.

    Raises:
        NsfastError: the histogram does not go down to a threshold, or a threshold for a class that does not exist.
    """
    codes, predicted = threshold_codes(how, classes), histogram.predicted
    if codes.min() < histogram.lowest or (how.floor and histogram.lowest):
        raise NsfastError(f"the histogram does not go down to threshold {how.threshold:g}; count it anew")
    above = histogram.at_least(codes)
    floor = np.minimum(predicted - histogram.below, how.floor)
    candidates = np.maximum(above, floor)
    number, source = _number(how, candidates, predicted, classes)
    inside = np.minimum(candidates, number) if number else candidates
    if how.method == "official":
        inside = np.maximum(_in_whole_bins(histogram, codes, number), np.minimum(floor, number))
    seen = np.where(inside > 0, number, 0) if number else inside
    if how.max_copies:
        seen = np.minimum(seen, inside * how.max_copies)
    if number:
        why = _balanced(how, number, source, inside, seen)
    else:
        why = _filtered(how, int((candidates - above).sum()))
    return Limits(tuple(classes), number, why, predicted, above, inside, seen, *histogram.surest(inside))


def _in_whole_bins(histogram: Histogram, codes: np.ndarray, number: int) -> np.ndarray:
    """Labels of each class in as many bins of 0.01 as hold `number`, or in all that reach the threshold.

    From 1.00 down as the released filter_unlabel.py does it; the last bin ends at the threshold itself.
    """
    bins = codes_of(np.arange(100, -1, -1) / 100).astype(np.int64)
    counts = histogram.at_least(np.maximum(bins[:, None], codes))
    enough = counts >= number
    first = np.where(enough.any(0), enough.argmax(0), len(bins) - 1)
    return counts[first, np.arange(len(codes))]


def paper_number(labels: int, classes: int) -> int:
    """Return the paper's 130,000 pictures of each class, of 300 million labels of 1,000 classes, scaled to these."""
    return max(round(13 * labels / (30 * classes)), 1)


def _number(
    how: Balancing, candidates: np.ndarray, predicted: np.ndarray, classes: Sequence[str]
) -> tuple[int, str]:
    """N, and words that say where it is from."""
    if how.method == "none":
        return 0, ""
    if not isinstance(how.per_class, str):
        return int(how.per_class), ", as asked for"
    if how.per_class == "paper":
        labels = int(predicted.sum())
        number = paper_number(labels, len(classes))
        scaled = f"scaled from 300 million labels of 1,000 classes to {labels:,} of {len(classes):,}"
        return number, f": the paper's 130,000, {scaled}"
    if how.per_class == "largest":
        number = max(int(candidates.max()), 1)
        name = classes[int(candidates.argmax())]
        return number, f", as many as the largest, {name!r}, keeps"
    number = _most_copied(candidates[candidates > 0])
    share = "at least 81 of 130 are different pictures, as the paper's 81 of 130 million"
    share += ", without max_copies" if how.max_copies else ""
    return number, f", the largest number at which {share}"


def _balanced(how: Balancing, number: int, source: str, inside: np.ndarray, seen: np.ndarray) -> str:
    """The sentence on N: what of it is not so of every class, too."""
    if not inside.any():
        return "no picture is confident enough"
    fewer, none = int(((0 < seen) & (seen < number)).sum()), int((inside == 0).sum())
    most = "at most " if fewer else ""
    mean = " on average" if how.method == "official" and (seen % np.maximum(inside, 1)).any() else ""
    said = [f"{most}{number:,} picture{'s' * (number != 1)} of each class{mean}{source}"]
    if how.floor > number:
        said.append(f"the floor of {how.floor:,} is cut to that")
    if fewer:
        times = "once" if how.max_copies == 1 else f"{how.max_copies:,} times"
        said.append(f"{_classes(fewer)} fewer, for no picture is seen more than {times} (max_copies)")
    if none:
        said.append(f"{_classes(none)} none, for no picture is confident enough")
    return "; ".join(said)


def _filtered(how: Balancing, more: int) -> str:
    """The sentence where nothing is balanced."""
    floor = f", and {more:,} more for the floor of {how.floor:,}" if how.floor else ""
    return f"every picture that is confident enough once{floor}; nothing is balanced"


def _classes(count: int) -> str:
    return "1 class has" if count == 1 else f"{count:,} classes have"


def _most_copied(sizes: np.ndarray) -> int:
    """The largest N at which the N most confident of each class are 81/130 of N of each class or more."""
    if not len(sizes):
        return 1
    low, high = 1, int(sizes.max()) * 130 // 81  # beyond it even classes that are all as large are too few
    while low < high:
        middle = (low + high + 1) // 2
        enough = 130 * int(np.minimum(sizes, middle).sum()) >= 81 * middle * len(sizes)
        low, high = (middle, high) if enough else (low, middle - 1)
    return low
