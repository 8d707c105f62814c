"""Filtering and balancing: which pseudo-labels the student sees, and how often (Noisy Student, section 2).

A histogram of the confidences says where each class ends. Where equals are to be told apart, or some are to be copied
once more, hashes of the ids decide in another pass; the last pass writes. Memory depends on the number of classes
alone, and the result neither on the order of the rows nor on the shards.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from nsfast.errors import NsfastError, choice, nearest, within
from nsfast.files import write_csv, write_json
from nsfast.labels.balancing.decided import Decided
from nsfast.labels.balancing.limits import Limits, limits_of, threshold_codes
from nsfast.labels.balancing.lots import Lots
from nsfast.labels.balancing.selection import (
    Selection,
    Unordered,
    read_selection,
    write_selection,
    written_selection,
)
from nsfast.labels.histogram import Histogram, confidence_of
from nsfast.labels.table import LabelTable

METHODS = ("top", "official", "none")
NUMBERS = ("paper", "largest", "auto")
MOST = 2**32 - 1
"""What the column `copies` can hold."""


@dataclass(frozen=True)
class Balancing:
    """What is asked for.

    Args:
        threshold: smallest confidence that is kept, 0 to 1, compared in float16; the paper's is 0.3.
        per_class: N, pictures of each class, copies counted: a number; "paper", its 130,000 of 300 million labels of
            1000 classes, scaled to these; "largest", as many as the largest class keeps; or "auto", the largest N at
            which at least 81/130 of N of each class are different pictures, as the paper's 81 of 130 million.
        method: "top", the N most confident ones, and where there are fewer all of them, N // kept times each and
            N % kept random ones once more (paper); "official", as the released filter_unlabel.py: bins of 0.01 from
            1.00 down until N are inside, and N / inside copies of each, the fraction as a coin flip; "none", only
            filter, for which a number as `per_class` and `max_copies` are refused.
        seed: of whom lots decide.
        thresholds: for some classes, by name, instead of `threshold`.
        floor: a class keeps at least so many of its most confident ones, whatever the threshold. An N that is no number
            may turn out smaller: then the floor is cut to it, as `Balanced.why` says.
        max_copies: how often a picture may stand in the selection, itself included, 0 for any number; it takes from N
            what is too much.
        empty: "error" when of a class nothing is kept; "warn" leaves it to `Balanced.empty`.
        below: confidences at or above it are left out, too, so that a band of them is studied; 0 for no such limit.
        temperature: of the confidences, above 0: they become the largest of softmax(logits / temperature).

    Raises:
        NsfastError: the first argument that is outside its range.
    """

    threshold: float = 0.3
    per_class: int | str = "paper"
    method: str = "top"
    seed: int = 0
    thresholds: Mapping[str, float] = field(default_factory=dict)
    floor: int = 0
    max_copies: int = 0
    empty: str = "warn"
    below: float = 0.0
    temperature: float = 1.0

    def __post_init__(self):
        within("threshold", self.threshold, 0, 1)
        for name, threshold in self.thresholds.items():
            within(f"threshold of {name!r}", threshold, 0, 1)
        counted = not isinstance(self.per_class, str)
        if counted:
            _whole("per_class", self.per_class, 1)
        elif self.per_class not in NUMBERS:
            valid = nearest(self.per_class, NUMBERS).replace("valid names:", "valid: a number,")
            raise NsfastError(f"unknown per_class {self.per_class!r}{valid}")
        choice("balancing method", self.method, METHODS)
        _whole("floor", self.floor, 0)
        _whole("max_copies", self.max_copies, 0)
        if self.method == "none" and (counted or self.max_copies):
            given = f"per_class is {self.per_class}" if counted else f"max_copies is {self.max_copies}"
            raise NsfastError(
                f"{given}, but method 'none' only filters; leave it out, or choose method 'top' or 'official'"
            )
        if counted and self.floor > self.per_class:
            raise NsfastError(
                f"floor is {self.floor}, but per_class only {self.per_class}; lower the one or raise the other"
            )
        choice("empty", self.empty, ("warn", "error"))
        within("below", self.below, 0, 1)
        if 0 < self.below <= max((self.threshold, *self.thresholds.values())):
            raise NsfastError(
                f"below is {self.below:g}, which no confidence from the threshold {self.threshold:g} on is; raise it, "
                "or set it to 0 for no such limit"
            )
        if not 0 < self.temperature < math.inf:
            raise NsfastError(f"temperature is {self.temperature!r}; it must be above 0")

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, as JSON holds it."""
        thresholds = {name: float(value) for name, value in sorted(self.thresholds.items())}
        number = self.per_class if isinstance(self.per_class, str) else int(self.per_class)
        return {**asdict(self), "thresholds": thresholds, "per_class": number}


