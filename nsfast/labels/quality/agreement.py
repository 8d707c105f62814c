"""How the labels of two rounds differ: what agrees, what flips, what gains or loses its place above the threshold."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nsfast.errors import NsfastError
from nsfast.labels.balancing.decided import Decided, Part
from nsfast.labels.table import LabelTable

TOP_FLIPS = 20


def agreement(labels: LabelTable, before: LabelTable, limits: np.ndarray, temperature: float = 1.0) -> dict:
    """Return how labels agree with those of the round before, picture by picture.

    Args:
        labels, before: of the same pictures and classes.
        limits: (classes,), the code of each class's threshold; both rounds are held to it.
        temperature: of both rounds' confidences.

    Returns:
        `round` and `teacher` of the round before; `both`, pictures that have a label in both; `agreement`, the share
        of these whose class is the same; `reached_both`, those that reach the threshold in both, and
        `agreement_of_reached`, the share of these whose class is the same; `gained` and `lost`, those that reach it
        only now or did only before; `flipped`, those whose class changed, and `flips`, the 20 most frequent changes
        as `from`, `to`, `count`. A share of nothing is None.

    Raises:
        NsfastError: tables of other pictures or classes, or one that is not in the order of its ids.
    """
    ignore = ("teacher", "round", "preprocessing", "top")
    if differs := labels.origin.difference(before.origin, ignore):
        raise NsfastError(f"the labels in {before.folder} and {labels.folder} cannot be compared: {differs}")
    classes = len(labels.classes)
    both = agree = reached_both = agree_reached = gained = lost = 0
    flips, counts = np.empty(0, np.int64), np.empty(0, np.int64)
    for now, then in _together(*(_in_order(table, temperature) for table in (labels, before))):
        same = now.classes == then.classes
        reached, reached_then = (part.codes >= limits[part.classes] for part in (now, then))
        both, agree = both + len(same), agree + int(same.sum())
        reached_both += int((reached & reached_then).sum())
        agree_reached += int((reached & reached_then & same).sum())
        gained, lost = (
            gained + int((reached & ~reached_then).sum()),
            lost + int((~reached & reached_then).sum()),
        )
        changes = then.classes[~same].astype(np.int64) * classes + now.classes[~same]
        flips, place = np.unique(np.concatenate([flips, changes]), return_inverse=True)
        weights = np.concatenate([counts, np.ones(len(changes), np.int64)])
        counts = np.bincount(place, weights, len(flips)).astype(np.int64)
    top = np.lexsort((flips, -counts))[:TOP_FLIPS]
    names = labels.classes
    return {
        "round": before.origin.round,
        "teacher": before.origin.teacher,
        "both": both,
        "agreement": agree / both if both else None,
        "reached_both": reached_both,
        "agreement_of_reached": agree_reached / reached_both if reached_both else None,
        "gained": gained,
        "lost": lost,
        "flipped": both - agree,
        "flips": [
            {"from": names[flips[i] // classes], "to": names[flips[i] % classes], "count": int(counts[i])}
            for i in top
        ],
    }


def _in_order(labels: LabelTable, temperature: float) -> Iterator[Part]:
    """The parts of a table that hold something; raises when their ids do not rise."""
    last = -1
    for part in Decided(labels, temperature).parts():
        if len(part.ids):
            if part.ids[0] <= last or (np.diff(part.ids) <= 0).any():
                raise NsfastError(
                    f"the labels in {labels.folder} are not in the order of their ids; label again"
                )
            last = part.ids[-1]
            yield part


def _together(first: Iterator[Part], second: Iterator[Part]) -> Iterator[tuple[Part, Part]]:
    """The rows of two tables that have the same ids, side by side, with one part of each in memory."""
    one, other = next(first, None), next(second, None)
    while one is not None and other is not None:
        _, *rows = np.intersect1d(one.ids, other.ids, assume_unique=True, return_indices=True)
        if len(rows[0]):
            parts = zip((one, other), rows, strict=True)
            yield tuple(Part(p.ids[r], p.classes[r], p.codes[r], p.out) for p, r in parts)
        if one.ids[-1] <= other.ids[-1]:
            one = next(first, None)
        else:
            other = next(second, None)
