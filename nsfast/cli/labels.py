"""Commands that make label tables and balance them, of a run or of any model and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nsfast.cli import app, table
from nsfast.errors import NsfastError


@app.command()
def label(
    model: Annotated[Path, typer.Argument(help="Folder of a model file: runs/digits/teacher, ...")],
    images: Annotated[
        Path, typer.Argument(help="Folder of pictures and .tar shards, a .tar, or a .npy of uint8.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the label table; run again to go on.")],
    also: Annotated[
        list[Path] | None, typer.Option("--also", help="Another model to average with; may be repeated.")
    ] = None,
    top: Annotated[
        int,
        typer.Option(
            help="Likeliest classes kept; 0 for all, -1 for all of up to 100 classes and 10 of more."
        ),
    ] = -1,
    flip: Annotated[bool, typer.Option("--flip", help="Average over pictures and mirror images.")] = False,
    held_out: Annotated[
        list[Path] | None,
        typer.Option(
            "--held-out", help="Pictures that are tested on: those found again are dropped; may be repeated."
        ),
    ] = None,
    near: Annotated[
        int,
        typer.Option(
            min=-1,
            max=8,
            help="Held-out pictures need not be equal: up to so many of 64 bits of their looks differ.",
        ),
    ] = -1,
    batch_size: Annotated[int, typer.Option(min=0, help="Pictures in a forward pass; 0 for what fits.")] = 0,
    shard_size: Annotated[int, typer.Option(min=1, help="Pictures in a file.")] = 65536,
    workers: Annotated[int, typer.Option(min=1, help="Threads that decode.")] = 2,
    compile: Annotated[bool, typer.Option("--compile", help="Compile the networks.")] = False,
    precision: Annotated[str, typer.Option(help="float32, bfloat16, or auto: bfloat16 on a GPU.")] = "auto",
    processes: Annotated[
        int, typer.Option(min=1, help="Processes of this machine, or of Ray's cluster.")
    ] = 1,
    engine: Annotated[str, typer.Option(help="local or ray.")] = "local",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a process.")] = 1,
    round: Annotated[int, typer.Option(min=1, help="Which round these labels are of.")] = 1,
):
    """Label pictures with a model. Several of these may work on one OUT, on any machines; any may be killed."""
    from nsfast.pipeline.after_labeling import find_leaks, say_quarantined
    from nsfast.pipeline.labeling import LabelingJob, run_labeling

    job = LabelingJob(
        models=tuple(str(folder) for folder in (model, *(also or ()))),
        folder=str(out),
        source=str(images),
        round=round,
        top=top,
        flip=flip,
        batch=batch_size,
        shard=shard_size,
        workers=workers,
        compile=compile,
        precision=precision,
        held_out=tuple(map(str, held_out or ())),
        threads=threads,
    )
    if near >= 0 and not held_out:
        raise NsfastError(f"--near is {near}, but nothing is held out; give --held-out, or leave --near out")
    job.check()
    pictures, known = job.held_out_pictures(), (out / "manifest.json").is_file()
    labels = run_labeling(job, processes, engine)
    said = "was finished already: " if known else ""
    print(f"{said}{len(labels):,} labels of {labels.manifest['pictures']:,} pictures: {out}")
    say_quarantined(labels)
    leaks = find_leaks(labels, pictures, near)
    if leaks:
        print(f"{leaks:,} of them are held out, too; nsfast balance leaves them out: {out / 'leaked.csv'}")
    elif held_out:
        print("none of them is held out")


@app.command()
def label_round(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    number: Annotated[int, typer.Argument(min=1, help="Which round.")],
    processes: Annotated[int, typer.Option(min=1, help="Processes of this machine.")] = 1,
):
    """Label a run's round with its parameters, on any machines at once; nsfast run then goes on from there."""
    from nsfast.pipeline.labeling import run_labeling
    from nsfast.pipeline.round_labels import job_of_run

    labels = run_labeling(job_of_run(run, number), processes)
    print(f"{len(labels):,} labels of {labels.manifest['pictures']:,} pictures: {labels.folder}")


