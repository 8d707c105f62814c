"""Work that waits until a slider has come to rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

REST = 0.25
"""Seconds without another call after which the work is done."""


class AtRest:
    """Calls a function once nobody has asked for it for `REST` seconds; at once where there is no event loop."""

    def __init__(self, work: Callable[[], None]):
        self._work = work
        self._pending: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel: a script or a test
            self._work()
            return
        if self._pending:
            self._pending.cancel()
        self._pending = loop.call_later(REST, self._work)
