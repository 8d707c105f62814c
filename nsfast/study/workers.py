"""A process that works through the arms of a study one after the other, so that it imports what they need once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from nsfast.files import read_json


class Worker:
    """A process that is given one job at a time; one that ended, whyever, is replaced at the next job.

    Args:
        answer: the file that the process says its outcome in.
    """

    def __init__(self, answer: Path):
        self.answer, self._process = answer, None

    def begin(self, job: dict, log: Path) -> None:
        """Start a job of `nsfast.study.job`, what it prints goes to the end of `log`."""
        self.answer.unlink(missing_ok=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        if self._process is None or self._process.poll() is not None:
            self.close()
            command = [sys.executable, "-m", "nsfast.study.job", str(os.getpid())]
            environment = {**os.environ, "OMP_NUM_THREADS": str(job["threads"])}
            with open(log, "ab") as out:
                self._process = subprocess.Popen(
                    command,
                    bufsize=0,
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                )
        line = json.dumps({**job, "log": str(log), "answer": str(self.answer)})
        with suppress(BrokenPipeError):  # it has just died, as `outcome` will say
            self._process.stdin.write(f"{line}\n".encode())

    def outcome(self) -> str | None:
        """Return what went wrong with the job, "" if nothing did, None while it runs."""
        ended = self._process.poll()  # before the look at the file, which it may write last
        if self.answer.is_file():
            answer = read_json(self.answer)
            if answer["spent"]:
                self.close()
            return answer["error"]
        return None if ended is None else f"it ended with {ended}"

    def close(self) -> None:
        """End the process, in the middle of a job too."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdin.close()
            self._process = None
