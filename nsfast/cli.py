"""The command line: nsfast run, status, report, profiles, params, models, recipe, plan, train."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from nsfast.errors import NsfastError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Noisy Student Training (arXiv 1911.04252): from a few labels to a robust student, in six notebooks.",
)


def table(rows: list[dict[str, str]]) -> None:
    """Print rows as a table that fits the terminal, or as aligned plain text in a log."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        shown = Table(*map(str, rows[0]))
        for row in rows:
            shown.add_row(*(str(value).replace("[", "\\[") for value in row.values()))
        Console().print(shown)
        return
    lines = [list(map(str, rows[0])), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


@app.command()
def run(
    profile: Annotated[str, typer.Argument(help="A profile's name (see: nsfast profiles) or a YAML file.")],
    folder: Annotated[Path | None, typer.Option("--run", help="Run folder; runs/PROFILE by default.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="stage.name=value; may be repeated.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Last stage to run, for example balancing; images only prepares.")
    ] = None,
    force: Annotated[list[str] | None, typer.Option(help="Stage to run even if it stands.")] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Every stage for a few steps, on tiny pictures made for it.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and run nothing.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of the run.")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Stages that may run at once; the profile's by default.")
    ] = None,
):
    """Run a profile, or go on with it: stages that stand are skipped, killed ones continue."""
    from nsfast.pipeline.profile import resolve
    from nsfast.pipeline.report import headline, result_rows
    from nsfast.pipeline.runner import plan as stages_ahead
    from nsfast.pipeline.runner import run_profile

    if smoke:
        from nsfast.pipeline.smoke import smoke_profile

        target = (folder or Path("runs") / f"{Path(profile).stem}-smoke").resolve()
        resolved = smoke_profile(profile, target.with_name(f"{target.name}-data"), tuple(settings or ()))
    else:
        resolved = resolve(profile, tuple(settings or ()), seed)
        target = (folder or Path("runs") / resolved.name).resolve()
    if dry_run:
        rows = stages_ahead(target, resolved, until, tuple(force or ()))
        if until == "images":
            print("the pictures would be prepared, if they are not")
            return
        table([{"stage": stage.name, "notebook": stage.notebook, "state": state} for stage, state in rows])
        return
    ran = run_profile(target, resolved, until, tuple(force or ()), jobs or resolved.jobs)
    if until == "images":
        print(f"the pictures are prepared: {target / 'images'}")
        return
    print(f"{len(ran)} stage(s) ran, the others stand" if ran else "every stage stands; nothing to do")
    if until is None:
        table(result_rows(target))
        print(headline(target))
        print(f"report:    {target / 'analysis' / 'report.html'}")
    print(f"notebooks: {target}")


@app.command()
def status(folder: Annotated[Path, typer.Argument(help="Run folder.")]):
    """List the stages of a run: which stand, and when they were made."""
    from nsfast.pipeline.run_folder import read_run
    from nsfast.pipeline.runner import plan as stages_ahead
    from nsfast.pipeline.stages import Records

    target = folder.resolve()
    records, rows = Records(target), []
    for stage, state in stages_ahead(target, read_run(target)):
        entry = records.entry(stage) or {}
        words = {"stands": "stands", "runs": "to run" if entry else "not run yet"}
        row = {"stage": stage.name, "state": words.get(state, "to run if what it reads changes")}
        rows.append({**row, "finished": entry.get("finished", ""), "seconds": str(entry.get("seconds", ""))})
    table(rows)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Run folder.")]):
    """Write report.html anew from what the analysis left, and say where it is."""
    from nsfast.pipeline.report import write_report

    print(write_report(folder.resolve()))


@app.command()
def profiles():
    """List the profiles that come with nsfast."""
    from nsfast.pipeline.profile import profile_names

    rows = []
    for name, path in profile_names().items():
        first = path.read_text(encoding="utf-8").splitlines()[0]
        rows.append({"profile": name, "what": first.lstrip("# ").partition(": ")[2]})
    table(rows)


@app.command()
def params(
    stage: Annotated[
        str, typer.Argument(help="data, control, teacher, labeling, balancing, student, iterate or analysis.")
    ],
    data: Annotated[str, typer.Option(help="Whose data parameters: digits, folder, cifar10, ...")] = "digits",
):
    """List what may be set in a stage: name, type, default, help."""
    from nsfast.pipeline.profile import stage_parameters

    rows = []
    for name, parameter in stage_parameters(stage, data).items():
        default = "" if parameter.default is None else repr(parameter.default)
        rows.append(
            {
                "parameter": f"{stage}.{name}",
                "type": parameter.type,
                "default": default,
                "help": parameter.help,
            }
        )
    table(rows)


