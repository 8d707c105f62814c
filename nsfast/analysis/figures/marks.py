"""What figures of robustness share: to read plain rows, a curve with its band, dots with their intervals, a legend."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nsfast.analysis.figures.page import legend_name, percent, plain, shortened, tidy
from nsfast.errors import NsfastError

LONGEST = 24
"""Characters of a model's or a set's name; longer ones are cut."""
PITCH = 0.085
"""Inches between the dots of two models in one line of a dot plot."""

Rows = Sequence[Mapping]
Panels = Sequence[tuple[str, Rows]]
"""The title and the rows of each panel."""


def distinct(rows: Rows, name: str) -> list:
    """Return the values of a column without repetition, in the order of the rows."""
    return list(dict.fromkeys(row[name] for row in rows))


def number(value: object) -> float:
    """Return a cell as a number; what is not known ("", None, left out) is nan."""
    return math.nan if value is None or value == "" else float(value)


def column(rows: Rows, name: str) -> np.ndarray:
    """Return a column as float64 (n,), nan where it is not known."""
    return np.array([number(row.get(name)) for row in rows], dtype=float)


def require(rows: Rows, what: str) -> None:
    """Raise unless there is something to show: `what` says which rows to give."""
    if not rows:
        raise NsfastError(f"no measurement to show; give one row per {what}")


def spoken(name: object, longest: int = LONGEST) -> str:
    """Return a name of the data in words, not yet `plain`: "gaussian noise" for "gaussian_noise"."""
    return shortened(str(name).replace("_", " "), longest)


def listed(shares: Mapping[str, float]) -> str:
    """Return each model with its share, in their order; of more than six the lowest and the highest alone."""
    words = {}
    if len(shares) > 6:
        known = {name: share for name, share in shares.items() if share == share} or shares
        low, high = min(known, key=known.get), max(known, key=known.get)
        shares, words = {low: shares[low], high: shares[high]}, {low: "lowest ", high: "highest "}
    each = [
        f"{words.get(name, '')}{shortened(name, LONGEST)} {percent(share)}" for name, share in shares.items()
    ]
    return "; ".join(one.replace(" ", "\u00a0") for one in each)


def draw_curve(axes: Axes, rows: Rows, x: str, y: str, style: Mapping, band: bool = True) -> None:
    """Draw one model's curve, sorted by x, and its interval `low`, `high` as a band where that is known."""
    rows = sorted(rows, key=lambda row: number(row[x]))
    at = column(rows, x)
    if band:
        ends = column(rows, "low"), column(rows, "high")
        axes.fill_between(at, *ends, color=style["color"], alpha=0.13, linewidth=0)
    axes.plot(at, column(rows, y), linewidth=1.7, markersize=4.5, **style)


def draw_dots(
    axes: Axes, rows: Rows, category: str, value: str, categories: Sequence, styles: Mapping[str, Mapping]
) -> None:
    """Draw a line for each category, from top to bottom, and on it a dot for each model with its interval.

    Args:
        axes: where; its y axis counts the categories.
        rows: one per model and category with `model`, the columns `category` and `value`, `low` and `high`.
        category, value: names of columns.
        categories: those shown, in order.
        styles: of the models, in the order from top to bottom.
    """
    step = 0.72 / max(len(styles), 2)
    for place, (model, style) in enumerate(styles.items()):
        chosen = {row[category]: row for row in rows if row["model"] == model}
        at = [n for n, name in enumerate(categories) if name in chosen]
        mine = [chosen[categories[n]] for n in at]
        share = column(mine, value)
        ends = np.array([share - column(mine, "low"), column(mine, "high") - share])
        axes.errorbar(
            share, np.array(at) + (place - (len(styles) - 1) / 2) * step, xerr=np.nan_to_num(ends).clip(0),
            fmt=style["marker"], color=style["color"], markersize=5, elinewidth=1.4,
        )  # fmt: skip
    for n in range(1, len(categories)):
        axes.axhline(n - 0.5, color="#E6E6E6", linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(categories)), [plain(spoken(name)) for name in categories])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(categories) - 0.5, -0.5)


def show_percent(axes: Axes, axis: str = "y", ticks: int = 5) -> None:
    """Write an axis of shares in whole per cent."""
    chosen = axes.yaxis if axis == "y" else axes.xaxis
    chosen.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    chosen.set_major_locator(MaxNLocator(ticks))


def model_legend(figure: Figure, styles: Mapping[str, Mapping], more: Sequence[Line2D] = (), **marks) -> None:
    """Lay a legend of the models below the panels, and of whatever else is to be explained."""
    handles = [
        Line2D([], [], label=legend_name(name, LONGEST), linewidth=1.7, markersize=6, **{**style, **marks})
        for name, style in styles.items()
    ]
    handles += more
    letters = sum(len(handle.get_label()) + 7 for handle in handles)
    columns = -(-len(handles) // -(-letters // 105))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=10, frameon=False)


def dot_panels(
    figure: Figure,
    panels: Panels,
    names: tuple[str, str],
    styles: Mapping[str, Mapping],
    x: str,
    one_scale: bool = True,
) -> None:
    """Fill a figure with dot plots, two beside each other, with the same distance of lines.

    Args:
        figure: to fill.
        panels: title and rows of each.
        names: the columns with the category and the value.
        styles: of the models.
        x: what the value is.
        one_scale: whether the values of different panels may be compared.
    """
    columns = min(2, len(panels))
    lines = _lines(panels, names[0])
    grid = figure.subplots(len(lines), columns, sharex=one_scale, squeeze=False, height_ratios=lines).ravel()
    for place, (axes, (title, rows)) in enumerate(zip(grid, panels, strict=False)):
        categories = distinct(rows, names[0])
        draw_dots(axes, rows, *names, categories, styles)
        axes.set_ylim(lines[place // columns] - 0.5, -0.5)
        show_percent(axes, "x")
        last = place + columns >= len(panels) or not one_scale
        axes.tick_params(labelbottom=last)
        tidy(axes, x if last else "", "", title, grid="x")
        axes.spines["left"].set_visible(False)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes in grid[: len(panels)]:
        right = axes.get_xlim()[1]
        axes.set_xlim(-0.02 * right, right)  # a dot at 0 is seen whole


def dot_height(panels: Panels, category: str, models: int) -> float:
    """Return the height in inches that `dot_panels` and a legend below it take."""
    lines = _lines(panels, category)
    return 0.65 + 0.5 * len(lines) + sum(lines) * max(0.3, PITCH * models + 0.12)


def _lines(panels: Panels, category: str) -> list[int]:
    """Return how many lines each row of panels takes, two beside each other: those of the longer one."""
    counts = [len(distinct(rows, category)) for _, rows in panels]
    return [max(counts[at : at + 2]) for at in range(0, len(counts), 2)]
