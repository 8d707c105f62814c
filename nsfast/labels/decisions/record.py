"""The format of a decisions file: which lines it has, and what each must say.

People decide on single pictures: that a pseudo-label is right or wrong, or which class it should have been. The
explorer writes it down, balancing heeds it. The file is JSON Lines in UTF-8 that is only appended to. A record is one
line, written at once with its newline:

    {"seq": 7, "ts": "2026-01-31T12:00:00.000Z", "id": "birds/0017.jpg", "action": "relabel", "from": "crow",
     "to": "raven", "conf": 0.61, "who": "ann", "why": "the beak", "round": 2, "selection": "...", "run": "runs/birds",
     "teacher": "ab12...", "nsfast": "0.5.0"}

- `action`: "accept" (the teacher's label is right), "reject" (the picture is not to be used), "relabel" (it is of class
  `to`), or "undo".
- `id`: the picture's name as in `files.parquet`, text, never a number. An "undo" without one is of any picture.
- `to`: the name of a class; needed by "relabel" alone.
- `from`, `conf`: the class and the confidence that the picture had. Who accepts a picture says that it is of the class
  `from`, also in a later round whose teacher says something else.
- `who`: a person, "" where that is missing.
- `why`: a reason, as text.
- `round`: whose labels were being looked at. The action holds for this and every later round; without it, for all.
- `seq`, `ts`, `selection` (what was being looked at), `run`, `teacher` (its fingerprint) and `nsfast` (the version) are
  for people, and to put the lines of several files in order.

What is missing may be null. See `history` for what the lines together decide. A process that is killed may leave the
last line torn: it has no newline and is no JSON. Who reads leaves it out with a warning, who goes on with the file cuts
it off first. Empty lines are nothing; any other line that is no such record is an error, since what follows it may
depend on it.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from nsfast.errors import NsfastError, choice

ACTIONS = ("accept", "reject", "relabel", "undo")
KINDS = {"text": str, "a whole number": int, "a number": (int, float)}
FIELDS = {"from": "text", "who": "text", "why": "text", "ts": "text"}
FIELDS |= {"round": "a whole number", "seq": "a whole number", "conf": "a number"}


class Verdict(NamedTuple):
    """What one line says.

    Args:
        id: the picture's name; None for an undo of any.
        action: one of `ACTIONS`.
        to: the class's name of a relabel.
        was: the class's name that the picture had, where that is known.
        confidence: of the label that it had, 0 to 1, where that is known.
        who: decided.
        why: reason.
        ts: when, ISO 8601.
        round: the first that it holds for; None for all.
        seq: number of the line.
    """

    id: str | None
    action: str
    to: str | None = None
    was: str | None = None
    confidence: float | None = None
    who: str = ""
    why: str = ""
    ts: str = ""
    round: int | None = None
    seq: int | None = None

    @property
    def meaning(self) -> tuple[str, str | None]:
        """What it makes of the picture: two verdicts agree when this is equal."""
        if self.action == "reject":
            return "reject", None
        return "class", self.to if self.action == "relabel" else self.was

    def holds(self, round: int | None) -> bool:
        """Whether it counts in a round; None asks for no round in particular."""
        return round is None or self.round is None or self.round <= round


def checked(record: Any) -> Verdict:
    """Return what a record says; raise `NsfastError` for what is no record."""
    if not isinstance(record, dict):
        raise NsfastError(f"{json.dumps(record)[:40]} is no record, which is {{...}}")
    action, name, to = (record.get(key) for key in ("action", "id", "to"))
    if not isinstance(action, str):
        raise NsfastError("no 'action'" if action is None else f"action is {action!r}; it must be text")
    choice("action", action, ACTIONS)
    if not (_is("text", name) and name) and not (action == "undo" and name is None):
        raise NsfastError(f"id is {name!r}; it must be the name of a picture")
    if action != "relabel":
        to = None
    elif not (_is("text", to) and to):
        raise NsfastError(f"a relabel to {to!r}; 'to' must be the name of a class")
    found = {}
    for field, kind in FIELDS.items():
        found[field] = record.get(field)
        if found[field] is not None and not _is(kind, found[field]):
            raise NsfastError(f"{field} is {found[field]!r}; it must be {kind}")
    texts = (found[field] or "" for field in ("who", "why", "ts"))
    return Verdict(name, action, to, found["from"], found["conf"], *texts, found["round"], found["seq"])


def _is(kind: str, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, KINDS[kind]):
        return False
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()  # JSON can say half a character, "\\ud800", which no file name in a table is
        except UnicodeEncodeError:
            return False
    return value == value  # nan is no number
