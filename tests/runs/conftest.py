"""One finished tiny run, made by the command line, that the tests of this folder look at and copy."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from nsfast.pipeline import runner
from tests.runs.here import execute_here, nsfast_here

TINY = (
    "teacher.epochs=4",
    "teacher.steps_per_epoch=40",
    "teacher.ema=0.9",
    "student.ema=0.9",
    "student.epochs=3",
    "student.steps_per_epoch=25",
    "control.epochs=3",
    "iterate.rounds=1",
    "balancing.threshold=0.3",
    "data.test=60",
    "data.validation=60",
    "analysis.corruptions=[shot_noise, contrast]",
    "analysis.severities=[3]",
    "analysis.pictures=40",
    "analysis.perturbations=[shot_noise, translate]",
    "analysis.sequences=4",
    "analysis.epsilons=[8.0]",
    "analysis.attacked=8",
    "analysis.steps=3",
)


def quick_settings() -> list[str]:
    """Command-line arguments that make a run of seconds."""
    return [part for setting in TINY for part in ("--set", setting)]


def environment() -> dict[str, str]:
    """The environment without what a surrounding run or front-end left in it."""
    return {k: v for k, v in os.environ.items() if not k.startswith("NSFAST_") and k != "JPY_SESSION_NAME"}


def nsfast(*arguments, cwd: Path, expect: int = 0) -> subprocess.CompletedProcess:
    """Call the command line in `cwd` and check its exit code."""
    command = [sys.executable, "-m", "nsfast.cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=280)
    assert done.returncode == expect, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="session")
def plain_environment() -> dict[str, str]:
    """The environment of a person at a terminal."""
    return environment()


@pytest.fixture(scope="session")
def command():
    """The function that calls the command line."""
    return nsfast


@pytest.fixture
def command_here(monkeypatch):
    """The function that calls the command line in this process, which executes the stages of a run, too."""
    monkeypatch.setattr(runner, "execute", execute_here)
    return nsfast_here


@pytest.fixture(scope="session")
def quick():
    """Arguments of a run of seconds."""
    return quick_settings()


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A folder with a finished run in runs/digits, and what the command printed."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared  # one run for all workers
    home, said = shared / "finished", shared / "finished.json"
    with FileLock(shared / "finished.lock"):
        if not said.is_file():
            home.mkdir()
            done = nsfast("run", "digits", *quick_settings(), cwd=home)
            said.write_text(json.dumps([done.stdout, done.stderr]))
    return home, subprocess.CompletedProcess([], 0, *json.loads(said.read_text()))


@pytest.fixture
def copy_of_finished(finished, tmp_path) -> Path:
    """A copy of the finished run that a test may spoil: the folder that holds runs/digits."""
    shutil.copytree(finished[0] / "runs", tmp_path / "runs", copy_function=shutil.copy2)
    return tmp_path
