"""Which pictures of a class are labeled, and which validate: drawn by the hash of their ids."""

from __future__ import annotations

import numpy as np

from nsfast.images.problem import ImageProblem


def spread(total: int, parts: int) -> np.ndarray:
    """Share `total` out over `parts` as evenly as it goes."""
    return np.full(parts, total // parts) + (np.arange(parts) < total % parts)


def class_counts(what: str, total: int, labels: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """Share `total` out over the classes; raise where one has not enough."""
    counts = spread(total, len(classes))
    sizes = np.bincount(labels, minlength=len(classes))
    short = np.flatnonzero(sizes < counts)
    if len(short):
        raise ImageProblem(
            f"{what}={total} asks for {counts[short[0]]} pictures of class {classes[short[0]]!r}, "
            f"which has {sizes[short[0]]} left; ask for fewer"
        )
    return counts


def first_of_each(labels: np.ndarray, order: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the rows that come first in their class, in the order of rows.

    Args:
        labels: (n,) class of each picture.
        order: (n,) what sorts the pictures, such as `hash_order` of their ids.
        counts: (classes,) how many of each class.
    """
    sizes = np.bincount(labels, minlength=len(counts))
    rows = np.lexsort((order, labels))
    place = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(rows[place < np.asarray(counts)[labels[rows]]])


def share_of_each(labels: np.ndarray, order: np.ndarray, share: float, classes: int) -> np.ndarray:
    """Return the rows that come first in their class: a share of it, but at least one."""
    sizes = np.bincount(labels, minlength=classes)
    return first_of_each(labels, order, np.maximum(1, np.floor(share * sizes + 0.5)).astype(np.int64))


def without(count: int, *rows: np.ndarray) -> np.ndarray:
    """Return those of `count` rows that are in none of the given ones."""
    left = np.ones(count, bool)
    for taken in rows:
        left[taken] = False
    return np.flatnonzero(left)
