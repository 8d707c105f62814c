"""The figure of a study: each claim with its effect, interval and verdict, the paper's effect marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nsfast.analysis.figures.page import FAINT, INK, new_figure, plain, tidy
from nsfast.pipeline.report_studies import signed

STYLES = {
    "reproduced": {"color": "#0072B2", "marker": "o"},
    "better": {"color": "#56B4E9", "marker": "^"},
    "undecided": {"color": "#7F7F7F", "marker": "D"},
    "contradicted": {"color": "#D55E00", "marker": "X"},
    "worse": {"color": "#E69F00", "marker": "v"},
}
"""Colour (Okabe and Ito) and marker of each verdict."""
PAPER = {"color": INK, "marker": "|", "markersize": 15, "markeredgewidth": 2.4, "linestyle": ""}


def study_figure(rows: Sequence[Mapping[str, Any]], question: str) -> Figure:
    """Return effect and interval of each comparison, right of zero where the paper finds it.

    Args:
        rows: as `comparison_rows` gives them; those that were not measured are left out.
        question: the headline.
    """
    shown = [row for row in rows if row["verdict"] in STYLES]
    units = [unit for unit in ("points", "log-odds") if any(row["unit"] == unit for row in shown)]
    counts = {word: sum(row["verdict"] == word for row in shown) for word in STYLES}
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    seeds = sorted({int(row["seeds"]) for row in shown})
    over = (
        f"{seeds[0]} seeds" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds" if seeds else "no seed"
    )
    data = rows[0]["data"] if rows else ""
    answer = f"Of {len(shown)} claims {said or 'none was measured'} ({data}, {over}). Bars: 95 % intervals."
    heights = [sum(row["unit"] == unit for row in shown) for unit in units] or [1]
    figure = new_figure(0.5 + 0.52 * sum(heights) + 0.75 * len(heights), question, answer)
    grid = figure.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, unit in zip(grid, units, strict=False):
        _draw(axes, [row for row in shown if row["unit"] == unit])
        what = "difference in points (of 100)" if unit == "points" else "difference in log-odds"
        tidy(axes, f"{what}: right of zero as the paper says", grid="x")
    marks = [
        Line2D([], [], linestyle="-", label=word, **style) for word, style in STYLES.items() if counts[word]
    ]
    if any(row["paper"] != "" for row in shown):
        marks.append(Line2D([], [], label="the paper's effect (ImageNet)", **PAPER))
    figure.legend(handles=marks, loc="outside lower center", ncols=4, frameon=False, fontsize=10)
    return figure


def _draw(axes, rows: Sequence[Mapping[str, Any]]) -> None:
    axes.axvline(0, color=FAINT, linewidth=1.2)
    for place, row in enumerate(rows):
        style = STYLES[row["verdict"]]
        axes.plot([row["low"], row["high"]], [place, place], color=style["color"], linewidth=2.2)
        axes.plot([row["difference"]], [place], linestyle="", markersize=9, **style)
        if row["paper"] != "":
            axes.plot([row["paper"]], [place], **PAPER)
        digits = 1 if row["unit"] == "points" else 2
        text = signed(row["difference"], digits)
        axes.annotate(
            text,
            (row["difference"], place),
            (0, 8),
            textcoords="offset points",
            ha="center",
            size=8.5,
            color=INK,
        )
    axes.set_yticks(range(len(rows)), [plain(row["comparison"], 58) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.6)
    low, high = axes.get_xlim()
    margin = 0.06 * (high - low)
    axes.set_xlim(low - margin, high + margin)
    axes.tick_params(axis="y", length=0)
