"""Lots: which of equally confident pictures are in, and which are copied once more; hashes of the ids decide.

Of m pictures those with the k smallest hashes win. Hashes are uniform, so the k-th smallest is near k/m of their range,
and only those near it are held. Nothing depends on the order of the rows.
"""

from __future__ import annotations

import numpy as np

from nsfast.errors import NsfastError
from nsfast.labels.balancing.decided import Decided, Part
from nsfast.labels.balancing.limits import Limits
from nsfast.labels.histogram import CODES
from nsfast.streams import integer_hash

LAST = 2**64 - 1
"""The largest hash."""

NEAR = 8.0
"""Standard deviations of the k-th smallest hash within which it is looked for."""


class Lots:
    """Which rows are selected and how often, class by class; `draw` decides what hashes have to decide.

    Args:
        limits: of the classes.
        seed: of the hashes.
        coins: whether every picture's further copy is drawn by itself, as the "official" method does, so that their
            number is right on average only; else exactly `limits.rest` are copied once more.
    """

    def __init__(self, limits: Limits, seed: int, coins: bool = False):
        self.limits, self.seed = limits, seed
        self._limit, self._tied = limits.code.astype(np.uint16), limits.tied
        self._whole, self._more = limits.whole.astype(np.uint32), limits.rest > 0
        self._tie, self._copy = np.zeros((2, len(self._limit)), np.uint64)
        self._copies_open = self._more.copy()
        if coins:  # a hash below rest / inside of the range: exact, in Python's integers
            pairs = zip(limits.rest.tolist(), np.maximum(limits.inside, 1).tolist(), strict=True)
            below = [max(-(-(rest << 64) // inside) - 1, 0) for rest, inside in pairs]
            self._copy, self._copies_open[:] = np.array(below, np.uint64), False

    def draw(self, decided: Decided) -> None:
        """Go through the rows until the largest hash that wins is known of every class: once, as a rule.

        Raises:
            NsfastError: the rows are not those of the histogram.
        """
        limits, ties_open, copies_open = self.limits, self._tied.copy(), self._copies_open
        missed = np.zeros((2, len(ties_open)), bool)
        while ties_open.any() or copies_open.any():
            copied = copies_open & ~ties_open  # who is copied is known only after who is inside
            ties = _Smallest(limits.inside - limits.over, limits.at, ties_open, missed[0])
            copies = _Smallest(limits.rest, limits.inside, copied, missed[1])
            asked = np.where(ties_open | copied, self._limit, np.uint16(CODES))
            for part in decided.parts():
                ids, classes, codes = _reached(part, asked)
                if ties_open.any():
                    rows = np.flatnonzero((codes == self._limit.take(classes)) & ties_open.take(classes))
                    ties.add(classes[rows], integer_hash(ids[rows], self.seed, "ties"))
                if copied.any():
                    ids, classes = self._inside(ids, classes, codes)
                    rows = np.flatnonzero(copied.take(classes))
                    copies.add(classes[rows], integer_hash(ids[rows], self.seed, "copies"))
            ties.settle(self._tie)
            copies.settle(self._copy)
            if (missed & [ties.missed, copies.missed]).any():
                raise NsfastError(
                    f"the labels in {decided.labels.folder} have changed meanwhile; balance again"
                )
            missed = np.stack([ties.missed, copies.missed])
            ties_open, copies_open = ties.missed, (copies_open & ~copied) | copies.missed

    def selected(self, part: Part) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return ids (n,), classes (n,) and copies (n,) uint32, at least 1, of the pictures that are selected."""
        ids, classes = self._inside(*_reached(part, self._limit))
        copies = self._whole.take(classes)
        rows = np.flatnonzero(self._more.take(classes))
        won = integer_hash(ids[rows], self.seed, "copies") <= self._copy.take(classes[rows])
        copies[rows[won]] += 1
        chosen = np.flatnonzero(copies)
        return ids[chosen], classes[chosen], copies[chosen]

    def _inside(
        self, ids: np.ndarray, classes: np.ndarray, codes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Those of rows that reach their limits that are inside them."""
        rows = np.flatnonzero((codes == self._limit.take(classes)) & self._tied.take(classes))
        lost = rows[integer_hash(ids[rows], self.seed, "ties") > self._tie.take(classes[rows])]
        return (np.delete(ids, lost), np.delete(classes, lost)) if len(lost) else (ids, classes)


def _reached(part: Part, limit: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, classes and codes of the rows whose codes reach the limit (classes,) uint16 of their classes."""
    rows = np.flatnonzero(part.codes >= limit.take(part.classes))
    return part.ids[rows], part.classes[rows], part.codes[rows]


class _Smallest:
    """The k-th smallest hash of each of several classes.

    Args:
        wanted: (classes,) k.
        among: (classes,) how many hashes will come.
        asked: (classes,) bool, whose hashes come.
        wide: (classes,) bool, of whom all are held, not only those near where the k-th smallest should be.
    """

    def __init__(self, wanted: np.ndarray, among: np.ndarray, asked: np.ndarray, wide: np.ndarray):
        self._wanted = wanted
        self.missed = asked.copy()
        """(classes,) bool: of whom the k-th smallest is asked for and not known."""
        among = np.maximum(among, 1)
        share = np.clip(wanted / among, 0, 1)
        # the deviation of a smallest hash is its distance to 0, and far from normal
        near = np.where(wide, 1, NEAR * np.sqrt(share * (1 - share) / among) + 5 * NEAR / among)
        self._low, self._high = _hash_at(share - near), _hash_at(share + near)
        self._below = np.zeros(len(wanted), np.int64)
        self._held: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, classes: np.ndarray, hashes: np.ndarray) -> None:
        """Take more hashes (n,) of classes (n,)."""
        below = hashes < self._low.take(classes)
        self._below += np.bincount(classes[below], minlength=len(self._below))
        held = np.flatnonzero(~below & (hashes <= self._high.take(classes)))
        self._held.append((classes[held], hashes[held]))

    def settle(self, largest: np.ndarray) -> None:
        """Put the k-th smallest into `largest` (classes,) uint64, and leave as missed of whom it was not held."""
        if not self.missed.any() or not self._held:
            return
        classes, hashes = (np.concatenate(part) for part in zip(*self._held, strict=True))
        hashes = hashes[np.lexsort((hashes, classes))]
        held = np.bincount(classes, minlength=len(self._wanted))
        place = self._wanted - 1 - self._below
        found = self.missed & (place >= 0) & (place < held)
        start = np.cumsum(held) - held
        largest[found] = hashes[(start + place)[found]]
        self.missed &= ~found


def _hash_at(share: np.ndarray) -> np.ndarray:
    """The hash below which this share (0 to 1, beyond it all or none) of all hashes lie, uint64."""
    inner = np.ldexp(np.clip(share, 0, np.nextafter(1, 0)), 64).astype(np.uint64)
    return np.where(share >= 1, np.uint64(LAST), inner)
