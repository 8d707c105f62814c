"""Work shared without a coordinator: who creates a claim does that piece; the claims of the dead are taken over.

A claim is a file whose creation fails where it exists already. It says which process of which machine made it, and a
thread of that process touches it now and then. Claims only save work: whoever is wrongly taken for dead and goes on
makes the same piece again, with the same bytes.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nsfast.errors import NsfastError, within

STALE = 60.0
"""Seconds after which a claim that nobody touches is another machine's that died."""


class Claims:
    """The claims of one process on pieces of work in a folder; a context that gives them up at its end.

    Args:
        folder: where they lie; it is made.
        work: what is done there; a living process that does something else there is an error.
        about: the same as plain data by name, from which that error says what differs.
        stale: seconds after which another machine's claim is taken over if it is not touched.
        unreadable: the same for one that says nothing, because its process died between two lines of code.
    """

    def __init__(
        self,
        folder: str | Path,
        work: str,
        about: Mapping[str, Any] | None = None,
        stale: float = STALE,
        unreadable: float = 5.0,
    ):
        self.folder, self.work, self.stale, self.unreadable = Path(folder), work, stale, unreadable
        self._me = {"host": socket.gethostname(), "machine": _machine(), "process": os.getpid()}
        self._me |= {"started": _started(os.getpid()), "work": work, "about": dict(about or {})}
        self._me |= {"token": secrets.token_hex(8)}
        self._text, self._held, self._ended = json.dumps(self._me), set(), threading.Event()

    def __enter__(self) -> Claims:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()
        except OSError as error:
            raise NsfastError(
                f"cannot write into {self.folder}: {error.strerror}; give another folder, or make room"
            ) from None
        threading.Thread(target=self._touch, daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self._ended.set()
        for name in tuple(self._held):
            self.release(name)

    def take(self, name: str) -> bool:
        """Claim a piece of work; return whether it is this process's now.

        Raises:
            NsfastError: a living process does other work in this folder.
        """
        path = self._path(name)
        if self._create(path):
            return True
        found = _read(path)
        if found is not None and not self._dead(path, found):
            return False
        return (found is None or self._bury(path, found)) and self._create(path)

    def holds(self, name: str) -> bool:
        """Return whether the claim is there and this process's; it may have been taken over."""
        return _read(self._path(name)) == self._text

    def release(self, name: str) -> None:
        """Give up a claim, if it is still this process's."""
        self._held.discard(name)
        if self.holds(name):
            self._path(name).unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a claim on a piece that is not to be done any more, whoever's it is.

        Raises:
            NsfastError: a living process does other work in this folder.
        """
        path = self._path(name)
        if (found := _read(path)) is not None:
            self._dead(path, found)
            path.unlink(missing_ok=True)

    def remove_dead(self, name: str) -> None:
        """Remove a claim if there is one and its process is gone."""
        if self._path(name).exists() and self.take(name):
            self.release(name)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.claim"

    def _create(self, path: Path) -> bool:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return False
        try:
            os.write(descriptor, self._text.encode())
        except OSError:  # a full disk
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        self._held.add(path.stem)
        return True

    def _dead(self, path: Path, text: str) -> bool:
        """Whether the process that made this claim is gone, as far as can be told from here."""
        try:
            claim = json.loads(text)
            same = all(claim[key] == self._me[key] for key in ("host", "machine"))
            gone = same and not _lives(claim["process"], claim["started"])
            work, about = claim["work"], dict(claim.get("about", {}))
        except (ValueError, KeyError, TypeError):
            return self._age(path) > self.unreadable
        if gone or (not same and self._age(path) > self.stale):
            return True
        if work != self.work:
            raise NsfastError(
                f"another labeling is at work in {self.folder} (process {claim['process']} of {claim['host']})"
                f"{_difference(json.loads(self._text)['about'], about)}; wait for its end, or give another folder"
            )
        return False

    def _age(self, path: Path) -> float:
        """Seconds since a claim was touched, by the clock of the file system: machines disagree about the time."""
        with tempfile.TemporaryFile(dir=self.folder) as file:
            os.utime(file.fileno())
            now = os.fstat(file.fileno()).st_mtime
        try:
            return now - path.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _bury(self, path: Path, text: str) -> bool:
        """Take a dead claim away; return False if another process was faster and it is a living one by now."""
        aside = path.with_name(f".{path.name}.{self._me['token']}.tmp")
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            return True
        if _read(aside) == text:
            aside.unlink(missing_ok=True)
            return True
        os.rename(aside, path)
        return False

    def _touch(self) -> None:
        """Show that this process lives."""
        while not self._ended.wait(self.stale / 6):
            for name in tuple(self._held):
                try:
                    if self.holds(name):
                        os.utime(self._path(name))
                except (
                    OSError
                ):  # it has just been given up; or the drive is away, which whoever writes is told
                    pass


def place_among_processes(
    rank: int | None = None, processes: int | None = None, environment: Mapping[str, str] = os.environ
) -> tuple[int, int]:
    """Return which process this is, from 0, and of how many: as given, else as torchrun or SLURM say, else alone.

    It only says where a process begins, so that a wrong place costs a little work and no more.

    Args:
        rank, processes: both or neither.
        environment: RANK and WORLD_SIZE; SLURM_ARRAY_TASK_ID and what goes with it; SLURM_PROCID and SLURM_NTASKS.
    """
    if rank is not None and processes is not None:
        within("processes", processes, 1)
        return int(within("rank", rank, 0, processes - 1)), processes
    if rank is not None or processes is not None:
        raise NsfastError(f"rank is {rank} and processes {processes}; give both, or neither")
    array = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT")
    for names in (("RANK", "WORLD_SIZE"), array, ("SLURM_PROCID", "SLURM_NTASKS")):
        place, count = (environment.get(name, "") for name in names)
        if not (place.isdecimal() and count.isdecimal() and int(count)):
            continue
        first, step = 0, 1
        if names == array:
            first = int(environment.get("SLURM_ARRAY_TASK_MIN", 0))
            step = int(environment.get("SLURM_ARRAY_TASK_STEP", 1))
        return (int(place) - first) // step % int(count), int(count)
    return 0, 1


def _difference(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """The first thing in which other work differs, "" where that is not known."""
    for name in {**mine, **theirs}:
        here, there = (f"{about.get(name)}"[:40] for about in (mine, theirs))
        if mine.get(name) != theirs.get(name):
            return f": its {name} is {there} instead of {here}"
    return ""


def _read(path: Path) -> str | None:
    """What a claim says; None if it is gone."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _machine() -> str:
    """What tells machines of one name apart, and containers of one machine; "" where there is no Linux."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(process: int) -> str:
    """When a process began, in ticks since the machine did; "" of one that is gone, or where there is no Linux."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # a zombie is dead, too


def _lives(process: int, started: str) -> bool:
    if started:
        return _started(process) == started
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
