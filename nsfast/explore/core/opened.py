"""A table of pseudo-labels as it was read, of nsfast or of another tool, before anything else is known of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nsfast.errors import NsfastError
from nsfast.explore.core.labels import Lookup, Whole
from nsfast.explore.core.picture_rows import PictureNames

Part = tuple[np.ndarray, "np.ndarray | None"]
"""Distributions of some rows, as `scores_of` takes them."""

CELLS = 1 << 21
"""Probabilities that are worked on at once: what a step makes of them stays within some 10 MB."""


@dataclass(frozen=True)
class Opened:
    """Some pseudo-labels of a table: all, or a random sample of them.

    Args:
        path: of the table.
        classes: names.
        names: of the pictures.
        numbers: int64 (n,), the number of each picture, by which arrays of pictures or truth are indexed: its id where
            ids are integers, else its row in the table.
        pictures: how many pictures have a number, None where that is not known.
        predicted: integers (n,).
        confidence: float16 (n,).
        parts: gives the distributions of all, part by part; None where there are none or of one class.
        distributions: gives those of some rows; None where there are none.
        truth: integers (n,), -1 for no class; None where the table does not say it.
        round: of the labels, 0 where there is none.
        whole: what these are a sample of.
    """

    path: Path
    classes: tuple[str, ...]
    names: PictureNames
    numbers: np.ndarray
    pictures: int | None
    predicted: np.ndarray
    confidence: np.ndarray
    parts: Callable[[], Iterator[Part]] | None = None
    distributions: Lookup | None = None
    truth: np.ndarray | None = None
    round: int = 0
    whole: Whole | None = None

    def __len__(self) -> int:
        return len(self.predicted)

    def by_number(self, what: str, given: Any) -> np.ndarray:
        """Return the entries (n,) of an array that has one for each picture by its number.

        Raises:
            NsfastError: it has not; `what` names it.
        """
        return by_number(what, given, self.numbers, self.pictures)


def by_number(what: str, given: Any, numbers: np.ndarray, pictures: int | None) -> np.ndarray:
    """Return the entries (n,) of an array at numbers (n,); see `Opened.by_number`."""
    given = np.asarray(given)
    needed = int(numbers.max(initial=-1)) + 1 if pictures is None else pictures
    length = len(given) if given.ndim else 0
    if length != needed and not (pictures is None and length > needed):
        raise NsfastError(f"{what} has {length:,} entries for {needed:,} pictures; give one for each, by id")
    return given[numbers]


def chosen(rows: np.ndarray | None, start: int, columns: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return of a part's columns the rows that were drawn.

    Args:
        rows: integers, rising, the rows of the table that were drawn; None for all.
        start: the part's first row in the table.
        columns: arrays (m, ...), the part.
    """
    if rows is None:
        return list(columns)
    stop = start + len(columns[0])
    inside = rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)] - start
    return [column[inside] for column in columns]


def said_sampled(path: Path, drawn: int, count: int) -> None:
    """Say that only a sample is explored."""
    print(f"{path} has {count:,} labels; {drawn:,} of them, drawn at random, are explored (most={drawn:,})")
