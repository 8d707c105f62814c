"""Commands that work on a run: run, status, report, plan, train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nsfast.cli import app, table


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
