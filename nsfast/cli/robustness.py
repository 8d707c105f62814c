"""The command robustness: how models fare on corrupted, perturbed, hard and attacked pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nsfast.cli import app, table


@app.command()
def robustness(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Folders of models, NAME=FOLDER, timm/NAME; or a run folder, for all of its models."
        ),
    ],
    pictures: Annotated[
        str,
        typer.Option(
            help="Folder of <class>/* that is corrupted and attacked; else the test pictures of the models' run."
        ),
    ] = "",
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="A released set: imagenet-a=FOLDER, cifar10-c=FOLDER, ...; may be repeated."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of tables, figures and answers; run again to go on.")
    ] = Path("robustness"),
    control: Annotated[
        str, typer.Option(help="Model that the others are compared with; control, else the first.")
    ] = "",
    teacher: Annotated[
        str, typer.Option(help="Model whose errors are the hard pictures; teacher, else the first.")
    ] = "",
    full: Annotated[bool, typer.Option("--full", help="Everything that can be made here.")] = False,
    change: Annotated[
        list[str] | None,
        typer.Option("--with", help="name=value of nsfast params analysis; may be repeated."),
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps the corrupted pictures.")] = None,
):
    """Measure robustness as the field does: ImageNet-C, P and A alike, FGSM and PGD, with intervals."""
    from nsfast.pipeline.report_robustness import headline_text
    from nsfast.pipeline.robustness import measure_robustness, read_changes

    changes = read_changes(change or []) | ({"full": True} if full else {})
    measured, page = measure_robustness(models, out, pictures, sets or [], control, teacher, changes, cache)
    headline = measured.table("headline")
    table(headline_text(headline))
    for note in dict.fromkeys(
        row[of] for row in headline for of in ("corruption_note", "flip_note") if row[of]
    ):
        print(f"mind: {note}")
    for row in measured.table("warnings"):
        print(f"mind: {row['warning']}")
    failed = [check for check in measured.checks if not check.passed]
    for check in failed:
        print(f"check failed: {check.model}, {check.name}: {check.says}")
    print(f"report: {page}")