def _whole(what: str, value: int, low: int) -> None:
    if not isinstance(value, Integral):
        raise NsfastError(f"{what} is {value!r}; it must be a whole number")
    within(what, value, low)
    if value > MOST:
        raise NsfastError(f"{what} is {value:,}; it must be at most {MOST:,}")


@dataclass(frozen=True)
class Balanced:
    """What balancing came to.

    Args:
        folder: holds `selection.parquet` and `balance.csv`.
        rows: of `balance.csv`, one for each class: class, predicted, above, kept, dropped, copies, seen.
        per_class: N, 0 where nothing is balanced.
        why: where N is from, and which classes come to less, in one sentence.
        unmet: how many accepted or relabeled pictures have no label (they are quarantined, say), so that what was
            decided of them changes nothing; 0 as a rule.
    """

    folder: Path
    rows: list[dict[str, Any]]
    per_class: int
    why: str
    unmet: int = 0

    @property
    def empty(self) -> list[str]:
        """The classes of which nothing is kept."""
        return [row["class"] for row in self.rows if not row["kept"]]

    @cached_property
    def selection(self) -> Selection:
        """What is selected; read when it is asked for."""
        return read_selection(self.folder / "selection.parquet")


def what_if(histogram: Histogram, classes: Sequence[str], how: Balancing) -> Limits:
    """Return what balancing would come to, from the histogram alone: `rows()` are those of `balance.csv`.

    Under the "official" method, whose copies are coin flips, they are what is expected, which are whole numbers.

    Args:
        histogram: of the labels at `how.temperature`: `LabelTable.histogram` for 1, else `Decided(...).histogram()`.
        classes: names.
        how: what is asked for.
    """
    return limits_of(histogram, classes, how)


def balance(
    labels: LabelTable,
    how: Balancing,
    folder: str | Path,
    relabeled: Mapping[int, int] | None = None,
    accepted: Collection[int] = (),
    dropped: Collection[int] | np.ndarray = (),
) -> Balanced:
    """Select confident pseudo-labels, of every class the same number.

    Writes `selection.parquet`, `balance.csv` (a row per class) and `balancing.json` (what was asked for, and what came
    of it: `asked`, `per_class`, `why`, `empty`, `unmet`, and the sums over the classes of `predicted`, `above`, `kept`
    and `seen`). The first says nothing of what was asked for: equal selections are equal to the byte. Prints a warning
    when decisions are unmet.

    Args:
        labels: the label table.
        how: what is asked for.
        folder: where to.
        relabeled: the class of pictures (id) to which a person gave another one: they count as that, with confidence 1.
        accepted: ids that a person found right: they count with confidence 1.
        dropped: ids that are out, rejected or leaked, whatever else is said of them; `predicted` counts them.

    Raises:
        NsfastError: nothing is confident enough; a class is empty and that is an error; an unknown class; a confidence
            that is no number from 0 to 1; a damaged file.
    """
    folder = Path(folder)
    codes = threshold_codes(how, labels.classes)
    decided = Decided(labels, how.temperature, relabeled, accepted, dropped, how.below)
    histogram = decided.histogram(lowest=0 if how.floor else codes.min())
    limits = limits_of(histogram, labels.classes, how)
    _require_some(limits, histogram, how, labels)
    _require_every_class(limits.inside, how, labels)
    del histogram  # as large as anything that follows
    lots = Lots(limits, how.seed, coins=how.method == "official")
    lots.draw(decided)
    counts = _write(folder / "selection.parquet", labels, how, decided, lots)
    unmet = len(decided.accepted) - counts.sure
    balanced = Balanced(folder, limits.rows(counts.kept, counts.seen), limits.per_class, limits.why, unmet)
    if unmet:
        print(
            f"warning: {unmet:,} of {len(decided.accepted):,} accepted or relabeled pictures have no label in "
            f"{labels.folder}, so that they are not selected; see quarantined.csv"
        )
    write_csv(folder / "balance.csv", balanced.rows)
    about = {
        "asked": how.to_dict(),
        "per_class": balanced.per_class,
        "why": balanced.why,
        "empty": balanced.empty,
        "unmet": unmet,
    }
    about |= {
        name: sum(row[name] for row in balanced.rows) for name in ("predicted", "above", "kept", "seen")
    }
    write_json(folder / "balancing.json", about)
    return balanced


