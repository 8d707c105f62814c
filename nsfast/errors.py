"""The one error that a user sees as a single line: what is wrong, with which value, and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NsfastError(ValueError):
    """Something the user can put right; its message names the thing, the value and the way out in one line."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the valid name closest to `name`, else the list of valid names."""
    valid = sorted(valid)
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; valid names: {', '.join(valid)}"


def choice(what: str, value: str, valid: Iterable[str]) -> str:
    """Return `value` when it is one of `valid`; raise `NsfastError` naming the nearest valid one otherwise."""
    valid = list(valid)
    if value not in valid:
        raise NsfastError(f"unknown {what} {value!r}{nearest(str(value), valid)}")
    return value


def within(what: str, value: float, low: float, high: float = float("inf")) -> float:
    """Return `value` when low <= value <= high; raise `NsfastError` naming value and range otherwise."""
    if not low <= value <= high:
        bounds = f"at least {low:g}" if high == float("inf") else f"between {low:g} and {high:g}"
        raise NsfastError(f"{what} is {value!r}; it must be {bounds}")
    return value