@app.command()
def models(
    names: Annotated[list[str] | None, typer.Argument(help="Networks; by default the paper's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, every column.")] = False,
):
    """List networks: parameters, multiply-adds, resolutions, the paper's accuracy."""
    from nsfast.models import model_rows

    rows = model_rows(names or None)
    if as_json:
        import json

        print(json.dumps(rows, indent=1))
        return
    table([_network(row) for row in rows])
    print("Top-1 of the paper on ImageNet: supervised, then Noisy Student (teacher: EfficientNet-L2).")
    print("Any other classifier works too: names of timm, torchvision/NAME, and small with size=1, 2, ...")


def _network(row: dict) -> dict[str, str]:
    """A network's row as it is printed."""
    size = f" (size {row['size']})" if row["size"] else ""
    return {
        "network": f"{row['name']}{size}",
        "parameters": f"{row['parameters'] / 1e6:.2f} M",
        "multiply-adds": f"{row['multiply_adds'] / 1e9:.3g} G",
        "trained at": f"{row['train_pixels']} px",
        "tested at": f"{row['test_pixels']} px",
        "supervised": row["paper_top1_supervised"] or "",
        "noisy student": row["paper_top1"] or "",
    }


@app.command()
def recipe(
    name: Annotated[
        str | None, typer.Argument(help="imagenet-b0 .. imagenet-b7, imagenet-l2-1, svhn.")
    ] = None,
):
    """Print every number of a recipe of the paper, with where it comes from."""
    from nsfast.training.released import RECIPES, recipe_rows

    if name is None:
        for known in RECIPES:
            print(known)
        return
    table([{column: str(value) for column, value in row.items()} for row in recipe_rows(name)])


@app.command()
def plan(
    profile: Annotated[str, typer.Argument(help="A profile's name, or a YAML file.")],
    gpu: Annotated[
        str | None, typer.Option(help="A card with public figures; by default this machine is tried.")
    ] = None,
    count: Annotated[int | None, typer.Option(help="How many; num_processes by default.")] = None,
    price: Annotated[float | None, typer.Option(help="Of one device for an hour, in any money.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="stage.name=value; may be repeated.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--run", help="Run folder whose pictures are counted.")
    ] = None,
):
    """Say what a run costs before it starts: steps, pictures, memory, time, disk, and what to change to fit."""
    from nsfast.pipeline.cost.costs import costs
    from nsfast.pipeline.cost.table import advice, cost_rows
    from nsfast.pipeline.profile import resolve

    found = costs(resolve(profile, tuple(settings or ())), gpu, count, price, folder)
    table(cost_rows(found))
    for sentence in advice(found):
        print(f"- {sentence}")


@app.command()
def train(
    folder: Annotated[Path, typer.Argument(help="Run folder.")],
    stage: Annotated[str, typer.Argument(help="teacher, control, round-1/student, ...")],
):
    """Train one stage of a run up to its checkpoint, under torchrun, accelerate launch or srun (docs/scaling.md)."""
    from nsfast.pipeline.train_process import train_from_run

    train_from_run(folder, stage)


def main() -> None:
    """Run the command line; what the user can put right is one line on standard error and exit code 2."""
    warnings.filterwarnings(
        "ignore", "`torch.jit.script` is deprecated", FutureWarning
    )  # fastai's, at import
    try:
        code = app(standalone_mode=False)  # typer turns Ctrl-C into exit code 130 and returns it
        if code == 130:
            raise KeyboardInterrupt
        sys.exit(code or 0)
    except (NsfastError, OSError) as error:
        print(f"nsfast: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        print("nsfast: stopped; run the same command again to continue", file=sys.stderr)
        sys.exit(130)
    except typer.Exit as end:
        sys.exit(end.exit_code)
    except Exception as error:
        if hasattr(error, "format_message"):
            message = error.format_message()
            print(message if message.startswith("Usage") else f"nsfast: {message}", file=sys.stderr)
            sys.exit(2)
        raise


if __name__ == "__main__":
    main()
