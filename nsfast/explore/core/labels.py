"""Pseudo-labels as the explorer sees them: columns of one row per picture, made when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from nsfast.errors import NsfastError
from nsfast.explore.core.scores import Scores, flips, label_quality, scores_of
from nsfast.labels.histogram import Histogram, codes_of

Lookup = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Answers:
    """What another model says of the same pictures: the teacher of another round, or a student.

    Args:
        predicted: int32 (n,), -1 for a picture it has no label of.
        distributions: gives (k, classes) float32 for rows (k,), nan in the rows it has none of; None if they are not
            kept.
    """

    predicted: np.ndarray
    distributions: Lookup | None = None


@dataclass(frozen=True)
class Whole:
    """All pseudo-labels there are, where those that are explored are a random sample of them.

    Args:
        count: how many.
        histogram: of them all.
        right: of those whose label is right; None where the truth is not known.
    """

    count: int
    histogram: Histogram
    right: Histogram | None = None


class PseudoLabels:
    """Pseudo-labels and all that is known of them.

    Args:
        classes: names.
        predicted: integers (n,), the class of each, n at least 1.
        confidence: (n,), its probability, 0 to 1; kept as float16.
        names: (n,) names of the pictures, unique; or a function that gives them for rows. The row's number if left out.
        scores: gives second class, margin and entropy (see `scores_of`); None where there are no distributions.
        distributions: gives (k, classes) float32 for rows (k,); None where there are none.
        truth: integers (n,), the true classes, -1 for a picture of no class; None if it is not known.
        others: by name, such as "round 1" or "student 3", in the order of the rounds.
        round: of these labels, 0 where there is none.
        pictures: (n, height, width, channels) uint8, or `PictureFiles`, or None: the picture of each row.
        embedding: float (n, 2), where each picture lies on a map; nan for those that are not on it.
        find: gives, for names, the rows of each, an empty array where there is none; needed where `names` is a
            function.
        left_out: bool (n,), pictures that balancing leaves out whatever is decided (leaked ones, duplicates).
        whole: what these are a sample of; None where these are all.

    Raises:
        NsfastError: arrays that do not fit each other, a class that does not exist, confidence outside 0 to 1.
    """

    def __init__(
        self,
        classes: Sequence[str],
        predicted: np.ndarray,
        confidence: np.ndarray,
        names: Sequence[str] | Callable[[np.ndarray], Sequence[str]] | None = None,
        scores: Callable[[], Scores] | None = None,
        distributions: Lookup | None = None,
        truth: np.ndarray | None = None,
        others: Mapping[str, Answers] | None = None,
        round: int = 0,
        pictures: Any = None,
        embedding: np.ndarray | None = None,
        find: Callable[[Sequence[str]], Sequence[np.ndarray]] | None = None,
        left_out: np.ndarray | None = None,
        whole: Whole | None = None,
    ):
        self.classes = tuple(str(name) for name in classes)
        self.predicted = _classes("predicted", predicted, len(self.classes), 0)
        confidence = np.asarray(confidence)
        self.truth = None if truth is None else _classes("truth", truth, len(self.classes), -1)
        self.others = {
            name: replace(
                answers, predicted=_classes(f"what {name!r} says:", answers.predicted, len(self.classes), -1)
            )
            for name, answers in (others or {}).items()
        }
        arrays = {"confidence": confidence, "truth": self.truth, "embedding": embedding, "pictures": pictures}
        arrays |= {"left_out": left_out}
        arrays |= {"names": None if callable(names) else names}
        arrays |= {f"what {name!r} says": answers.predicted for name, answers in self.others.items()}
        for name, array in arrays.items():
            if array is not None and len(array) != len(self):
                raise NsfastError(
                    f"{name} has {len(array):,} entries for {len(self):,} pseudo-labels; give one each"
                )
        with np.errstate(invalid="ignore"):
            if not len(self) or not ((confidence >= 0) & (confidence <= 1)).all():
                raise NsfastError(
                    "there are no pseudo-labels; label pictures first"
                    if not len(self)
                    else "confidence lies outside 0 to 1; take the largest probability after the softmax"
                )
        self.confidence = confidence.astype(np.float16)
        self.round, self.pictures, self.embedding = round, pictures, embedding
        self.distributions, self.left_out, self.whole = distributions, left_out, whole
        self._names, self._find, self._scores = names, find, scores
        self._orders: dict[str, np.ndarray] = {}
        self._rows: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.predicted)

    @property
    def sampled_from(self) -> int:
        """Of how many labels these are a random sample, 0 where these are all."""
        return 0 if self.whole is None else self.whole.count

    @cached_property
    def codes(self) -> np.ndarray:
        """(n,) uint16, the confidences as integers in the same order."""
        return codes_of(self.confidence)

    @cached_property
    def scores(self) -> Scores:
        """Second class, margin and entropy of each.

        Raises:
            NsfastError: there are no distributions.
        """
        if self._scores is None:
            raise NsfastError(
                "these labels have no probabilities but the confidence, so there is no margin, entropy or second "
                "class; sort by confidence or quality"
            )
        return self._scores()

    def scores_at(self, rows: np.ndarray) -> Scores:
        """Return the scores of some pictures; those of all are not made for it."""
        if "scores" in vars(self) or self.distributions is None:
            every = self.scores
            return Scores(every.second[rows], every.margin[rows], every.entropy[rows])
        return scores_of([(self.distributions(rows), None)], len(rows), len(self.classes))

    @property
    def has_scores(self) -> bool:
        """Whether second class, margin and entropy can be known."""
        return self._scores is not None

    @cached_property
    def quality(self) -> np.ndarray:
        """(n,) float32 label-quality score, 0 to 1; see `label_quality`."""
        return label_quality(self.predicted, self.confidence, len(self.classes))

    @cached_property
    def flips(self) -> np.ndarray:
        """(n,) int16, how often the class changed from round to round, up to these labels."""
        earlier = [self.others[name].predicted for name in self.rounds if int(name.split()[1]) < self.round]
        return flips([*earlier, self.predicted])

    @property
    def rounds(self) -> list[str]:
        """The names of those `others` that are rounds: "round 1", ..."""
        return [name for name in self.others if name.startswith("round ") and name[6:].isdecimal()]

    def score(self, name: str) -> np.ndarray:
        """Return the column (n,) by which pictures are sorted; see `SORTS`."""
        return getattr(self.scores if name in ("margin", "entropy") else self, name)

    def order(self, name: str) -> np.ndarray:
        """Return all rows (n,) int32 with the column rising, equals in the order of the rows; sorted only once."""
        if name not in self._orders:
            column = self.codes if name == "confidence" else self.score(name)
            self._orders[name] = np.argsort(column, kind="stable").astype(np.int32)
        return self._orders[name]

    def names(self, rows: np.ndarray) -> list[str]:
        """Return the names of some pictures."""
        if callable(self._names):
            return [str(name) for name in self._names(rows)]
        if self._names is None:
            return [str(row) for row in np.asarray(rows).tolist()]
        return [str(self._names[row]) for row in np.asarray(rows).tolist()]

    def rows(self, names: Sequence[str]) -> np.ndarray:
        """Return the rows int64, rising, of the pictures with these names; unknown names have none."""
        return np.unique(np.concatenate([*self.rows_of(names), np.empty(0, np.int64)]).astype(np.int64))

    def rows_of(self, names: Sequence[str]) -> list[np.ndarray]:
        """Return the rows of each name: one, none, or more where a name is there more than once.

        What was found is kept, so that a name is only looked for once.
        """
        names = [str(name) for name in names]
        if missing := [name for name in dict.fromkeys(names) if name not in self._rows]:
            self._rows.update(zip(missing, self._find_rows(missing), strict=True))
        return [self._rows[name] for name in names]

    def _find_rows(self, names: list[str]) -> Sequence[np.ndarray]:
        if self._find is not None:
            return self._find(names)
        if self._names is None:
            there = [
                int(name) if name.isdecimal() and name == str(int(name)) else len(self) for name in names
            ]
            return [np.array([row] if row < len(self) else [], np.int64) for row in there]
        if len(self._last) == len(self):
            return [np.array([self._last[name]] if name in self._last else [], np.int64) for name in names]
        rows: dict[str, list[int]] = {name: [] for name in names}
        for row, name in enumerate(self._names):
            if str(name) in rows:
                rows[str(name)].append(row)
        return [np.array(rows[name], np.int64) for name in names]

    @cached_property
    def _last(self) -> dict[str, int]:
        """The last row with each name."""
        return {str(name): row for row, name in enumerate(self._names)}


def _classes(what: str, given: np.ndarray, count: int, lowest: int) -> np.ndarray:
    """Classes (n,) as int32, if each of them exists."""
    given = np.asarray(given)
    if given.ndim != 1:
        raise NsfastError(f"{what} has shape {given.shape}; it must be (n,), one entry for each pseudo-label")
    if len(given) and not (lowest <= given.min() and given.max() < count):
        raise NsfastError(
            f"{what} classes range from {given.min()} to {given.max()} but {count} classes are named; name every class"
        )
    return given.astype(np.int32)
