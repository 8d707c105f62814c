"""A decisions file that is written: one line for each action, by any number of people and processes at once."""

from __future__ import annotations

import datetime
import getpass
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nsfast
from nsfast.errors import NsfastError
from nsfast.files import write_csv
from nsfast.labels.decisions.decided import COLUMNS, Decisions
from nsfast.labels.decisions.history import History
from nsfast.labels.decisions.read import lines_of, records_of
from nsfast.labels.decisions.record import Verdict, checked

if TYPE_CHECKING:
    import pandas

WAIT = 30
"""Seconds that a process waits for others to have written."""

REMEMBERED = 1024
"""Bytes before the place where reading goes on; where they differ, somebody changed what was written."""


class DecisionLog:
    """The decisions of a file, and the pen that adds to them.

    The file is made with the first decision. What others append is seen when `decisions` is asked for.

    Args:
        path: of the file.
        who: decides; by default the environment's `NSFAST_WHO`, else the login name.
        run: the run folder, for people to read.
        teacher: its fingerprint, for people to read.
        round: whose labels are looked at: what is decided holds from it on, and only what holds for it is seen. None
            for all rounds.
    """

    def __init__(
        self,
        path: str | Path,
        who: str | None = None,
        run: str | Path = "",
        teacher: str = "",
        round: int | None = None,
    ):
        self.path, self.who, self.round = Path(path), _login() if who is None else who, round
        self._about = {"run": str(run), "teacher": teacher, "nsfast": nsfast.__version__}
        checked({"action": "undo", "who": self.who, "round": round})
        self._begin()

    def accept(self, name: str, **seen: Any) -> None:
        """Decide that a picture's label is right.

        Args:
            name: of the picture.
            seen: `predicted` (the class's name) and `confidence` of its label, `selection` (what was being looked at)
                and `why`, as text.

        Raises:
            NsfastError: no name, or a file that cannot be written.
        """
        self._decide("accept", name, **seen)

    def reject(self, name: str, **seen: Any) -> None:
        """Decide that a picture is not to be used; as `accept`."""
        self._decide("reject", name, **seen)

    def relabel(self, name: str, to: str, **seen: Any) -> None:
        """Decide that a picture is of the class `to`; as `accept`."""
        self._decide("relabel", name, to, **seen)

    def undo(self, name: str | None = None) -> Verdict:
        """Take back this person's last action that is not undone, and return it.

        Args:
            name: of a picture; None for any.

        Raises:
            NsfastError: there is none, or a file that cannot be written.
        """

        def record(history: History) -> tuple[dict[str, Any], Verdict]:
            taken = history.last_of(self.who, name, self.round)
            return {"id": taken.id, "action": "undo"}, taken

        return self._append(record)

    @property
    def decisions(self) -> Decisions:
        """What is decided now; the same object until something is added."""
        self._refresh()
        if self._decisions is None:
            self._decisions = Decisions.of(self._history, self.path)
        return self._decisions

    def __len__(self) -> int:
        return len(self.decisions)

    def records(self) -> list[dict[str, Any]]:
        """Return every line of the file as it stands there, undone ones and undos included."""
        data = self.path.read_bytes() if self.path.is_file() else b""
        return [record for _, record in records_of(data, self.path)[0]]

    def to_frame(self) -> pandas.DataFrame:
        """Return a row for each picture that is decided."""
        import pandas

        return pandas.DataFrame(self.decisions.rows(), columns=COLUMNS)

    def write_csv(self, path: str | Path) -> Path:
        """Write a row for each picture that is decided to a CSV file; return its path."""
        write_csv(path, self.decisions.rows(), COLUMNS)
        return Path(path)

    def _decide(
        self,
        action: str,
        name: str,
        to: str | None = None,
        *,
        predicted: str | None = None,
        confidence: float | None = None,
        selection: str = "",
        why: str = "",
    ) -> None:
        known = confidence is not None and math.isfinite(confidence)
        record = {"id": name, "action": action, "from": predicted, "to": to}
        record |= {"conf": float(confidence) if known else None, "why": why, "selection": str(selection)}
        checked(record)
        self._append(lambda history: (record, None))

    def _append(self, make: Callable[[History], tuple[dict[str, Any], Any]]) -> Any:
        """Add the record that is made of what the file says once nobody else writes; return what comes with it."""
        try:
            with locked(self.path):
                self._refresh()
                record, found = make(self._history)
                line = {"seq": self._history.seq + 1, "ts": _now(), "id": None, "action": None, "from": None}
                line |= {"to": None, "conf": None, "who": self.who, "why": "", "round": self.round}
                line |= {"selection": "", **record, **self._about}
                self._write(json.dumps(line, ensure_ascii=False).encode("utf-8", "replace"))
                self._refresh()
        except OSError as error:
            raise NsfastError(
                f"cannot write decisions to {self.path} ({error.strerror or error}); give a file in a folder that you "
                "may write to"
            ) from None
        return found

    def _write(self, line: bytes) -> None:
        """Append a line in one write, after what is whole."""
        if self._torn:
            os.truncate(self.path, self._offset)
            print(
                f"warning: the last line of {self.path} was torn and is cut off; a process was killed writing it"
            )
        start = b"" if self._end[-1:] in (b"", b"\n") else b"\n"
        line = start + line + b"\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            written = os.write(file, line)
            if written < len(line):
                os.ftruncate(file, self._offset)
                raise OSError(f"only {written} of {len(line)} bytes fit")
            os.fsync(file)
        finally:
            os.close(file)

    def _begin(self) -> None:
        """Know nothing of the file."""
        self._history, self._decisions = History(self.round), None
        self._offset, self._lines, self._end, self._torn = 0, 0, b"", False
        self._state: tuple[int, ...] | None = None

    def _refresh(self) -> None:
        """Read what was appended since."""
        try:
            with open(self.path, "rb") as file:
                about = os.fstat(file.fileno())
                state = (about.st_ino, about.st_size, about.st_mtime_ns)
                if state == self._state and not self._torn:
                    return
                file.seek(self._offset - len(self._end))
                if file.read(len(self._end)) != self._end or (self._state and self._state[0] != state[0]):
                    self._begin()  # it is another file
                    file.seek(0)
                data = file.read()
        except FileNotFoundError:
            if self._state:
                self._begin()
            return
        except OSError as error:
            raise NsfastError(f"cannot read decisions in {self.path} ({error.strerror})") from None
        try:
            found = lines_of(data, self.path, self._lines)
            found.add_to(self._history)
        except NsfastError:
            self._begin()
            raise
        self._decisions = None
        self._offset, self._lines = self._offset + found.taken, self._lines + found.count
        self._end = (self._end + data[: found.taken])[-REMEMBERED:]
        self._torn, self._state = found.torn, state


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the only one that writes a decisions file, on this machine or on any that share it.

    Raises:
        NsfastError: somebody else has been writing for `WAIT` seconds.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        held.acquire(timeout=WAIT, poll_interval=0.001)
    except Timeout:
        raise NsfastError(
            f"another process has been writing {path} for {WAIT} s; wait for it, or stop it"
        ) from None
    try:
        yield
    finally:
        held.release()


def _login() -> str:
    if who := os.environ.get("NSFAST_WHO", ""):
        return who
    try:
        return getpass.getuser()
    except Exception:  # a user without a name; which one it is depends on the version of Python
        return ""


def _now() -> str:
    now = datetime.datetime.now(datetime.timezone.utc)
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
