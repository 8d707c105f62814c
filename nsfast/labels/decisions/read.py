"""Decisions files are read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from nsfast.errors import NsfastError
from nsfast.labels.decisions.decided import Decisions
from nsfast.labels.decisions.history import History
from nsfast.labels.decisions.record import Verdict, checked


@dataclass(frozen=True)
class Lines:
    """The lines of a decisions file, or of a part of it.

    Args:
        path: of the file.
        verdicts: with the number of the line that says each.
        taken: how many bytes were read; a torn last line is not among them.
        torn: whether there is one.
        count: how many lines there are.
    """

    path: Path
    verdicts: list[tuple[int, Verdict]]
    taken: int
    torn: bool
    count: int

    @property
    def warning(self) -> str:
        """What was left out, "" for nothing."""
        if not self.torn:
            return ""
        return f"the last line of {self.path} is torn and was left out; a process was killed while writing it"

    def add_to(self, history: History) -> None:
        """Add every verdict to a history; raise `NsfastError` naming the line of an undo with nothing to take back."""
        for number, verdict in self.verdicts:
            try:
                history.add(verdict)
            except NsfastError as error:
                raise NsfastError(f"{self.path}, line {number}: {error}") from None

    def decisions(self, round: int | None = None) -> Decisions:
        """Return what they decide for a round; None for everything."""
        history = History(round)
        self.add_to(history)
        return Decisions.of(history, self.path, self.warning)


def read_decisions(path: str | Path, round: int | None = None) -> Decisions:
    """Read what a file decides.

    Args:
        path: of the file.
        round: only what holds for it counts; None for everything.

    Raises:
        NsfastError: there is no such file, or a line is no decision; names the line and what is wrong with it.
    """
    return read_lines(path).decisions(round)


def read_lines(path: str | Path) -> Lines:
    """Read the lines of a file; raises what `read_decisions` raises, but for undos that have nothing to take back."""
    return lines_of(bytes_of(path), Path(path))


def bytes_of(path: str | Path) -> bytes:
    """Return what is in a decisions file; raise `NsfastError` when it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise NsfastError(
            f"no decisions in {path} ({error.strerror}); give the file that the explorer wrote"
        ) from None


def records_of(data: bytes, path: Path, before: int = 0) -> tuple[list[tuple[int, dict]], bool]:
    """Return the JSON of each line that is not empty, with the line's number, and whether the last line is torn."""
    *lines, last = (data if before else data.removeprefix(b"\xef\xbb\xbf")).split(b"\n")  # an editor's mark
    found = []
    for number, line in enumerate([*lines, last], before + 1):
        if not line.strip():
            continue
        try:
            found.append((number, json.loads(line.decode("utf-8"))))
        except (ValueError, RecursionError) as error:  # both of UTF-8 and of JSON
            if number > before + len(lines):
                return found, True
            raise NsfastError(f"{path}, line {number}: no JSON ({error}); mend or delete it") from None
    return found, False


def lines_of(data: bytes, path: Path, before: int = 0) -> Lines:
    """Return the lines of some bytes that begin a line, `before` lines into a file."""
    records, torn = records_of(data, path, before)
    verdicts = []
    for number, record in records:
        try:
            verdicts.append((number, checked(record)))
        except NsfastError as error:
            raise NsfastError(f"{path}, line {number}: {error}") from None
    taken = data.rfind(b"\n") + 1 if torn else len(data)
    return Lines(path, verdicts, taken, torn, data.count(b"\n"))