class _Counts:
    """What was written: pictures (classes,) and pictures with their copies; and how many decisions were met."""

    def __init__(self, classes: int):
        self.kept, self.seen, self.sure = np.zeros(classes, np.int64), np.zeros(classes, np.int64), 0


def _write(path: Path, labels: LabelTable, how: Balancing, decided: Decided, lots: Lots) -> _Counts:
    """Write the selection and count it."""
    limits, origin = lots.limits, labels.origin
    about = {"labels": origin.fingerprint, "teacher": origin.teacher, "round": origin.round}
    counts = _Counts(len(limits.classes))
    try:
        with written_selection(path, about) as add:
            for part in _selected(decided, lots, counts):
                add(part.ids, part.classes, part.copies)
            _check(counts, how, labels, limits)
    except Unordered:  # the ids of a table rise unless somebody else wrote it
        counts = _Counts(len(limits.classes))
        parts = [(part.ids, part.classes, part.copies) for part in _selected(decided, lots, counts)]
        _check(counts, how, labels, limits)
        columns = (np.concatenate(column) for column in zip(*parts, strict=True))
        write_selection(path, Selection(*columns), about)
    return counts


def _selected(decided: Decided, lots: Lots, counts: _Counts) -> Iterator[Selection]:
    """Go through what is selected, and count it."""
    for part in decided.parts():
        ids, classes, copies = lots.selected(part)
        counts.kept += np.bincount(classes, minlength=len(counts.kept))
        counts.seen += np.bincount(classes, copies, len(counts.seen)).astype(np.int64)
        counts.sure += part.sure
        yield Selection(ids, classes, copies)


def _check(counts: _Counts, how: Balancing, labels: LabelTable, limits: Limits) -> None:
    """Refuse what cannot be: other counts than the histogram promised, as of shards that were exchanged."""
    flipped = (limits.rest > 0) & (how.method == "official")  # these numbers are right on average only
    wrong = (counts.seen != limits.seen) & ~flipped
    if (wrong | (counts.kept != limits.kept) & ~(flipped & (limits.whole == 0))).any():
        raise NsfastError(f"the labels in {labels.folder} are not those of its histogram; label again")
    _require_every_class(counts.kept, how, labels)


def _require_some(limits: Limits, histogram: Histogram, how: Balancing, labels: LabelTable) -> None:
    if limits.inside.any():
        return
    if histogram.highest < 0:
        raise NsfastError(f"there is no label left in {labels.folder}; label pictures, or drop fewer of them")
    surest = float(confidence_of(np.array([histogram.highest]))[0])
    own = " or that of its class" if how.thresholds else ""
    raise NsfastError(
        f"no pseudo-label reaches threshold {how.threshold:g}{own}; the surest has {surest:.3f}: lower it"
    )


def _require_every_class(kept: np.ndarray, how: Balancing, labels: LabelTable) -> None:
    """Raise `NsfastError` naming the classes of which nothing is kept, if that is asked for."""
    empty = [name for name, number in zip(labels.classes, kept.tolist(), strict=True) if not number]
    if empty and how.empty == "error":
        more = f" and {len(empty) - 5} others" if len(empty) > 5 else ""
        raise NsfastError(
            f"no pseudo-label of {', '.join(empty[:5])}{more} is confident enough; lower the threshold, set a floor, "
            "or let empty be 'warn'"
        )
