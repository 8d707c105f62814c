"""What the lines of a decisions file decide together.

An undo takes back the last action of the same person that is not undone yet: on its picture, or on any when it names
none. Nobody takes back what somebody else did. An undo that was made in some round takes back what holds there.

What counts of a picture is, of each person, the last action that is not undone and holds for the round that is asked
for. Where people differ, the latest action counts, and the conflict is reported.
"""

from __future__ import annotations

from nsfast.errors import NsfastError
from nsfast.labels.decisions.record import Verdict


class History:
    """The verdicts in the order of the file, of which an undo takes one back.

    Args:
        round: only what holds for it counts; None for everything.
    """

    def __init__(self, round: int | None = None):
        self.round = round
        self.later = 0  # actions, not undone, that hold for later rounds only
        self.seq = 0  # the largest
        self._place = 0
        self._of: dict[str, dict[str, list[tuple[int, Verdict]]]] = {}  # by picture and person
        self._by: dict[
            str, list[tuple[int, Verdict]]
        ] = {}  # by person; what is undone stays until it is last
        self._undone: set[int] = set()
        self._counts: dict[str, tuple[int, Verdict]] = {}
        self._conflicts: dict[str, tuple[Verdict, ...]] = {}

    def add(self, verdict: Verdict) -> Verdict | None:
        """Take one more action; or one back, and return it.

        Raises:
            NsfastError: an undo, but there is nothing to take back.
        """
        if verdict.action == "undo":
            place, taken = self._last(verdict.who, verdict.id, verdict.round)
            self._undone.add(place)
            self._of[taken.id][taken.who].remove((place, taken))
            changed = taken.id
        else:
            taken, changed, item = None, verdict.id, (self._place, verdict)
            self._of.setdefault(changed, {}).setdefault(verdict.who, []).append(item)
            self._by.setdefault(verdict.who, []).append(item)
        self._place += 1
        self.seq = max(self.seq, verdict.seq or 0)
        if not (taken or verdict).holds(self.round):
            self.later += -1 if taken else 1
        else:
            self._count(changed)
        return taken

    def last_of(self, who: str, name: str | None = None, round: int | None = None) -> Verdict:
        """Return what an undo would take back.

        Args:
            who: undoes.
            name: of a picture; None for any.
            round: in which; None for any.

        Raises:
            NsfastError: there is nothing.
        """
        return self._last(who, name, round)[1]

    def verdicts(self) -> dict[str, Verdict]:
        """Return what counts of each picture that is decided, in the order in which that was said."""
        found = sorted(self._counts.items(), key=lambda item: item[1][0])
        return {name: verdict for name, (_, verdict) in found}

    def conflicts(self) -> dict[str, tuple[Verdict, ...]]:
        """Return each person's verdict on the pictures of which people differ; the last one counts."""
        return dict(self._conflicts)

    def _last(self, who: str, name: str | None, round: int | None) -> tuple[int, Verdict]:
        """The last action of a person that is not undone, and its place."""
        if name is not None:
            items = self._of.get(name, {}).get(who, [])
        else:
            items = self._by.get(who, [])
            while items and items[-1][0] in self._undone:
                items.pop()
        for place, verdict in reversed(items):
            if place not in self._undone and verdict.holds(round):
                return place, verdict
        by = f" by {who!r}" if who else ""
        on = f" on {name!r}" if name else ""
        raise NsfastError(f"an undo, but there is no action{by}{on} to take back")

    def _count(self, name: str) -> None:
        """Find out what counts of a picture."""
        last = []
        for items in self._of[name].values():
            held = next((item for item in reversed(items) if item[1].holds(self.round)), None)
            if held:
                last.append(held)
        last.sort(key=lambda item: item[0])
        self._counts.pop(name, None)
        self._conflicts.pop(name, None)
        if last:
            self._counts[name] = last[-1]
        if len({verdict.meaning for _, verdict in last}) > 1:
            self._conflicts[name] = tuple(verdict for _, verdict in last)
