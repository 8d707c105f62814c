"""Which 64-bit codes differ in a few bits: pictures that look alike, among many, without comparing all with all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


class Alike:
    """Finds among some codes those that differ from others in at most `near` bits.

    A code says something only if at least 6 of its bits are set and 6 are not, or twice `near` where that is more:
    those of nearly flat pictures are all alike. Others are not found.

    The 64 bits are dealt out to bands, so many that two codes which differ in at most `near` bits differ in at most one
    bit of some band (multi-index hashing; Norouzi, Punjani and Fleet, CVPR 2012). Each code is kept under all that a
    band of it may then be; of what is found there, all bits are counted. Bits are dealt out in turn, so that the flat
    sky of many pictures does not fill a band.

    Args:
        looks: (m,) uint64, the codes that are searched; about 800 bytes each are kept.
        near: 0 to 8.
    """

    def __init__(self, looks: np.ndarray, near: int):
        self.looks, self.near, self.bands = looks, near, []
        telling = np.flatnonzero(self._telling(looks)).astype(np.int32)
        count = near // 2 + 1
        for band in range(count):
            bits = np.uint64(1) << np.arange(band, 64, count, dtype=np.uint64)
            mask = np.bitwise_or.reduce(bits)
            keys = (looks[telling] ^ np.append(np.uint64(0), bits)[:, None]).ravel() & mask
            order = np.argsort(keys, kind="stable")
            self.bands.append((mask, keys[order], np.tile(telling, len(bits) + 1)[order]))

    def find(self, looks: np.ndarray, budget: int = 1 << 21) -> Iterator[tuple[np.ndarray, ...]]:
        """Go through the pairs of codes that are alike; a pair may come more than once.

        Args:
            looks: (n,) uint64.
            budget: pairs that are compared at once.

        Yields:
            Rows of `looks`, in how many bits they differ, and rows of the codes that are searched.
        """
        telling = np.flatnonzero(self._telling(looks))
        for mask, keys, rows in self.bands:
            wanted = looks[telling] & mask
            first = np.searchsorted(keys, wanted)
            count = np.searchsorted(keys, wanted, side="right") - first
            total = np.cumsum(count)
            edges = np.searchsorted(total, np.arange(0, total[-1:].sum() + budget, budget), side="right")
            for start, end in zip(edges[:-1], edges[1:], strict=True):
                some = count[start:end]
                mine = np.repeat(np.arange(start, end), some)
                within_run = np.arange(len(mine)) - np.repeat(np.cumsum(some) - some, some)
                others = rows[first[mine] + within_run]
                bits = _ones(looks[telling[mine]] ^ self.looks[others])
                alike = np.flatnonzero(bits <= self.near)
                yield telling[mine[alike]], bits[alike], others[alike]

    def _telling(self, looks: np.ndarray) -> np.ndarray:
        """Which codes say something."""
        ones, fewest = _ones(looks), max(6, 2 * self.near)
        return (ones >= fewest) & (ones <= 64 - fewest)


def _ones(codes: np.ndarray) -> np.ndarray:
    """(n,) how many bits of each code (n,) uint64 are set."""
    return _ONES[np.ascontiguousarray(codes).view(np.uint8).reshape(-1, 8)].sum(1, dtype=np.int64)


_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1, dtype=np.uint8)
