"""What is said of each picture on a page, and of one of them in detail, as plain data that a browser reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nsfast.explore.core.labels import PseudoLabels
from nsfast.explore.core.selection import NO_CLASS

if TYPE_CHECKING:
    from nsfast.labels.decisions import Decisions

DIGITS = 3


def items_of(
    labels: PseudoLabels,
    rows: np.ndarray,
    decisions: Decisions | None = None,
    problems: Mapping[int, str] | None = None,
) -> list[dict[str, Any]]:
    """Return what is said of each picture on a page.

    Args:
        labels: all of them.
        rows: int64 (k,), the pictures.
        decisions: what people decided.
        problems: place (0 to k - 1) and what is wrong with the picture there; see `tiles_of`.

    Returns:
        Of each `row`, `name`, `class`, `confidence` (0 to 1, 3 decimals), `second` and `margin` (None where they are
        not known), `truth` ("(no class)" for a picture of none) and `right` (None where it is not known), `before` (the
        class by the name of each other model that has one), `decision` ("", "accept", "reject" or "relabel"), `to` (the
        class it then counts as where that is another one, else None), `who` decided, `conflict` (whether people differ)
        and `problem` ("" where there is none).
    """
    rows, problems = np.asarray(rows, np.int64), problems or {}
    names = (*labels.classes, NO_CLASS)  # -1 is the last
    scores = labels.scores_at(rows) if labels.has_scores else None
    said = {name: answers.predicted[rows].tolist() for name, answers in labels.others.items()}
    items = []
    for place, (row, name) in enumerate(zip(rows.tolist(), labels.names(rows), strict=True)):
        label = int(labels.predicted[row])
        truth = None if labels.truth is None else int(labels.truth[row])
        items.append(
            {
                "row": row,
                "name": name,
                "class": names[label],
                "confidence": _rounded(labels.confidence[row]),
                "second": names[int(scores.second[place])] if scores else None,
                "margin": _rounded(scores.margin[place]) if scores else None,
                "truth": None if truth is None else names[truth],
                "right": None if truth is None else truth == label,
                "before": {other: names[seen[place]] for other, seen in said.items() if seen[place] >= 0},
                **_decision(name, decisions),
                "problem": problems.get(place, ""),
            }
        )
    return items


def detail_of(
    labels: PseudoLabels, row: int, decisions: Decisions | None = None, most: int = 5
) -> dict[str, Any]:
    """Return what is known of one picture.

    Args:
        labels: all of them.
        row: the picture.
        decisions: what people decided.
        most: how many of the likeliest classes of each round are named.

    Returns:
        `name`, `class`, `truth` (None where it is not known), `quality`, `entropy` and `margin` (None where they are
        not known), `flips` (None where no other round is known); `rounds`, of each model whose probabilities are known
        and of these labels its `name`, `classes` (the same in each, the likeliest of these labels first) and their
        `probabilities` (None where one is not known); and `history`, the decision on the picture, or each person's if
        they differ, with `action`, `was` and `to` (classes, or None), `who`, `why`, `ts` and `round`.
    """
    names = (*labels.classes, NO_CLASS)  # -1 is the last
    name = labels.names(np.array([row]))[0]
    scores = labels.scores_at(np.array([row])) if labels.has_scores else None
    return {
        "name": name,
        "class": names[int(labels.predicted[row])],
        "truth": None if labels.truth is None else names[int(labels.truth[row])],
        "quality": _rounded(labels.quality[row]),
        "entropy": _rounded(scores.entropy[0]) if scores else None,
        "margin": _rounded(scores.margin[0]) if scores else None,
        "flips": int(labels.flips[row]) if labels.rounds else None,
        "rounds": _rounds(labels, row, most),
        "history": _history(name, decisions),
    }


def _rounds(labels: PseudoLabels, row: int, most: int) -> list[dict[str, Any]]:
    """The probabilities of each model, of the classes that are likely to one of them."""
    this = f"round {labels.round}" if labels.round else "these labels"
    known = {this: _probabilities(labels, row)}
    for name, answers in labels.others.items():
        if answers.distributions is not None and name != this:
            known[name] = np.asarray(answers.distributions(np.array([row]))[0], np.float64)
    known = {name: found for name, found in known.items() if not np.isnan(found).all()}
    likely = {int(number) for found in known.values() for number in _likeliest(found, most)}
    own = np.nan_to_num(known[this])
    classes = sorted(likely, key=lambda number: (-own[number], number))
    return [
        {
            "name": name,
            "classes": [labels.classes[number] for number in classes],
            "probabilities": [_rounded(known[name][number]) for number in classes],
        }
        for name in sorted(known, key=lambda name: _place(name, this))
    ]


def _probabilities(labels: PseudoLabels, row: int) -> np.ndarray:
    """float64 (classes,), nan where a probability is not known: without distributions all but the label's."""
    if labels.distributions is not None:
        found = np.asarray(labels.distributions(np.array([row]))[0], np.float64)
        if not np.isnan(found).all():
            return found
    found = np.full(len(labels.classes), np.nan)
    found[labels.predicted[row]] = labels.confidence[row]
    return found


def _likeliest(probabilities: np.ndarray, most: int) -> np.ndarray:
    """The classes that are likeliest, of equals the first; none that has no chance."""
    first = np.argsort(-np.nan_to_num(probabilities), kind="stable")[:most]
    return first[np.nan_to_num(probabilities)[first] > 0]


def _place(name: str, this: str) -> tuple[bool, int]:
    """Rounds by their number, then the others as they are; these labels, where they are of no round, last."""
    number = name.removeprefix("round ")
    if name != number and number.isdecimal():
        return False, int(number)
    return True, int(name == this)


def _decision(name: str, decisions: Decisions | None) -> dict[str, Any]:
    verdict = decisions.verdicts.get(name) if decisions is not None else None
    if verdict is None:
        return {"decision": "", "to": None, "who": "", "conflict": False}
    conflict = name in decisions.conflicts
    return {"decision": verdict.action, "to": verdict.to, "who": verdict.who, "conflict": conflict}


def _history(name: str, decisions: Decisions | None) -> list[dict[str, Any]]:
    """The last decision of each person; where they do not differ, the one that counts."""
    if decisions is None or name not in decisions.verdicts:
        return []
    verdicts = decisions.conflicts.get(name) or (decisions.verdicts[name],)
    columns = ("action", "was", "to", "who", "why", "ts", "round")
    return [{column: getattr(verdict, column) for column in columns} for verdict in verdicts]


def _rounded(number: Any) -> float | None:
    number = float(number)
    return None if np.isnan(number) else round(number, DIGITS)
