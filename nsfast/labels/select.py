"""Filtering and balancing: which pseudo-labels the student sees, and how often (Noisy Student, section 2).

Selection is seeded, and looks at ids alone: it depends neither on the order of the pictures nor on the shards.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from nsfast.errors import NsfastError, choice, within
from nsfast.labels.table import LabelTable, read_parquet, write_parquet
from nsfast.streams import hash_order

METHODS = ("top", "official", "none")


@dataclass(frozen=True)
class Selection:
    """Selected pictures, sorted by id: ids (n,) str, their class index (n,) int64 and copies (n,) int64, 1 or more."""

    ids: np.ndarray
    classes: np.ndarray
    copies: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def above(confidence: np.ndarray, threshold: float) -> np.ndarray:
    """Return which confidences reach the threshold, compared in float16 after rounding both sides."""
    return confidence.astype(np.float16) >= np.float16(threshold)


def check_selection(threshold: float, per_class: int, method: str) -> None:
    """Raise `NsfastError` naming the first argument that is outside its range."""
    within("threshold", threshold, 0, 1)
    within("per_class", per_class, 0)
    choice("balancing method", method, METHODS)


def select(
    labels: LabelTable, threshold: float = 0.3, per_class: int = 0, method: str = "top", seed: int = 0
) -> Selection:
    """Keep confident pseudo-labels and give every class the same number of them.

    Args:
        labels: the label table.
        threshold: smallest confidence that is kept, 0..1; the paper's is 0.3.
        per_class: pictures of each class, copies counted; 0 for as many as the largest class keeps.
        method: "top", the most confident ones, and copies of random ones where there are too few (paper); "official",
            whole 0.01 bins of confidence and a real number of copies for each picture (released filter_unlabel.py);
            "none", filter only.
        seed: of the copies.

    Raises:
        NsfastError: an argument outside its range, or no pseudo-label that reaches the threshold.
    """
    check_selection(threshold, per_class, method)
    confidence, predicted = labels.confidence, labels.predicted
    kept = np.flatnonzero(above(confidence, threshold))
    if not len(kept):
        raise NsfastError(
            f"no pseudo-label reaches threshold {threshold:g}; the surest has {float(confidence.max()):.3f}: lower it"
        )
    draw = hash_order(labels.ids, seed, "copies")
    per_class = per_class or int(np.bincount(predicted[kept]).max())
    copies = np.zeros(len(labels), np.int64)
    for number in np.unique(predicted[kept]):
        rows = kept[predicted[kept] == number]
        if method == "none":
            copies[rows] = 1
        elif method == "top":
            order = rows[np.lexsort((draw[rows], -confidence[rows].astype(np.float32)))][:per_class]
            whole, rest = divmod(per_class, len(order))
            copies[order] = whole
            copies[order[np.argsort(draw[order])][:rest]] += 1
        else:
            copies[rows] = _official(confidence[rows], draw[rows], threshold, per_class)
    rows = np.flatnonzero(copies)
    rows = rows[np.argsort(labels.ids[rows])]
    return Selection(labels.ids[rows], predicted[rows], copies[rows])


def _official(confidence: np.ndarray, draw: np.ndarray, threshold: float, per_class: int) -> np.ndarray:
    """Copies of one class's pictures as the released filter counts them.

    The confidence bin (of 0.01) is lowered until at least `per_class` pictures are above it; all of those get
    per_class / total copies, the fraction as a coin flip.
    """
    bins = np.arange(100, -1, -1) / 100
    bins = np.append(bins[bins > threshold], threshold)
    enough = [limit for limit in bins if above(confidence, limit).sum() >= per_class]
    inside = above(confidence, enough[0] if enough else 0)
    share = per_class / inside.sum()
    coin = draw.astype(np.float64) / 2.0**64
    return np.where(inside, int(share) + (coin < share - int(share)), 0)


def class_counts(labels: LabelTable, selection: Selection, threshold: float) -> list[dict]:
    """Return a row per class: name, pictures predicted, above the threshold, kept, dropped, copies, seen.

    `dropped` is predicted minus kept; `seen` is kept plus copies, what the student sees.
    """
    n = len(labels.classes)
    predicted = np.bincount(labels.predicted, minlength=n)
    reached = np.bincount(labels.predicted[above(labels.confidence, threshold)], minlength=n)
    kept = np.bincount(selection.classes, minlength=n)
    seen = np.bincount(selection.classes, weights=selection.copies, minlength=n).astype(int)
    return [
        {
            "class": labels.classes[i],
            "predicted": int(predicted[i]),
            "above": int(reached[i]),
            "kept": int(kept[i]),
            "dropped": int(predicted[i] - kept[i]),
            "copies": int(seen[i] - kept[i]),
            "seen": int(seen[i]),
        }
        for i in range(n)
    ]


def write_selection(path: str | Path, selection: Selection) -> None:
    """Write a selection to a Parquet file atomically; equal selections are equal to the byte."""
    columns = {
        "id": pa.array(selection.ids.tolist(), pa.string()),
        "class": pa.array(selection.classes.astype(np.uint16)),
        "copies": pa.array(selection.copies.astype(np.uint32)),
    }
    write_parquet(path, pa.table(columns))


def read_selection(path: str | Path) -> Selection:
    """Read what `write_selection` wrote; raise `NsfastError` naming the file when it is damaged."""
    table = read_parquet(path, ("id", "class", "copies"))
    return Selection(
        np.array(table["id"].to_pylist(), dtype=str),
        table["class"].to_numpy().astype(np.int64),
        table["copies"].to_numpy().astype(np.int64),
    )
