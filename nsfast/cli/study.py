"""The command study: the paper's questions asked again over many seeds, with intervals and verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nsfast.cli import app, table
from nsfast.errors import NsfastError

SEEDS_QUICK, SEEDS_FULL = 5, 10


@app.command()
def study(
    name: Annotated[str, typer.Argument(help="rq1 to rq5, findings or longer; see --list.")] = "",
    data: Annotated[str, typer.Option("--set", help="Image set: digits or letters.")] = "digits",
    seeds: Annotated[
        int | None, typer.Option(min=2, help="Seeds 0, 1, ...; 5 of the quick form, 10 of the full one.")
    ] = None,
    full: Annotated[
        bool,
        typer.Option("--full/--quick", help="More arms, rounds and seeds; the quick form takes minutes."),
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Arms at once; as many as cores by default, one on a GPU.")
    ] = None,
    folder: Annotated[
        Path, typer.Option("--run", help="Folder of all studies, which share what is equal.")
    ] = Path("studies"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run and how long it takes.")
    ] = False,
    list_them: Annotated[
        bool, typer.Option("--list", help="List the studies and the rule of verdicts.")
    ] = False,
):
    """Ask a question of the paper again: same stages, many seeds, intervals, a verdict by a rule fixed before."""
    from nsfast.study.questions import STUDIES, study_of
    from nsfast.study.verdict import RULE

    if list_them or not name:
        table([{"study": one, "question": study_of(one).question} for one in STUDIES])
        print(f"\n{RULE}\n\nnsfast study rq1 --quick --dry-run says what would run.")
        return
    from nsfast.pipeline.report_studies import claim_row
    from nsfast.pipeline.run_folder import lock
    from nsfast.study.estimate import estimate, summary
    from nsfast.study.execute import arms_at_once, run_units, seconds_of, units_of
    from nsfast.study.results import about_study, comparison_rows, point_rows, write_results

    asked = study_of(name, data, full)
    chosen = list(range(seeds or (SEEDS_FULL if full else SEEDS_QUICK)))
    at_once = jobs or arms_at_once()
    target = (folder / f"{name}-{data}{'-full' if full else ''}").resolve()
    units = units_of(asked, target, chosen)
    print(f"{asked.question}\n{RULE}")
    print(summary(asked, units))
    if dry_run:
        print(estimate(asked, units, at_once))
        table([{"arm": arm.name, "what": arm.says, "settings": " ".join(arm.settings)} for arm in asked.arms])
        return
    target.mkdir(parents=True, exist_ok=True)
    busy = (
        f"another nsfast study is working in {target}; wait for it to end, or give another folder with --run"
    )
    held = lock(target / ".lock", 3, busy)
    try:
        scores, errors = run_units(asked, units, target, at_once)
    finally:
        held.release(force=True)
    if not scores:
        raise NsfastError(f"every arm failed; the first: {next(iter(errors.values()))}")
    rows = comparison_rows(asked, scores, errors)
    command = f"nsfast study {name} --set {data} --seeds {len(chosen)}{' --full' if full else ' --quick'}"
    about = about_study(asked, chosen, seconds_of(units), command)
    write_results(target, point_rows(asked, scores), rows, about)
    table([claim_row(row) for row in rows])
    for (seed, arm), why in sorted(errors.items()):
        print(f"failed: seed {seed}, {arm}: {why}")
    print(f"tables and figure: {target}")
    if errors:
        raise NsfastError(f"{len(errors)} of {len(units)} arms failed; the same command tries them again")
