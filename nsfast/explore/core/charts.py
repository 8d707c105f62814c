"""The numbers of every chart, and which pictures each of its marks stands for, as keywords of `select`.

A mark stands for as many pictures as `select` finds with its keywords, except where only some rows were counted, or
where decisions have changed what the preview counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nsfast.errors import NsfastError, within
from nsfast.explore.core.accuracy import (
    THRESHOLDS,
    Precision,
    Reliability,
    between,
    precision_by_threshold,
    reliability,
    reliability_of,
)
from nsfast.explore.core.labels import PseudoLabels
from nsfast.explore.core.selection import NO_CLASS, said_by, truth_of
from nsfast.labels.histogram import above, codes_of
from nsfast.streams import numpy_stream

__all__ = [
    "THRESHOLDS",
    "TRUTH",
    "Bins",
    "Changes",
    "Confusion",
    "Points",
    "Precision",
    "Reliability",
    "changes",
    "confidence_bins",
    "confusion",
    "embedding_points",
    "precision_by_threshold",
    "reliability",
    "reliability_of",
]

TRUTH = "truth"
"""What labels are held against where it is no other model."""

DENSE = 1 << 20
"""Pairs of classes up to which each has a cell, 8 MB, as of 1000 classes; of more only those that occur are counted."""


@dataclass(frozen=True)
class Bins:
    """Labels by confidence."""

    edges: np.ndarray
    """float64 (41,), from 0 to 1."""
    count: np.ndarray
    """int64 (40,), labels in each bin; it begins with its lower edge, and 1 is in the last."""
    wrong: np.ndarray | None
    """int64 (40,), those of them that are wrong; None where the truth is not known."""

    def selects(self, bin: int) -> dict[str, Any]:
        """Return the condition of the labels in a bin."""
        return {"confidence": between(self.edges, bin)}


@dataclass(frozen=True)
class Confusion:
    """What is what: the truth or another model down, the labels across."""

    against: str
    """"truth", or another model's name."""
    rows: tuple[str, ...]
    """Names of what it says."""
    columns: tuple[str, ...]
    """Names of the classes of the labels."""
    counts: np.ndarray
    """int64 (rows, columns), pictures."""
    left_out: int
    """Pictures of which both are known and that are in no cell."""

    def selects(self, row: int, column: int) -> dict[str, Any]:
        """Return the conditions of the pictures in a cell."""
        return {**_seen(self.against, self.rows[row]), "predicted": self.columns[column]}


@dataclass(frozen=True)
class Changes:
    """The most frequent changes of sure labels, the most frequent first."""

    against: str
    """"truth", or another model's name."""
    threshold: float
    """Labels below it are not looked at."""
    pairs: list[tuple[str, str]]
    """The class that the other one says, and that of the label."""
    count: np.ndarray
    """int64 (pairs,), pictures."""
    share: np.ndarray
    """float64 (pairs,), their share of all sure labels of which the other one says the same."""
    changed: int
    """All that have changed, also those that are in no pair."""
    compared: int
    """Sure labels of which the other one says anything."""

    def selects(self, number: int) -> dict[str, Any]:
        """Return the conditions of the pictures of a change."""
        before, now = self.pairs[number]
        return {**_seen(self.against, before), "predicted": now, "confidence": (self.threshold, 1.0)}


@dataclass(frozen=True)
class Points:
    """Pictures on a map."""

    labels: PseudoLabels = field(repr=False)
    rows: np.ndarray
    """int64 (k,), rising."""
    xy: np.ndarray
    """float64 (k, 2), where they lie."""
    predicted: np.ndarray
    """int32 (k,), their classes."""

    def selects(self, places: Any) -> dict[str, Any]:
        """Return the condition of the pictures at places (0 to k - 1) of these."""
        return {"pictures": tuple(self.labels.names(self.rows[np.asarray(places, np.int64)]))}


def confidence_bins(labels: PseudoLabels) -> Bins:
    """Return the labels by confidence in 40 bins, as they were labeled, whatever was decided since.

    A bin begins with its lower edge in float16, as a threshold does, so that it is what a filter of the same
    confidences finds.
    """
    edges = np.linspace(0, 1, 41)
    place = np.searchsorted(codes_of(edges[:-1]), labels.codes, "right") - 1
    wrong = (
        None if labels.truth is None else np.bincount(place[labels.truth != labels.predicted], minlength=40)
    )
    return Bins(edges, np.bincount(place, minlength=40), wrong)


