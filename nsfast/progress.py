"""Progress of long work: one small file that a runner watches, and one plain line every few seconds."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from nsfast.files import write_json


class Progress:
    """Counts steps of long work; writes the state to the file named by `NSFAST_PROGRESS`, lines to standard output.

    Args:
        name: what is counted, for example "epoch" or "picture".
        total: how many there will be.
        first: how many were finished before; the time left is reckoned without them.
        every: seconds between two lines.
        rate: say how many there are a second, too.
    """

    def __init__(self, name: str, total: int, first: int = 0, every: float = 5.0, rate: bool = False):
        self.name, self.total, self.first, self.every, self.rate = name, total, first, every, rate
        self.path = os.environ.get("NSFAST_PROGRESS")
        self.begun = self.printed = time.monotonic()

    def update(self, done: int, note: str = "", part: float = 0.0) -> None:
        """Say that `done` of `total` are finished and `part`, 0..1, of the next; `note` stands behind the count."""
        if self.path:
            state = {"name": self.name, "done": done, "part": part, "total": self.total, "note": note}
            write_json(Path(self.path), state)
        now = time.monotonic()
        if now - self.printed < self.every and done < self.total:
            return
        self.printed = now
        rate = (done + part - self.first) / max(now - self.begun, 1e-9)
        left = (self.total - done - part) / rate if rate > 0 else 0.0
        speed = f"{rate:,.0f}/s  " if self.rate else ""
        print(f"{self.name} {done}/{self.total}  {speed}{left:.0f} s left  {note}".rstrip(), flush=True)
        sys.stdout.flush()
