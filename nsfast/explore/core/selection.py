"""A selection of pseudo-labels: a filter, an order and pages, the same whether a mouse or Python makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nsfast.errors import NsfastError, choice, within
from nsfast.explore.core.labels import PseudoLabels
from nsfast.labels.origin import class_number

if TYPE_CHECKING:
    import pandas as pd

    from nsfast.labels.decisions import Decisions

SORTS = ("confidence", "margin", "entropy", "quality", "flips")
FALLING = ("entropy", "flips")
"""Where the most doubtful have the highest score."""
DECISIONS = ("accept", "reject", "relabel", "decided", "undecided", "conflict")
NO_CLASS = "(no class)"


@dataclass(frozen=True)
class Filter:
    """Which pictures, and in which order. None is no condition; all that are given must hold.

    Args:
        confidence: low and high, low <= confidence < high, compared in float16; a high of 1 includes 1.
        predicted: class name, or several.
        truth: class name, or several; "(no class)" for pictures of no class. Needs the truth.
        wrong: whether the label is wrong. Needs the truth.
        changed_since_round: the class is another one than in the labels of that round.
        disagrees_with: the class is another one than that model says, such as "round 2" or "student 3".
        seen_as: by the name of such a model, the class that it says, or several; "(no class)" for pictures that it has
            no label of.
        decision: "accept", "reject", "relabel", "decided", "undecided" or "conflict".
        pictures: names.
        sort: one of `SORTS`.
        descending: None begins with the most doubtful: least confidence, margin or quality, most entropy or flips.
            Falling is the reverse of rising: equals, too, are in the reverse order of their rows.
    """

    confidence: tuple[float, float] | None = None
    predicted: str | tuple[str, ...] | None = None
    truth: str | tuple[str, ...] | None = None
    wrong: bool | None = None
    changed_since_round: int | None = None
    disagrees_with: str | None = None
    seen_as: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    decision: str | None = None
    pictures: tuple[str, ...] | None = None
    sort: str = "confidence"
    descending: bool | None = None

    def __post_init__(self) -> None:
        for f in fields(self):
            object.__setattr__(self, f.name, _plain(getattr(self, f.name)))

    def __str__(self) -> str:
        """As it is typed: `select(confidence=(0.3, 0.5), predicted='7')`."""
        default = Filter()
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        given = {name: value for name, value in given.items() if value != getattr(default, name)}
        if isinstance(self.pictures, tuple) and len(self.pictures) > 3:
            given["pictures"] = _Short(f"[{len(self.pictures):,} names]")
        return f"select({', '.join(f'{name}={value!r}' for name, value in given.items())})"


class _Short(str):
    def __repr__(self) -> str:
        return str(self)


def _plain(value: Any) -> Any:
    """Numbers and arrays of numpy as Python's own, and lists as tuples, so that a filter reads as it is typed."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item) for item in value)
    return {_plain(k): _plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value


class Selection:
    """The pictures that a filter leaves, in its order.

    Args:
        labels: all pseudo-labels.
        filter: which of them.
        rows: int64 (k,), their rows, in order.
    """

    def __init__(self, labels: PseudoLabels, filter: Filter, rows: np.ndarray):
        self.labels, self.filter, self.rows = labels, filter, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"{len(self):,} of {len(self.labels):,} pictures: {self.filter}"

    def page(self, number: int, size: int = 24) -> np.ndarray:
        """Return the rows of a page; the first is 0."""
        return self.rows[number * size : (number + 1) * size]

    def pages(self, size: int = 24) -> int:
        """Return how many pages there are, at least 1."""
        return max(-(-len(self) // size), 1)

    @cached_property
    def names(self) -> list[str]:
        """The names of all of them."""
        return self.labels.names(self.rows)

    def to_frame(self) -> pd.DataFrame:
        """Return them as a table: picture, class, confidence, and what else is known."""
        import pandas as pd

        labels, rows = self.labels, self.rows
        classes = np.array([*labels.classes, NO_CLASS], dtype=object)  # -1 is the last
        columns = {"picture": self.names, "class": classes[labels.predicted[rows]]}
        columns |= {"confidence": labels.confidence[rows].astype(np.float32)}
        if labels.has_scores:
            scores = labels.scores
            columns |= {"second": classes[scores.second[rows]], "margin": scores.margin[rows]}
            columns |= {"entropy": scores.entropy[rows]}
        columns |= {"quality": labels.quality[rows]}
        if labels.truth is not None:
            columns |= {"truth": classes[labels.truth[rows]]}
        for name, answers in labels.others.items():
            said = answers.predicted[rows]
            columns[name] = np.where(said < 0, None, classes[said])
        return pd.DataFrame(columns)


def select(
    labels: PseudoLabels, filter: Filter | None = None, decisions: Decisions | None = None
) -> Selection:
    """Return the pictures that a filter leaves.

    Args:
        labels: all pseudo-labels.
        filter: which; all of them if left out.
        decisions: what people decided, where the filter asks for it.

    Raises:
        NsfastError: the filter asks for what is not known, or names what does not exist.
    """
    filter = filter or Filter()
    choice("sort", filter.sort, SORTS)
    wanted = _wanted(labels, filter, decisions)
    order = labels.order(filter.sort)
    falling = filter.sort in FALLING if filter.descending is None else bool(filter.descending)
    if falling:
        order = order[::-1]
    rows = order if wanted is None else order[wanted[order]]
    return Selection(labels, filter, rows.astype(np.int64))


def _wanted(labels: PseudoLabels, filter: Filter, decisions: Decisions | None) -> np.ndarray | None:
    """bool (n,), or None for all."""
    masks = []
    if filter.confidence is not None:
        low, high = _interval(filter.confidence)
        masks.append(labels.confidence >= np.float16(low))
        if high < 1:
            masks.append(labels.confidence < np.float16(high))
    if filter.predicted is not None:
        masks.append(_one_of(labels, labels.predicted, filter.predicted, no_class=False))
    if filter.truth is not None:
        masks.append(_one_of(labels, truth_of(labels, "truth"), filter.truth))
    if filter.wrong is not None:
        masks.append((truth_of(labels, "wrong") != labels.predicted) == bool(filter.wrong))
    if filter.changed_since_round is not None:
        masks.append(_differs(labels, f"round {filter.changed_since_round}"))
    if filter.disagrees_with is not None:
        masks.append(_differs(labels, filter.disagrees_with))
    for name, classes in _models(filter.seen_as).items():
        masks.append(_one_of(labels, said_by(labels, name), classes))
    if filter.decision is not None:
        masks.append(_decided(labels, filter.decision, decisions))
    if filter.pictures is not None:
        masks.append(_rows_of(labels, filter.pictures))
    if not masks:
        return None
    found = masks[0]
    for mask in masks[1:]:
        found = found & mask
    return found


def _interval(confidence: tuple[float, float]) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in confidence)
    except (TypeError, ValueError):
        raise NsfastError(f"confidence is {confidence!r}; give low and high, such as (0.3, 0.5)") from None
    within("confidence", low, 0, 1)
    within("confidence", high, 0, 1)
    if low > high:
        raise NsfastError(f"confidence is {confidence!r}; give the lower one first")
    return low, high


def _models(seen_as: Any) -> Mapping[str, str | tuple[str, ...]]:
    if not isinstance(seen_as, Mapping):
        raise NsfastError(
            f"seen_as is {seen_as!r}; give the class by the model, such as {{'round 1': 'cat'}}"
        )
    return seen_as


def _one_of(
    labels: PseudoLabels, column: np.ndarray, classes: str | tuple[str, ...], no_class: bool = True
) -> np.ndarray:
    names = classes if isinstance(classes, tuple) else (classes,)
    known = labels.classes
    none = NO_CLASS if no_class and NO_CLASS not in known else None
    numbers = [-1 if name == none else class_number(str(name), known) for name in names]
    return column == numbers[0] if len(numbers) == 1 else np.isin(column, numbers)


def truth_of(labels: PseudoLabels, what: str) -> np.ndarray:
    """Return the true classes; raise `NsfastError` saying what they are needed for if they are not known."""
    if labels.truth is None:
        raise NsfastError(f"{what} is asked for, but the truth of these pictures is not known; leave it out")
    return labels.truth


def said_by(labels: PseudoLabels, name: str) -> np.ndarray:
    """Return what another model says, -1 where it says nothing; raise `NsfastError` if there is no such model."""
    if not labels.others:
        raise NsfastError(f"{name!r} is asked for, but only the labels of one round are known; leave it out")
    return labels.others[choice("model", name, labels.others)].predicted


def _differs(labels: PseudoLabels, name: str) -> np.ndarray:
    said = said_by(labels, name)
    return (said >= 0) & (said != labels.predicted)


def _rows_of(labels: PseudoLabels, names: Any) -> np.ndarray:
    found = np.zeros(len(labels), bool)
    found[labels.rows([names] if isinstance(names, str) else names)] = True
    return found


def _decided(labels: PseudoLabels, decision: str, decisions: Decisions | None) -> np.ndarray:
    choice("decision", decision, DECISIONS)
    if decisions is None:
        raise NsfastError(f"decision={decision!r} is asked for, but there is no file of decisions")
    if decision in ("decided", "undecided"):
        return _rows_of(labels, list(decisions.verdicts)) == (decision == "decided")
    if decision == "conflict":
        return _rows_of(labels, list(decisions.conflicts))
    return _rows_of(
        labels, [name for name, verdict in decisions.verdicts.items() if verdict.action == decision]
    )
