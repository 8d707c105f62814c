"""`report.html`: one file that says what each step bought, readable offline; and the table that a run ends with."""

from __future__ import annotations

from html import escape
from pathlib import Path

from nsfast.errors import NsfastError
from nsfast.files import read_csv, write_text
from nsfast.images import load_images
from nsfast.pipeline.report_decisions import decisions_of_rounds
from nsfast.pipeline.report_html import document, section_html, table_html
from nsfast.pipeline.report_robustness import robustness_sections
from nsfast.pipeline.report_studies import found_studies, studies_html
from nsfast.pipeline.run_folder import read_run


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * value:+.1f}"


def result_rows(run: Path) -> list[dict[str, str]]:
    """Return the table that a run ends with: a row per model, as text.

    Raises:
        NsfastError: the analysis has not run.
    """
    tables = run / "analysis" / "tables"
    if not (tables / "models.csv").is_file() or not (run / "iterate" / "rounds.csv").is_file():
        name = read_run(run).name
        raise NsfastError(f"{run} has no results yet; run: nsfast run {name} --run {run}")
    try:
        return _rows(run, tables)
    except (KeyError, TypeError, ValueError) as error:
        name = read_run(run).name
        raise NsfastError(
            f"the tables of {run} do not fit each other ({error!r}); run: nsfast run {name} --run {run} "
            "--force iterate --force analysis"
        ) from None


def _rows(run: Path, tables: Path) -> list[dict[str, str]]:
    rounds = {row["model"]: row for row in read_csv(run / "iterate" / "rounds.csv")}
    rows = []
    for model in read_csv(tables / "models.csv"):
        about = rounds[model["model"]]
        row = {
            "model": str(model["model"]),
            "network": about["network"],
            "parameters": f"{about['parameters']:,}",
            "pseudo-labels used": f"{about['kept']:,}" if about["kept"] != "" else "",
            "their precision": f"{about['precision']:.1%}" if about["precision"] != "" else "",
            "validation": f"{about['validation_accuracy']:.1%}",
            "test accuracy": f"{model['accuracy']:.1%} [{model['low']:.1%}, {model['high']:.1%}]",
        }
        gain = ""
        if model["model"] != "control":
            ends = f"[{points(model['minus_control_low'])}, {points(model['minus_control_high'])}]"
            gain = f"{points(model['minus_control'])} {ends}"
        rows.append({**row, "points above control": gain})
    return rows


def headline(run: Path) -> str:
    """Return one sentence: what the last student gained over the control, and whether the interval excludes 0."""
    models = {row["model"]: row for row in read_csv(run / "analysis" / "tables" / "models.csv")}
    last, control = list(models)[-1], models["control"]
    row = models[last]
    low, high = row["minus_control_low"], row["minus_control_high"]
    sure = (
        "an interval that excludes 0"
        if low > 0 or high < 0
        else "an interval that includes 0, so it may be chance"
    )
    return (
        f"{last.capitalize()} is right on {row['accuracy']:.1%} of {row['n']} test pictures, the supervised control of "
        f"the same architecture and noise on {control['accuracy']:.1%}: {points(row['minus_control'])} points "
        f"(95 % {points(low)} to {points(high)}, {sure})."
    )


def decisions_html(run: Path, rounds: int, most: int = 50) -> str:
    """Return what people decided as HTML, at most so many pictures; empty where nobody decided anything."""
    counts, decisions = decisions_of_rounds(run, rounds)
    if not counts:
        return ""
    more = f"The first {most} of {len(decisions):,}; each" if len(decisions) > most else "Each"
    return (
        f"<h2>What people decided</h2>{table_html(counts)}{table_html(decisions[:most])}"
        f"<p class='note'>{more} round's are in its decisions.csv. Where people differ, the latest decision counts.</p>"
    )


def write_report(run: str | Path) -> Path:
    """Write `analysis/report.html` from the tables and figures of a run, and return its path.

    Raises:
        NsfastError: the analysis has not run.
    """
    import yaml

    run = Path(run)
    profile, folder = read_run(run), run / "analysis"
    rows = result_rows(run)
    images = load_images(run / "images")
    notes = [*images.notes, *(f"left out: {path} ({reason})" for path, reason in images.left_out[:20])]

    def section(title: str, figure: str) -> str:
        return section_html(title, folder / "figures" / f"{figure}.png")

    settings = escape(yaml.safe_dump(profile.to_dict(), sort_keys=False, default_flow_style=None, width=100))
    page = [
        f"<h1>Noisy Student on {escape(images.name)}</h1>",
        f"<p class='note'>{len(images.labeled)} labeled, {len(images.unlabeled)} unlabeled, {len(images.validation)} "
        f"validation and {len(images.test)} test pictures of {len(images.classes)} classes; seed {profile.seed}.</p>",
        f"<p class='answer'>{escape(headline(run))}</p>",
        table_html(rows),
        "<p class='note'>Intervals of 95 %: Wilson for accuracy, paired bootstrap over the same test pictures for the "
        "points above control. They say how far these test pictures can be trusted, not what another seed would give. "
        "Choices were made on validation; the test pictures were read once, here.</p>",
        section("What did each step buy?", "accuracy"),
        section("Are the pseudo-labels good, and do they get better?", "label_quality"),
        decisions_html(run, profile.rounds),
        section("Can the confidence be believed?", "reliability"),
        *robustness_sections(folder),
        studies_html(found_studies(run)),
        f"<h2>About the pictures</h2><ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>"
        if notes
        else "",
        f"<h2>Settings</h2><details><summary>every parameter of this run</summary><pre>{settings}</pre></details>",
        "<p class='note'>Method: Xie, Luong, Hovy, Le, Self-training with Noisy Student, arXiv 1911.04252.</p>",
    ]
    path = folder / "report.html"
    write_text(path, document(f"nsfast: {profile.name}", page))
    return path
