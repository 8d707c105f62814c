"""The command line and the stages in the process of the tests, which has imported torch once and for all."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nsfast.cli import main
from nsfast.pipeline.execute_here import execute_here as execute_in_process
from nsfast.pipeline.stages import Stage


def nsfast_here(*arguments, cwd: Path, expect: int = 0) -> subprocess.CompletedProcess:
    """Call the command line's `main` in `cwd`, and check its exit code."""
    words, said, wrong = list(map(str, arguments)), io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["nsfast", *words])
        for name in [name for name in os.environ if name.startswith("NSFAST_")]:
            patch.delenv(name)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(wrong):
            with pytest.raises(SystemExit) as end:
                main()
    done = subprocess.CompletedProcess(words, end.value.code, said.getvalue(), wrong.getvalue())
    assert done.returncode == expect, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def execute_here(run: Path, stage: Stage, display) -> None:
    """Do what the runner's `execute` does, and draw what each cell comes to, as a notebook does."""
    execute_in_process(run, stage, display, draw)


def draw(value: object) -> None:
    """Draw a value as a front-end shows it; a figure once, where writing it as PNG draws twice."""
    if isinstance(value, Figure):
        FigureCanvasAgg(value).draw()
        return
    for name in ("_repr_mimebundle_", "_repr_png_", "_repr_html_"):
        getattr(value, name, str)()
