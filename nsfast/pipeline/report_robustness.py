"""Robustness in the report: one table of everything beside the control, the figures, and what to mind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from nsfast.analysis.paper import PAPER_SENTENCE, STUDENT, SUPERVISED, paper_column
from nsfast.files import read_csv, write_text
from nsfast.pipeline.report_html import document, section_html, table_html


@dataclass(frozen=True)
class Measure:
    """How a column of the headline is shown.

    Args:
        title: what it is; words in braces are columns of the headline.
        unit: "share" is shown in percent and its difference in points, "ratio" times 100, "plain" as it is.
        note: column of the headline that says what the number leaves out.
    """

    title: str
    unit: str = "share"
    note: str = ""

    def text(self, value: float) -> str:
        """Return a value as it is shown."""
        return {"share": f"{value:.1%}", "ratio": f"{100 * value:.0f}"}.get(self.unit, f"{value:.3f}")

    def difference(self, value: float) -> str:
        """Return a difference as it is shown, with its sign."""
        scaled = {"share": f"{100 * value:+.1f}", "ratio": f"{100 * value:+.0f}"}
        return scaled.get(self.unit, f"{value:+.3f}")


MEASURES = {
    "accuracy": Measure("accuracy, clean"),
    "natural_accuracy": Measure("accuracy, {natural_set}"),
    "corruption_error": Measure("error, {corruption_set}", note="corruption_note"),
    "mce": Measure("mCE, {corruption_baseline} = 100", "ratio", "corruption_note"),
    "mfr": Measure("mFR, {flip_baseline} = 100", "ratio", "flip_note"),
    "fgsm_accuracy": Measure("accuracy, FGSM {epsilon}/255{norm}"),
    "pgd_accuracy": Measure("accuracy, PGD {epsilon}/255{norm}"),
    "autoattack_accuracy": Measure("accuracy, AutoAttack {epsilon}/255{norm}"),
    "nll": Measure("NLL, clean", "plain"),
    "ece": Measure("ECE, clean", "plain"),
}
"""What the headline shows, in its order."""

SETS = {
    "hard": "hard pictures",
    "corrupted": "C-style",
    "imagenet-a": "ImageNet-A",
    "imagenet-c": "ImageNet-C",
}
"""Sets as the headline calls them."""


def headline_text(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the headline as text, a row a model: values, and in brackets the difference to the control."""
    return [
        {"model": str(row["model"])}
        | {
            title: _value(row, name) + (f" ({change})" if (change := _difference(row, name)) else "")
            for name, title in titles(rows).items()
        }
        for row in rows
    ]


