"""Studies in the report: what the paper's questions come to over seeds, from the tables that `nsfast study` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from nsfast.files import read_csv, read_json
from nsfast.pipeline.report_html import figure_html, table_html

ABOUT, COMPARISONS, FIGURE = "study.json", "comparisons.csv", "figure.png"
"""Files of a study that are read here."""
OF_LABELS = ("precision", "label_accuracy")
"""Measures of the labels that a round's student learns from, by the truth, which measures and nothing else; their n are
pseudo-labels, and no test pictures."""


def found_studies(run: str | Path) -> list[Path]:
    """Return the folders of the studies beside a run: in `studies` next to it, or next to the folder it lies in."""
    run = Path(run).resolve()
    return next(filter(None, map(_studies_in, (run.parent / "studies", run.parent.parent / "studies"))), [])


def shipped_studies() -> list[Path]:
    """Return the folders of the studies that come with nsfast."""
    return _studies_in(_shipped())


def _studies_in(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"*/{ABOUT}") if (path.parent / COMPARISONS).is_file())


def _shipped() -> Path:
    """In the installed package, or in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "findings"
    return inside if inside.is_dir() else package.parent / "benchmarks" / "findings"


def studies_html(folders: Sequence[Path]) -> str:
    """Return figures and tables of studies as HTML, empty where there are none; of those of nsfast the tables alone."""
    if not folders:
        return ""
    about = [read_json(folder / ABOUT) for folder in folders]
    of_nsfast = folders[0].parent == _shipped()
    whose = (
        "run beside this one"
        if not of_nsfast
        else "that come with nsfast (figures: docs/findings.md); nsfast study NAME runs your own"
    )
    parts = [
        f"<h2>The paper's questions, asked again</h2><p class='note'>Studies {whose}. {escape(about[0]['rule'])}</p>"
    ]
    for folder, what in zip(folders, about, strict=True):
        rows = read_csv(folder / COMPARISONS)
        parts += [
            f"<h3>{escape(title(what))}</h3>",
            "" if of_nsfast else figure_html(folder / FIGURE),
            table_html([claim_row(row) for row in rows]),
            f"<p class='note'>{escape(made_how(what, rows))}</p>",
        ]
    return "".join(parts)


def title(about: Mapping[str, Any]) -> str:
    """Return the heading of a study: its name, image set and question."""
    return f"{about['study']}, {about['data']}: {about['question']}"


def claim_row(row: Mapping[str, Any]) -> dict[str, str]:
    """Return a comparison as people read it: claim, difference with its interval, the paper's, and the verdict."""
    digits = 1 if row["unit"] == "points" else 2
    if row["difference"] == "":
        return {
            "claim": row["comparison"],
            "difference": "",
            "paper": "",
            "verdict": f"not measured: {row['note']}",
        }
    verdict, adjusted = str(row["verdict"]), float(row["p_holm"])
    how = f"p = {adjusted:.3f}" if adjusted >= 0.001 else "p < 0.001"
    if verdict == "undecided":
        how += f"; would have seen {row['smallest']:.{digits}f}"
    low, high = (f"{row[end]:+.{digits}f}" for end in ("low", "high"))
    return {
        "claim": str(row["comparison"]),
        "difference": f"{signed(row['difference'], digits)} [{low}, {high}]",
        "paper": "" if row["paper"] == "" else f"{row['paper']:+.1f}",
        "verdict": f"{verdict} ({how})",
    }


def signed(value: float, digits: int = 1) -> str:
    """Return a number with its sign, a rounded zero as +0."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def made_how(about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return set, n, seeds, hours, machine and command of a study, in a sentence."""
    n = max((int(row["n"]) for row in rows if row["n"] != "" and row["measure"] not in OF_LABELS), default=0)
    return (
        f"{about['data']}; {len(about['seeds'])} seeds, up to {n:,} test pictures of all seeds together; "
        f"{about['hours_of_stages']} hours of stages on {about['machine']}; {about['command']}"
    )
