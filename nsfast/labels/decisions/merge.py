"""Decisions files of several people become one."""

from __future__ import annotations

import datetime
import heapq
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from nsfast.errors import NsfastError
from nsfast.files import write_text
from nsfast.labels.decisions.decided import Decisions
from nsfast.labels.decisions.history import History
from nsfast.labels.decisions.log import locked
from nsfast.labels.decisions.read import bytes_of, lines_of, records_of
from nsfast.labels.decisions.record import Verdict


class Line(NamedTuple):
    """A line of a file that is merged.

    Args:
        time: in seconds.
        key: what makes it equal to a line of another file.
        taken: the key of the line that it takes back; None for none.
        verdict: what it says.
        record: its JSON.
    """

    time: float
    key: tuple
    taken: tuple | None
    verdict: Verdict
    record: dict[str, Any]


def merge_decisions(paths: Sequence[str | Path], out: str | Path | None = None) -> Decisions:
    """Put the lines of several files in the order of their time, and return what they decide together.

    The lines of a file keep their order. A line that several files have (of the same person, time, picture, action and
    number) is there once, and what two copies of a file both took back is taken back once.

    Args:
        paths: of the files; a torn last line is left out.
        out: of the file to write; it may be one of them. None to write none.

    Raises:
        NsfastError: no file, a bad one, or `out` is another file that exists.
    """
    paths = [Path(path) for path in paths]
    if not paths:
        raise NsfastError("there are no decisions to merge; give one file or more")
    target = None if out is None else Path(out)
    if target and target.exists() and target.resolve() not in [path.resolve() for path in paths]:
        raise NsfastError(f"{target} exists; give another file, or merge it, too, to have it replaced")
    with locked(target) if target else nullcontext():
        files, warnings = zip(*map(_lines, paths), strict=True)
        lines = list(heapq.merge(*files, key=lambda line: line.time))  # a file's lines stay in their order
        history, kept = _together(lines)
        if target:
            write_text(target, "".join(json.dumps(line.record, ensure_ascii=False) + "\n" for line in kept))
    return Decisions.of(history, target or paths[0], "; ".join(filter(None, warnings)))


def _together(lines: list[Line]) -> tuple[History, list[Line]]:
    """What lines in order decide together, and those of them that are needed for it.

    Where one person has two files, an undo of the one may come after something later of the other, and would take that
    back. Then it is left out together with what it is of.
    """
    out: set[tuple] = set()
    while True:
        history, kept, done, keys = History(), [], set(out), {}
        for line in lines:
            if line.key in done or ("undone", line.taken) in done:
                continue
            if line.taken:
                verdict = line.verdict
                try:
                    last = history.last_of(verdict.who, verdict.id, verdict.round)
                except NsfastError:  # it is gone already
                    continue
                if keys[id(last)] != line.taken:
                    out |= {line.key, line.taken}
                    break
                done.add(("undone", line.taken))
            history.add(line.verdict)
            keys[id(line.verdict)] = line.key
            done.add(line.key)
            kept.append(line)
        else:
            return history, kept


def _lines(path: Path) -> tuple[list[Line], str]:
    """The lines of a file, undos with the picture that they are of; and what was left out."""
    data = bytes_of(path)
    found, history = lines_of(data, path), History()
    lines, keys, times_said = [], {}, Counter()
    for (number, verdict), (_, record) in zip(found.verdicts, records_of(data, path)[0], strict=True):
        try:
            taken = history.add(verdict)
        except NsfastError as error:
            raise NsfastError(f"{path}, line {number}: {error}") from None
        if taken:
            record, verdict = {**record, "id": taken.id}, verdict._replace(id=taken.id)
        key = (verdict.who, verdict.ts, verdict.id, verdict.action, verdict.to, verdict.seq)
        times_said[key] += 1
        keys[id(verdict)] = key = (*key, times_said[key])
        lines.append(Line(_seconds(verdict.ts), key, keys[id(taken)] if taken else None, verdict, record))
    return lines, found.warning


def _seconds(ts: str) -> float:
    """A time stamp, in UTC where it does not say; before all others where it is none."""
    try:
        found = datetime.datetime.fromisoformat(ts.replace("Z", "+00:00"))
    except ValueError:
        return float("-inf")
    return (found if found.tzinfo else found.replace(tzinfo=datetime.timezone.utc)).timestamp()
