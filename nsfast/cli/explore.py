"""The command that opens the explorer: in JupyterLab, as a page of its own, or as one HTML file."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from nsfast.cli import app
from nsfast.errors import NsfastError

NOTEBOOK = "explore.ipynb"
CELL = "nsfast-explore"
"""What the ids of the cells that this command writes begin with; other cells are a person's."""

TEXT = """# The pseudo-labels of {title}: try this

1. Drag the line in the histogram, or the slider: the table says what would be kept, dropped and copied of each class.
2. Click a bar, or the worst cell of the confusion: the pictures behind it appear.
3. Click a picture, and decide: `a` accepts, `r` rejects, a digit or a typed name relabels, `u` takes back, `?` helps.
   Each decision is a line of <code>{decisions}</code>, and {who} obeys."""


@app.command()
def explore(
    path: Annotated[Path, typer.Argument(help="Run folder; or a label table: folder, Parquet or CSV file.")],
    number: Annotated[
        int | None, typer.Option("--round", help="Of a run; by default the last that is labeled.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Of a table: folder or .npy of its pictures.")] = None,
    student: Annotated[
        bool, typer.Option("--student", help="Of a run: what the round's student says, too.")
    ] = False,
    lay_out: Annotated[bool, typer.Option("--map", help="Of a run: its pictures on a map, too.")] = False,
    who: Annotated[str | None, typer.Option(help="Who decides; by default the login name.")] = None,
    as_app: Annotated[
        bool, typer.Option("--app", help="As a page of its own, on this machine, behind a token.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write one HTML file, and start nothing.")] = None,
    port: Annotated[int, typer.Option(help="Of the page, or of JupyterLab; 0 for one that is free.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open it in a browser.")] = True,
):
    """See which pseudo-labels are good, and decide: writes explore.ipynb and opens it in JupyterLab."""
    given: dict[str, Any] = {"round": number, "student": student or None, "map": lay_out or None}
    given = {name: value for name, value in given.items() if value is not None}
    if not path.exists():
        raise NsfastError(f"no run and no label table in {path}: there is no such file or folder")
    of_run = (path / "profile.yaml").is_file()
    if of_run and images is not None:
        raise NsfastError(f"{path} is a run, whose pictures are known; leave --images out")
    if not of_run and given:
        raise NsfastError(f"{path} is no run (it has no profile.yaml); leave --{next(iter(given))} out")
    given |= {} if images is None else {"images": str(images)}
    if who is not None:
        os.environ["NSFAST_WHO"] = who  # not in the notebook, which others may open
    if html is not None:
        print(f"the explorer is in {_opened(path, of_run, given).save_html(html)}")
        return
    _require(path, of_run, given, "voila" if as_app else "jupyterlab")
    from nsfast.explore.voila.serve import free_port, serve

    port = free_port(port)
    notebook = write_notebook(path, of_run, given)
    (serve if as_app else _serve_in_lab)(notebook, port, browser)


def write_notebook(path: Path, of_run: bool, given: dict[str, Any]) -> Path:
    """Write the notebook that explores a run, into its folder, or a label table, into this one; return its path.

    One that is there keeps what a person has added to it.

    Args:
        path: of the run, or of the table.
        of_run: which of them.
        given: arguments of `explore_run` or of `Explorer.from_table`.

    Raises:
        NsfastError: a notebook of this name that is another one.
    """
    import nbformat

    from nsfast.files import write_text

    notebook = (path if of_run else Path()) / NOTEBOOK
    decisions = "decisions.jsonl" if of_run else (path if path.is_dir() else path.parent) / "decisions.jsonl"
    who = "the next balancing" if of_run else "<code>nsfast balance --decisions</code>"
    title = path.resolve().name
    text = TEXT.format(title=_plain(title), decisions=_plain(str(decisions)), who=who)
    cells = [
        nbformat.v4.new_markdown_cell(text, id=f"{CELL}-text"),
        nbformat.v4.new_code_cell(_code(path, of_run, given), id=CELL),
    ]
    about = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"title": f"Pseudo-labels of {title}", "kernelspec": about}
    found = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    if notebook.is_file():
        try:
            kept = nbformat.read(notebook, as_version=4)
            own = {cell.id: cell for cell in kept.cells if cell.get("id", "").startswith(CELL)}
            same = own[CELL].source == cells[1].source
        except Exception:  # no JSON, no notebook, or not ours
            raise NsfastError(f"{notebook} is there and is not this command's; move it away") from None
        if same:
            return notebook
        for cell in cells:
            own.get(cell.id, {}).update(cell)
        kept.metadata.title, found = metadata["title"], kept
    write_text(notebook, nbformat.writes(found))
    return notebook


def _code(path: Path, of_run: bool, given: dict[str, Any]) -> str:
    """The cell that opens the explorer; of a run the path is that of the notebook's own folder."""
    arguments = ", ".join([repr("." if of_run else str(path)), *(f"{n}={v!r}" for n, v in given.items())])
    if of_run:
        return f"from nsfast.pipeline.exploring import explore_run\n\nexplore_run({arguments})"
    return f"from nsfast.explore.live.explorer import Explorer\n\nExplorer.from_table({arguments})"


def _plain(text: str) -> str:
    """A name from outside as Markdown shows it."""
    return "".join(f"&#{ord(letter)};" if letter in "<>&`*_[]\\$" else letter for letter in text)


def _opened(path: Path, of_run: bool, given: dict[str, Any]):
    if of_run:
        from nsfast.pipeline.exploring import explore_run

        return explore_run(path, **given)
    from nsfast.explore.live.explorer import Explorer

    return Explorer.from_table(path, **given)


def _require(path: Path, of_run: bool, given: dict[str, Any], package: str) -> None:
    """Raise `NsfastError` for what would only be seen when the notebook runs, and for a package that is missing."""
    if find_spec(package) is None:
        extra = {"voila": "voila", "jupyterlab": "lab"}[package]
        raise NsfastError(f'{package} is not installed; install it with: pip install "nsfast[{extra}]"')
    if of_run:
        from nsfast.pipeline.exploring import labeled_round

        labeled_round(path.resolve(), given.get("round"))
        return
    from nsfast.explore.core.table import open_table

    open_table(path, given.get("images"))


def _serve_in_lab(notebook: Path, port: int, browser: bool) -> None:
    """Start JupyterLab on a notebook; Ctrl-C ends it."""
    from jupyterlab.labapp import LabApp

    folder = notebook.resolve().parent
    arguments = [f"--ServerApp.root_dir={folder}", f"--LabApp.default_url=/lab/tree/{notebook.name}"]
    arguments += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    arguments += [] if browser else ["--no-browser"]
    if getattr(os, "geteuid", lambda: 1)() == 0:
        arguments.append(
            "--allow-root"
        )  # as in a container; it listens on this machine alone, behind a token
    LabApp.launch_instance(argv=arguments)
