"""What a run shows while it works: one progress bar a stage on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import threading
import time


class Display:
    """Shows the progress of stages, several of which may run at once; use it as a context manager.

    Args:
        every: seconds between two lines of a stage where there is no terminal.
    """

    def __init__(self, every: float = 10.0):
        self.every, self._lock, self._bar, self._rows, self._said = every, threading.Lock(), None, {}, {}
        self._out = sys.stdout  # doit puts another one in its place while a stage runs

    def __enter__(self) -> Display:
        if self._out.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            columns = [TextColumn("{task.description:<20}"), BarColumn(30), TimeElapsedColumn()]
            columns.append(TextColumn("{task.fields[note]}"))
            console = Console(file=self._out)
            self._bar = Progress(*columns, console=console, redirect_stdout=False, redirect_stderr=False)
            self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        if self._bar:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Print one line above the bars."""
        with self._lock:
            if self._bar:
                self._bar.console.print(text, highlight=False, markup=False)
            else:
                print(text, file=self._out, flush=True)

    def begin(self, stage: str) -> None:
        """A stage starts."""
        if self._bar:
            self._rows[stage] = self._bar.add_task(stage, total=None, note="")
        else:
            self.say(f"{stage}: started")
        self._said[stage] = time.monotonic()

    def update(self, stage: str, state: dict) -> None:
        """A stage says how far it is; `state` is what `nsfast.progress.Progress` writes."""
        note = f"{state['name']} {state['done']}/{state['total']} {state['note']}".strip()
        if self._bar:
            done = state["done"] + state["part"]
            self._bar.update(self._rows[stage], completed=done, total=state["total"], note=note)
        elif time.monotonic() - self._said[stage] >= self.every:
            self._said[stage] = time.monotonic()
            self.say(f"{stage}: {note}")

    def end(self, stage: str, note: str) -> None:
        """A stage has ended."""
        if self._bar:
            self._bar.remove_task(self._rows.pop(stage))
        self.say(f"{stage}: {note}")