def titles(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the titles of the measures that any model has, by name."""
    if not rows:
        return {}
    columns = ("natural_set", "corruption_set", "corruption_baseline", "flip_baseline")
    about = {name: SETS.get(str(rows[0][name]), str(rows[0][name])) for name in columns}
    about["norm"] = " (L2)" if rows[0]["norm"] == "l2" else ""
    about["epsilon"] = f"{rows[0]['epsilon']:g}" if rows[0]["epsilon"] != "" else ""
    return {
        name: measure.title.format(**about)
        for name, measure in MEASURES.items()
        if any(row[name] != "" for row in rows)
    }


def _value(row: Mapping[str, Any], name: str) -> str:
    return "" if row[name] == "" else MEASURES[name].text(row[name])


def _interval(row: Mapping[str, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if low == "" or low == high:  # a ratio of the baseline to itself has none
        return ""
    return f"[{MEASURES[name].text(low)}, {MEASURES[name].text(high)}]"


def _difference(row: Mapping[str, Any], name: str, interval: bool = False) -> str:
    """The difference to the control, "" for the control itself."""
    value, low, high = (row[f"{name}_minus_control{end}"] for end in ("", "_low", "_high"))
    if value == "" or (value == low == high == 0):
        return ""
    show = MEASURES[name].difference
    return f"{show(value)} [{show(low)}, {show(high)}]" if interval and low != "" else show(value)


def headline_html(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the headline as an HTML table: a row a measure, a column a model, the paper's figures apart."""
    papers = {model: paper_column(model) for model in (SUPERVISED, STUDENT)}
    head = ["", *(f"{row['model']}" for row in rows), *(f"paper: {model}" for model in papers)]
    lines = ["".join(f"<th>{escape(text)}</th>" for text in head)]
    for name, title in titles(rows).items():
        n = max((row[f"{name}_n"] for row in rows if row[f"{name}_n"] != ""), default="")
        said = [f"n = {n}", *(part for part in [str(rows[0].get(MEASURES[name].note, ""))] if part)]
        cells = [f"<td>{escape(title)}<br><small>{escape('; '.join(said))}</small></td>"]
        for row in rows:
            below = [part for part in (_interval(row, name), _difference(row, name, True)) if part]
            cells.append(f"<td>{_value(row, name)}<br><small>{'<br>'.join(below)}</small></td>")
        cells += [f"<td class='paper'>{escape(column.get(name, ''))}</td>" for column in papers.values()]
        lines.append("".join(cells))
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table class="robust">{body}</table></div>'


def headline_table(run: str | Path):
    """Return the headline as a notebook shows it."""
    from IPython.display import HTML

    return HTML(headline_html(read_csv(Path(run) / "analysis" / "tables" / "headline.csv")))


def robustness_sections(folder: Path) -> list[str]:
    """Return the sections of a report about robustness as HTML, of those tables and figures that there are.

    Args:
        folder: holds tables/ and figures/.
    """

    def rows(name: str) -> list[dict]:
        path = folder / "tables" / f"{name}.csv"
        return read_csv(path) if path.is_file() else []

    def section(title: str, figure: str, text: str = "", after: str = "") -> str:
        return section_html(title, folder / "figures" / f"{figure}.png", text, after)

    headline, checks = rows("headline"), rows("checks")
    if not headline:
        return []
    minded = "".join(f"<li>{escape(str(row['warning']))}</li>" for row in rows("warnings"))
    return [
        "<h2>Robustness: everything beside the control</h2>",
        headline_html(headline),
        "<p class='note'>Value, 95 % interval and, below, the paired difference to the control with its interval, "
        "over the same pictures. Errors, mCE, mFR, NLL and ECE are better when low. mCE and mFR are relative to the "
        f"model named; of pictures made here they are no published scores. {escape(PAPER_SENTENCE)}</p>",
        f"<p><b>Mind</b></p><ul>{minded}</ul>" if minded else "",
        section(
            "What is done to the pictures?",
            "corrupted",
            "",
            _folded("how this differs from the released sets", rows("deviations")),
        ),
        section("Is the student more robust?", "corruptions"),
        section("Where does it gain, where does it lose?", "corruption_scores"),
        section(
            "Is it more robust, or just better?",
            "line",
            "The line has slope 1 in log-odds, an assumption. Corruptions under which every model guesses lift the "
            "best models above it: see what to mind.",
        ),
        section("Does the answer stay?", "flips"),
        section("And on hard pictures?", "natural"),
        section("Does it resist attack?", "attacks", "", _checks_html(checks)),
        section("Does it know when it is wrong?", "calibration"),
    ]


def _checks_html(checks: Sequence[Mapping[str, Any]]) -> str:
    """What the checks of the attacks say, those that failed first and open."""
    if not checks:
        return ""
    shown = [
        {"model": c["model"], "check": c["name"], "": "passed" if _passed(c) else "FAILED", "says": c["says"]}
        for c in sorted(checks, key=_passed)
    ]
    failed = [row for row in shown if row[""] == "FAILED"]
    opened = table_html(failed) if failed else ""
    summary = f"{len(shown) - len(failed)} of {len(shown)} checks of the attacks passed"
    return opened + _folded(summary, shown)


def _folded(summary: str, rows: Sequence[dict]) -> str:
    """A table that opens with a click; empty without rows."""
    return f"<details><summary>{escape(summary)}</summary>{table_html(rows)}</details>" if rows else ""


def _passed(check: Mapping[str, Any]) -> bool:
    return str(check["passed"]) == "True"


def write_page(folder: Path) -> Path:
    """Write `robustness.html` from the tables and figures of a folder, and return its path."""
    path = folder / "robustness.html"
    page = ["<h1>Robustness</h1>", *robustness_sections(folder)]
    write_text(path, document("nsfast: robustness", page))
    return path
