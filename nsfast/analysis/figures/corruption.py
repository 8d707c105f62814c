"""Figures of corrupted pictures: how errors grow with severity, and which corruption costs which model how much."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nsfast.analysis.figures.marks import (
    Rows,
    column,
    distinct,
    dot_height,
    dot_panels,
    draw_curve,
    listed,
    model_legend,
    number,
    require,
    show_percent,
    spoken,
)
from nsfast.analysis.figures.page import FAINT, model_styles, new_figure, tidy
from nsfast.robustness.names import FAMILIES

COLUMNS = 4
"""Panels in a row: as many as the largest family of ImageNet-C has corruptions."""


def severity_curves(rows: Rows, chance: float | None = None) -> Figure:
    """Return the error of each model against severity, a panel for each corruption, by family.

    Args:
        rows: of one set, one per model, corruption and severity (0 for clean pictures) with `model`, `corruption`,
            `severity`, `error` and its interval `low`, `high` (0 to 1, or not known), as
            `analysis.robustness.error_rows` gives them.
        chance: the error of a guess, drawn as a line; 0.9 of ten classes.
    """
    require(rows, "model, corruption and severity")
    styles = model_styles(distinct(rows, "model"))
    panels, kinds = _in_families(distinct(rows, "corruption"))
    corrupted = [row for row in rows if number(row["severity"]) > 0]
    mean = {name: _mean([r for r in corrupted if r["model"] == name]) for name in styles}
    severities = sorted({number(row["severity"]) for row in corrupted})
    spell = ", ".join(f"{severity:g}" for severity in severities)
    figure = new_figure(
        0.75 + 1.5 * len(panels),
        "How do errors grow as pictures get worse?",
        f"Mean {error_of(rows)} over what is shown at severity {spell}: {listed(mean)}. Bands are 95 % intervals.",
    )
    width = max(map(len, panels))
    grid = figure.subplots(len(panels), width, sharex=True, sharey=True, squeeze=False)
    for (row, at), axes in np.ndenumerate(grid):
        if at >= len(panels[row]):
            axes.set_axis_off()
            continue
        name, lowest = panels[row][at], row + 1 == len(panels) or at >= len(panels[row + 1])
        _draw_panel(axes, [r for r in rows if r["corruption"] == name], styles, chance)
        side = f"{kinds[row]}\nerror" if kinds else "error"
        tidy(axes, "severity" if lowest else "", "" if at else side, spoken(name, 19))
        axes.tick_params(labelbottom=lowest)
    corner = grid[0, 0]
    corner.set_xticks(sorted({number(row["severity"]) for row in rows}))
    corner.set_ylim(0, _top(rows, chance))
    show_percent(corner, ticks=4)
    line = Line2D([], [], color=FAINT, linestyle=(0, (4, 3)), linewidth=1, label="a guess")
    model_legend(figure, styles, [line] if chance is not None else [])
    return figure


def corruption_bars(rows: Rows) -> Figure:
    """Return the mean error of each model under each corruption with its interval, by family, and over all of them.

    Args:
        rows: of one set, one per model and corruption with `model`, `corruption`, `mean_error` and its interval `low`,
            `high` (0 to 1, or not known); the corruption "mean" is the mean over those of ImageNet-C's 15, as
            `analysis.robustness.corruption_score_rows` gives them.
    """
    require(rows, "model and corruption")
    styles = model_styles(distinct(rows, "model"))
    names = [name for name in distinct(rows, "corruption") if name != "mean"]
    panels = [
        (family.capitalize(), [row for name in members for row in rows if row["corruption"] == name])
        for family, members in by_family(names).items()
    ]
    if mean := [row for row in rows if row["corruption"] == "mean"]:
        panels.append(("All but extra" if "Extra" in dict(panels) else "All", mean))
    height = dot_height(panels, "corruption", len(styles))
    figure = new_figure(height, "Which corruptions cost which model how much?", _answer(rows, mean))
    dot_panels(
        figure, panels, ("corruption", "mean_error"), styles, f"{error_of(rows)}, mean over severities"
    )
    model_legend(figure, styles, linestyle="")
    return figure


def error_of(rows: Rows) -> str:
    """Return what the errors of a set are called: pictures that were made here have a C-style error."""
    name = rows[0].get("set", "corrupted")
    return "C-style error" if name == "corrupted" else f"error on {name}"


def by_family(names: list[str]) -> dict[str, list[str]]:
    """Return corruptions by their family, in ImageNet-C's order; what it does not know is the family "other"."""
    found = {family: [name for name in known if name in names] for family, known in FAMILIES.items()}
    known = {name for members in FAMILIES.values() for name in members}
    found["other"] = [name for name in names if name not in known]
    return {family: members for family, members in found.items() if members}


def _in_families(names: list[str]) -> tuple[list[list[str]], list[str]]:
    """Return the names in rows of panels: a family each, and its name; or, where that takes more rows, just filled."""
    families = by_family(names)
    flat = [name for members in families.values() for name in members]
    filled = [flat[at : at + COLUMNS] for at in range(0, len(flat), COLUMNS)]
    if len(families) <= len(filled) and max(map(len, families.values())) <= COLUMNS:
        return list(families.values()), list(families)
    return filled, []


def _draw_panel(axes: Axes, rows: Rows, styles: dict, chance: float | None) -> None:
    if chance is not None:
        axes.axhline(chance, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for name, style in styles.items():
        draw_curve(axes, [row for row in rows if row["model"] == name], "severity", "error", style)


def _mean(rows: Rows) -> float:
    """Return the mean error in which every corruption counts the same, whatever severities it has."""
    names = distinct(rows, "corruption")
    means = [np.nanmean(column([r for r in rows if r["corruption"] == name], "error")) for name in names]
    return float(np.mean(means)) if means else np.nan


def _top(rows: Rows, chance: float | None) -> float:
    highest = np.nanmax([*column(rows, "error"), *column(rows, "high"), chance or 0])
    return min(1.02, 1.05 * highest) if highest > 0 else 1


def _answer(rows: Rows, mean: Rows) -> str:
    if not mean:
        return "Dots are means over severities, bars 95 % intervals."
    shares = {row["model"]: number(row["mean_error"]) for row in mean}
    return f"Mean over the corruptions: {listed(shares)}. Bars are 95 % intervals."