def confusion(
    labels: PseudoLabels, against: str = TRUTH, most: int = 20, rows: np.ndarray | None = None
) -> Confusion:
    """Return how often what another one says is labeled as what.

    Of more classes than `most` those of the most frequent confusions are taken, so that their cells are not empty;
    where there are too few confusions, the largest classes beside them.

    Args:
        labels: all of them.
        against: "truth", or another model's name. Pictures of which that model says nothing are not counted.
        most: classes that are shown, in their order, at least 1.
        rows: which labels are counted, integers or bool; all of them if left out.

    Raises:
        NsfastError: the truth is not known, or there is no such model.
    """
    within("most", most, 1)
    said, now = _compared(labels, against, rows)
    classes = len(labels.classes)
    chosen = np.arange(classes)
    if classes > most:
        different = said != now
        pairs = _frequent(said[different], now[different], classes, most * most)
        confused = np.column_stack(pairs[:2]).ravel()
        largest = _largest(np.bincount(now, minlength=classes), most)
        names = dict.fromkeys(number for number in (*confused.tolist(), *largest.tolist()) if number >= 0)
        chosen = np.sort(np.array(list(names)[:most], np.int64))
    place = np.full(classes + 1, -1)
    place[chosen], place[-1] = np.arange(len(chosen)), len(chosen)  # -1, no class, is the last
    down, across = place[said], place[now]
    strangers = bool((said < 0).any())
    inside = (down >= 0) & (across >= 0)
    shape = len(chosen) + strangers, len(chosen)
    counts = np.bincount(down[inside] * len(chosen) + across[inside], minlength=shape[0] * shape[1])
    names = tuple(labels.classes[number] for number in chosen)
    lines = (*names, NO_CLASS) if strangers else names
    return Confusion(against, lines, names, counts.reshape(shape), int(len(now) - inside.sum()))


def changes(labels: PseudoLabels, against: str, threshold: float = 0.0, most: int = 20) -> Changes:
    """Return the most frequent changes of sure labels since another model's, or what sure and wrong labels are.

    Args:
        labels: all of them.
        against: "truth", or another model's name. Pictures of which that model says nothing are not counted.
        threshold: smallest confidence that is sure, 0 to 1, compared in float16.
        most: changes that are told, at least 1.

    Raises:
        NsfastError: the truth is not known, or there is no such model.
    """
    within("most", most, 1)
    within("threshold", threshold, 0, 1)
    said, now = _compared(labels, against, above(labels.confidence, threshold))
    different = said != now
    before, after, count = _frequent(said[different], now[different], len(labels.classes), most)
    seen = np.bincount(said + 1, minlength=len(labels.classes) + 1)
    names = (*labels.classes, NO_CLASS)  # -1 is the last
    pairs = [(names[a], names[b]) for a, b in zip(before.tolist(), after.tolist(), strict=True)]
    share, changed = count / seen[before + 1], int(different.sum())
    return Changes(against, float(threshold), pairs, count, share, changed, len(now))


def embedding_points(labels: PseudoLabels, most: int = 8000, seed: int = 0) -> Points:
    """Return pictures on the map; of more than `most` that many, drawn at random.

    Args:
        labels: with their embedding.
        most: pictures, at least 1.
        seed: of the draw.

    Raises:
        NsfastError: there is no map, or it is no map.
    """
    within("most", most, 1)
    if labels.embedding is None:
        raise NsfastError("there is no map of these pictures; make one with explore_run(..., map=True)")
    xy = np.asarray(labels.embedding)
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise NsfastError(f"embedding has shape {xy.shape}; it must be (n, 2), where each picture lies")
    rows = np.flatnonzero(np.isfinite(xy).all(1))
    if len(rows) > most:
        rows = np.sort(numpy_stream(seed, "pictures on the map").choice(rows, most, replace=False))
    return Points(labels, rows, xy[rows].astype(np.float64), labels.predicted[rows])


def _seen(against: str, name: str) -> dict[str, Any]:
    return {"truth": name} if against == TRUTH else {"seen_as": {against: name}}


def _compared(labels: PseudoLabels, against: str, rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """What the other one says (-1 for no class) and the labels, of the pictures of which both are known."""
    now = labels.predicted
    said = truth_of(labels, TRUTH) if against == TRUTH else said_by(labels, against)
    if rows is not None:
        said, now = said[rows], now[rows]
    if against != TRUTH and len(said) and said.min() < 0:
        known = said >= 0
        said, now = said[known], now[known]
    return said, now


def _frequent(
    before: np.ndarray, now: np.ndarray, classes: int, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The most frequent pairs, each as the one (-1 for no class), the other and how often; of equals lower numbers."""
    pairs = (before.astype(np.int64) + 1) * classes + now
    if (classes + 1) * classes <= DENSE:
        known, count = None, np.bincount(pairs)
    else:
        known, count = np.unique(pairs, return_counts=True)
    top = _largest(count, most)
    found = top if known is None else known[top]
    return found // classes - 1, found % classes, count[top]


def _largest(count: np.ndarray, most: int) -> np.ndarray:
    """Where the largest numbers are, the largest first, of equals the first; never where there is 0."""
    places = np.flatnonzero(count)
    if len(places) > most:
        limit = np.partition(count[places], len(places) - most)[len(places) - most]
        over, equal = np.flatnonzero(count > limit), np.flatnonzero(count == limit)
        places = np.sort(np.concatenate([over, equal[: most - len(over)]]))
    return places[np.argsort(-count[places], kind="stable")]
