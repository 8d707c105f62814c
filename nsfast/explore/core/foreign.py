"""Pseudo-labels that another tool wrote: Parquet or CSV with the columns id, class and confidence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nsfast.errors import NsfastError, nearest
from nsfast.explore.core.foreign_columns import Columns, Lists
from nsfast.explore.core.labels import Whole
from nsfast.explore.core.opened import Opened, by_number, said_sampled
from nsfast.explore.core.picture_rows import PictureNames
from nsfast.explore.core.selection import NO_CLASS
from nsfast.labels.histogram import Histogram
from nsfast.streams import hash_order

NUMBER = "^(0|[1-9][0-9]{0,15})$"
"""Text that is a number as it is written."""

NONE = ("-1", NO_CLASS)
"""A truth that is no class."""

MOST_CLASSES = 65536


def foreign_files(path: Path) -> list[Path]:
    """Return the Parquet files, or the one file, that a table is made of; none where there are none."""
    if path.is_dir():
        return sorted(path.glob("*.parquet"))
    return [path] if path.is_file() else []


def read_foreign(
    path: Path, files: Sequence[Path], classes: Sequence[str] | None, most: int, truth: np.ndarray | None
) -> Opened:
    """Read pseudo-labels that another tool wrote.

    Columns: `id`, text or an integer, the picture's name; `class`, a name, or the place among `classes` (the names "0",
    "1", ... where none are given); `confidence`, 0 to 1. And where they are there `truth`, as `class`, or -1 for a
    picture of no class; and in Parquet `probabilities`, a list with one for each class. Others are not looked at. In a
    CSV, where text and numbers cannot be told, a number is the name of a class if all of them are.

    Args:
        path: of the table, as it is called.
        files: of the table; one CSV, or Parquet files.
        classes: names; those that occur, sorted, where none are given.
        most: labels; of more a random sample is taken.
        truth: integers by the number of the picture, in place of the column.

    Raises:
        NsfastError: a column is missing, or something in one of them is not what it must be; names it.
    """
    columns = Columns(path, files)
    if not len(columns):
        raise NsfastError(f"{path} has no rows; give pseudo-labels")
    ids = columns.text("id")
    _require_unique(path, ids)
    numbered = pc.all(pc.match_substring_regex(ids, NUMBER)).as_py()
    numbers = ids.cast(pa.int64()).to_numpy() if numbered else np.arange(len(ids))
    pictures = None if numbered else len(ids)
    confidence = _confidence(path, ids, columns.column("confidence"))
    names, predicted, known, lists = _classes(columns, classes, ids)
    if truth is not None:
        known = by_number("truth", truth, numbers, pictures)
    rows, whole = None, None
    if len(ids) > most:
        whole = _whole(predicted, confidence, known, len(names))
        order = hash_order(ids.to_pylist(), 0, "explored")
        rows = np.sort(np.argpartition(order, most - 1)[:most])
        ids, numbers, predicted, confidence = ids.take(rows), numbers[rows], predicted[rows], confidence[rows]
        known = None if known is None else known[rows]
        said_sampled(path, most, whole.count)
    return Opened(
        path,
        names,
        PictureNames(lambda: ids),
        numbers,
        pictures,
        predicted,
        confidence,
        (lambda: lists.parts(rows)) if lists and len(names) > 1 else None,
        (lambda wanted: lists.at(wanted if rows is None else rows[wanted])) if lists else None,
        known,
        whole=whole,
    )


def _require_unique(path: Path, ids: pa.Array) -> None:
    if ids.null_count:
        raise NsfastError(f"{path}: {ids.null_count:,} rows have no id; give each the name of its picture")
    if pc.count_distinct(ids).as_py() < len(ids):
        counts = pc.value_counts(ids)
        twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
        raise NsfastError(
            f"{path}: id {twice[0].as_py()!r} is there more than once; give each picture one label"
        )


def _confidence(path: Path, ids: pa.Array, column: pa.Array) -> np.ndarray:
    """Confidences (n,) float16."""
    try:
        values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)  # nan for null
    except pa.ArrowException as error:
        raise NsfastError(f"{path}: a confidence is no number ({str(error).splitlines()[0]})") from None
    with np.errstate(invalid="ignore"):
        wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(wrong):
        first = f"the confidence of {ids[int(wrong[0])].as_py()!r} is {values[wrong[0]]:g}"
        raise NsfastError(f"{path}: {first}; {len(wrong):,} of {len(ids):,} are not between 0 and 1")
    return values.astype(np.float16)


def _classes(
    columns: Columns, given: Sequence[str] | None, ids: pa.Array
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray | None, Lists | None]:
    """The names of the classes, the class of each label, its true one, and the distributions if they are of these."""
    path, lists, words = columns.path, columns.lists(), _words(columns, ids)
    every = {word for column in words.values() for word in column.dictionary.to_pylist() if word not in NONE}
    numbers = all(re.fullmatch(NUMBER, word) for word in every)
    names = _named(path, given, every, numbers, lists)
    if lists is not None and given is None and not numbers:
        print(f"{path}: of which class each probability is, is not known; give classes to have them used")
        lists = None
    if lists is not None and lists.width != len(names):
        raise NsfastError(f"{path}: the probabilities are of {lists.width} classes; there are {len(names)}")
    numbers = numbers and not every <= {*names}
    found = [
        _numbers(path, name, column, names, numbers or columns.holds_numbers(name))
        for name, column in words.items()
    ]
    return names, found[0], found[1] if len(found) > 1 else None, lists


def _words(columns: Columns, ids: pa.Array) -> dict[str, pa.DictionaryArray]:
    """The classes as they are written, and the true ones if all are known."""
    found, path = {"class": columns.text("class")}, columns.path
    if missing := found["class"].null_count:
        first = ids.filter(pc.is_null(found["class"]))[0].as_py()
        raise NsfastError(f"{path}: {first!r} has no class; {missing:,} of {len(ids):,} have none")
    if columns.has("truth"):
        found["truth"] = columns.text("truth")
        if missing := found["truth"].null_count:
            print(f"{path}: {missing:,} of {len(ids):,} have no truth, so that column is left out")
            del found["truth"]
    return {name: column.dictionary_encode() for name, column in found.items()}


def _named(
    path: Path, given: Sequence[str] | None, said: set[str], numbers: bool, lists: Lists | None
) -> tuple[str, ...]:
    """The names of the classes: those that are given, or as many as numbers need, or all that occur."""
    names = tuple(map(str, given)) if given is not None else tuple(sorted(said))
    count = len(names)
    if given is None and numbers:
        count = max(max(map(int, said), default=0) + 1, lists.width if lists else 0)
        names = tuple(map(str, range(min(count, MOST_CLASSES + 1))))
    if not 1 <= count <= MOST_CLASSES or len(set(names)) < len(names):
        raise NsfastError(
            f"{path} has {count:,} classes; name 1 to {MOST_CLASSES:,} different ones with classes="
        )
    return names


def _numbers(
    path: Path, name: str, column: pa.DictionaryArray, names: tuple[str, ...], by_place: bool
) -> np.ndarray:
    """The classes (n,) int32 that a column says, by their place or their name."""
    place = {word: number for number, word in enumerate(map(str, range(len(names))) if by_place else names)}
    if name == "truth":
        place = dict.fromkeys(NONE, -1) | place
    words = column.dictionary.to_pylist()
    for word in words:
        if word not in place:
            hint = f"; there are {len(names)} classes" if by_place else nearest(word, names)
            raise NsfastError(f"{path}: unknown {name} {word!r}{hint}")
    return np.array([place[word] for word in words], np.int32)[column.indices.to_numpy()]


def _whole(predicted: np.ndarray, confidence: np.ndarray, truth: np.ndarray | None, classes: int) -> Whole:
    """All labels, counted."""
    every, right = Histogram(classes), None
    every.add(predicted, confidence)
    if truth is not None:
        right, same = Histogram(classes), truth == predicted
        right.add(predicted[same], confidence[same])
    return Whole(len(predicted), every, right)
