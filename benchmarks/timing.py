"""How every ratio is measured: one thread, processor time, and all sides in turn, round by round, in one process.

A side is a function that does its work once and returns the seconds that this took. What is reported is the median of
the ratios of the rounds, so that a round in which the machine was busy with something else counts once.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import process_time

import torch

ROUNDS = 7


@dataclass(frozen=True)
class Result:
    """A line of the table.

    Args:
        name: what was measured, and against what.
        rounds: the value of each round; the median is what counts.
        unit: of the values.
        at_least, at_most: the gate; a line without one only informs.
    """

    name: str
    rounds: Sequence[float]
    unit: str = "x"
    at_least: float | None = None
    at_most: float | None = None

    @property
    def value(self) -> float:
        return statistics.median(self.rounds)

    @property
    def verdict(self) -> str:
        """Return "ok", "short", or nothing where there is no gate."""
        if self.at_least is None and self.at_most is None:
            return ""
        short = self.at_least is not None and not self.value >= self.at_least
        short = short or (self.at_most is not None and not self.value <= self.at_most)
        return "short" if short else "ok"


def timed(
    work: Callable[[], object], times: int = 1, clock: Callable[[], float] = process_time
) -> Callable[[], float]:
    """Make a side of something that is to be done `times` times."""

    def side() -> float:
        start = clock()
        for _ in range(times):
            work()
        return clock() - start

    return side


def interleaved(*sides: Callable[[], float], rounds: int = ROUNDS) -> list[list[float]]:
    """Let all sides do their work in every round, each round beginning with another one.

    Args:
        rounds: those that count; one before them warms up.

    Returns:
        For each side, its seconds of every round.
    """
    torch.set_num_threads(1)
    seconds: list[list[float]] = [[] for _ in sides]
    for number in range(rounds + 1):
        for place in range(len(sides)):
            which = (number + place) % len(sides)
            gc.collect()
            found = sides[which]()
            if number:
                seconds[which].append(found)
    return seconds


def ratios(above: Sequence[float], below: Sequence[float], factor: float = 1.0) -> list[float]:
    """Divide round by round, and multiply by `factor`."""
    return [factor * a / b for a, b in zip(above, below, strict=True)]
