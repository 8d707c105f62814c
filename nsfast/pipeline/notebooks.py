"""The six notebooks: where they are, which parameters they declare, and what their code is worth as a fingerprint."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from nsfast.errors import NsfastError
from nsfast.files import fingerprint

NOTEBOOKS = {
    "teacher": "01_teacher",
    "labeling": "02_labeling",
    "balancing": "03_balancing",
    "student": "04_student",
    "iterate": "05_iterate",
    "analysis": "06_analysis",
}
COMMON = (
    "run",
    "profile",
    "round",
    "folder",
)  # parameters that say where, not what: no part of a fingerprint

# parameters that say how, not what: any number of processes makes the same, but for the rounding of sums
HOW = ("workers", "num_processes", "engine", "checkpoint_minutes", "compile")


@dataclass(frozen=True)
class Parameter:
    """A parameter that a notebook declares: its name, type ("int", "list[int]", ...), default and one-line help."""

    name: str
    type: str
    default: Any
    help: str


def notebooks_folder() -> Path:
    """Return the folder of the notebooks: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / "01_teacher.ipynb").is_file():
            return folder
    raise NsfastError(f"the notebooks are missing beside {package}; install nsfast again")


def notebook_path(stage: str) -> Path:
    """Return the path of a stage's notebook."""
    return notebooks_folder() / f"{NOTEBOOKS[stage]}.ipynb"


@lru_cache
def _code_cells(path: Path) -> tuple[tuple[str, bool], ...]:
    """Source of every code cell, and whether it is the parameters cell."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return tuple(("".join(c["source"]), "parameters" in c["metadata"].get("tags", ())) for c in code)


@lru_cache
def declared_parameters(stage: str) -> dict[str, Parameter]:
    """Return the parameters that a stage's notebook declares, by name and in order.

    A parameter is one line `name: type = default  # help` in the cell tagged "parameters", as papermill reads it.
    """
    source = next(text for text, tagged in _code_cells(notebook_path(stage)) if tagged)
    lines, found = source.splitlines(), {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            comment = lines[node.end_lineno - 1][node.end_col_offset :].partition("#")[2].strip()
            value = ast.literal_eval(node.value)
            found[node.target.id] = Parameter(node.target.id, ast.unparse(node.annotation), value, comment)
    return found


def code_fingerprint(stage: str) -> str:
    """Return a fingerprint of what a notebook computes: its code cells without comments, layout and outputs.

    The parameters cell is left out, for the values that were used count by themselves.
    """
    cells = [text for text, tagged in _code_cells(notebook_path(stage)) if not tagged]
    return fingerprint([_plain(text) for text in cells])


def _plain(source: str) -> str:
    """Code without comments and layout; a cell with a magic is no Python and counts as it is."""
    try:
        return ast.unparse(ast.parse(source))
    except SyntaxError:
        return source