@app.command()
def balance(
    labels: Annotated[Path, typer.Argument(help="Folder of a label table.")],
    out: Annotated[
        Path, typer.Argument(help="Folder for selection.parquet, selection.labels.npy, balance.csv.")
    ],
    threshold: Annotated[float, typer.Option(help="Smallest confidence that is kept, 0..1.")] = 0.3,
    per_class: Annotated[
        str, typer.Option(help="Pictures of each class, copies counted: a number, paper, largest or auto.")
    ] = "paper",
    method: Annotated[
        str, typer.Option(help="top (the paper), official (the released code) or none.")
    ] = "top",
    seed: Annotated[int, typer.Option(min=0, help="Of copies and ties.")] = 0,
    class_threshold: Annotated[
        list[str] | None, typer.Option("--class-threshold", help="CLASS=THRESHOLD; may be repeated.")
    ] = None,
    floor: Annotated[int, typer.Option(help="A class keeps so many, whatever the threshold.")] = 0,
    max_copies: Annotated[
        int, typer.Option(help="How often a picture is seen at most, itself included; 0 for no limit.")
    ] = 0,
    empty: Annotated[str, typer.Option(help="A class without a picture: warn or error.")] = "warn",
    temperature: Annotated[
        float,
        typer.Option(help="Of the confidence: 1 as stored, above 1 less sure; fit_temperature finds it."),
    ] = 1.0,
    decisions: Annotated[
        Path | None,
        typer.Option(help="The explorer's decisions, a .jsonl; those of later rounds are not heeded."),
    ] = None,
    duplicates: Annotated[
        bool, typer.Option(help="Whether pictures that are equal to another of the pool stay.")
    ] = True,
):
    """Filter and balance a label table."""
    from nsfast.labels import Balancing, read_labels
    from nsfast.pipeline.balancing import balance_table, decisions_of

    found = read_labels(labels)
    how = Balancing(
        threshold=threshold,
        per_class=int(per_class) if per_class.lstrip("-").isdecimal() else per_class,
        method=method,
        seed=seed,
        thresholds=_thresholds(class_threshold or ()),
        floor=floor,
        max_copies=max_copies,
        empty=empty,
        temperature=temperature,
    )
    balanced = balance_table(found, out, how, decisions_of(found, decisions, duplicates))
    table([{name: str(value) for name, value in row.items()} for row in balanced.rows[:20]])
    if len(balanced.rows) > 20:
        print(f"... {len(balanced.rows):,} classes in all: {out / 'balance.csv'}")
    kept, seen = (sum(row[name] for row in balanced.rows) for name in ("kept", "seen"))
    print(f"{kept:,} pictures, {seen:,} with copies: {out / 'selection.parquet'}")


@app.command()
def decisions(
    files: Annotated[
        list[Path], typer.Argument(help="The explorer's decisions, of one person or more: .jsonl.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Write all of them to one .jsonl, in order of time.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write a row for each picture that is decided.")] = None,
):
    """Show what people decided on pseudo-labels, and where they differ; merge their files."""
    from nsfast.files import write_csv
    from nsfast.labels.decisions import COLUMNS, merge_decisions

    found = merge_decisions(files, out)
    if found.warning:
        print(f"warning: {found.warning}")
    counts = {name: f"{len(getattr(found, name)):,}" for name in ("accepted", "rejected", "relabeled")}
    table([{"decided": f"{len(found):,}", **counts, "people differ on": f"{len(found.conflicts):,}"}])
    if found.conflicts:
        print("where people differ, the latest decision counts:")
        for name in list(found.conflicts)[:20]:
            print(f"  {found.disagreement(name)}")
    if len(found.conflicts) > 20:
        print(f"  ... {len(found.conflicts):,} in all" + ("" if csv else "; --csv writes them"))
    if csv:
        write_csv(csv, found.rows(), COLUMNS)
    for path in filter(None, (out, csv)):
        print(f"written: {path}")


def _thresholds(given: list[str] | tuple) -> dict[str, float]:
    found = {}
    for text in given:
        name, equals, value = text.rpartition("=")
        if name in found:
            raise NsfastError(f"--class-threshold gives {name!r} twice; give it once")
        try:
            found[name] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise NsfastError(f"cannot read --class-threshold {text!r}; write --class-threshold CLASS=0.5")
    return found
