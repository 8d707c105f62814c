"""The command line and the stages in the process of the tests, which has imported torch once and for all."""

import ast
import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nsfast.cli import main
from nsfast.pipeline.notebooks import declared_parameters, notebook_path
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
    """Do what the runner's `execute` does: the notebook's code cells in order, with the stage's parameters."""
    notebook, declared, namespace = notebook_path(stage.kind), declared_parameters(stage.kind), {}
    given = {
        "run": str(run),
        "profile": str(run / "profile.yaml"),
        "round": stage.round,
        "folder": stage.folder,
    }
    given = {name: value for name, value in {**given, **stage.parameters}.items() if name in declared}
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    display.begin(stage.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NSFAST_RUNNER", "1")
        patch.setenv("NSFAST_DISPLAY", "static")
        for number, cell in enumerate(cells):
            if cell["cell_type"] == "code":
                run_cell("".join(cell["source"]), namespace, f"{notebook.name}, cell {number}")
            if "parameters" in cell["metadata"].get("tags", ()):
                namespace.update(given)
    display.end(stage.name, "finished")


def run_cell(source: str, namespace: dict, where: str) -> None:
    """Run a cell's lines, and draw what the last one comes to, as a notebook does."""
    lines = ast.parse(source, where)
    last = lines.body.pop() if isinstance(lines.body[-1], ast.Expr) else None
    exec(compile(lines, where, "exec"), namespace)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), where, "eval"), namespace)
        for name in ("_repr_mimebundle_", "_repr_png_", "_repr_html_"):
            getattr(value, name, str)()
