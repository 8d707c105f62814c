"""Executes a stage's notebook in this process: its code cells in order, and no executed notebook is left.

It saves the start of a kernel and the imports, which is what a stage of seconds mostly takes; studies and tests use it.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nsfast.pipeline.notebooks import declared_parameters, notebook_path
from nsfast.pipeline.stages import Stage
from nsfast.pipeline.terminal import Display


def execute_here(
    run: Path, stage: Stage, display: Display, show: Callable[[Any], object] = lambda value: None
) -> None:
    """Do what `nsfast.pipeline.runner.execute` does, without papermill.

    Args:
        run: the run folder.
        stage: whose notebook is executed.
        display: is told of begin and end.
        show: is given what the last line of each cell comes to, which a notebook would show.

    Raises:
        NsfastError, or whatever else a cell raises.
    """
    notebook, declared, namespace = notebook_path(stage.kind), declared_parameters(stage.kind), {}
    given = {
        "run": str(run),
        "profile": str(run / "profile.yaml"),
        "round": stage.round,
        "folder": stage.folder,
    }
    given = {name: value for name, value in {**given, **stage.parameters}.items() if name in declared}
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    (run / stage.folder).mkdir(parents=True, exist_ok=True)
    display.begin(stage.name)
    with _environment(NSFAST_RUNNER="1", NSFAST_DISPLAY="static"):
        for number, cell in enumerate(cells):
            if cell["cell_type"] == "code":
                value = run_cell("".join(cell["source"]), namespace, f"{notebook.name}, cell {number}")
                if value is not None:
                    show(value)
            if "parameters" in cell["metadata"].get("tags", ()):
                namespace.update(given)
    display.end(stage.name, "finished")


def run_cell(source: str, namespace: dict[str, Any], where: str) -> Any:
    """Run a cell's lines in a namespace, and return what the last one comes to; None where it is no expression."""
    lines = ast.parse(source, where)
    last = lines.body.pop() if lines.body and isinstance(lines.body[-1], ast.Expr) else None
    exec(compile(lines, where, "exec"), namespace)
    return None if last is None else eval(compile(ast.Expression(last.value), where, "eval"), namespace)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
