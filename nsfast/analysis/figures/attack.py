"""Figures of attacks: what accuracy they leave at each epsilon, beside random signs of the same size."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nsfast.analysis.figures.marks import (
    Rows,
    column,
    distinct,
    draw_curve,
    listed,
    model_legend,
    number,
    require,
    show_percent,
    spoken,
)
from nsfast.analysis.figures.page import INK, model_styles, new_figure, tidy

ATTACKS = {"fgsm": "FGSM (one step)", "pgd": "PGD (many steps)", "autoattack": "AutoAttack"}
CONTROL = "random_sign"
DOTTED = (0, (1, 1.6))


def attack_curves(rows: Rows, epsilon: float | None = None) -> Figure:
    """Return accuracy under attack against epsilon, a panel for each attack, random signs dotted as the control.

    Args:
        rows: one per model, attack and epsilon with `model`, `attack` ("fgsm", "pgd", ..., and "random_sign" of the
            same norm as the control of the others), `epsilon` (in 1/255; 0 for clean pictures), `accuracy` and its
            interval `low`, `high` (0 to 1, or not known), and `norm` ("linf" when left out), as
            `analysis.robustness.attack_rows` gives them.
        epsilon: that the headline speaks of; the middle one of the last attack when left out.
    """
    require(rows, "model, attack and epsilon")
    styles = model_styles(distinct(rows, "model"))
    kinds = list(dict.fromkeys(map(_kind, rows)))
    panels = sorted([kind for kind in kinds if kind[0] != CONTROL] or kinds, key=lambda kind: kind[1] == "l2")
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    lines = -(-len(panels) // columns)
    answer = _answer([row for row in rows if _kind(row) == panels[-1]], panels[-1], epsilon)
    figure = new_figure(0.5 + 2.9 * lines, "How much accuracy does an attack leave?", answer)
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for axes, kind in zip(grid, panels, strict=False):
        _draw_panel(axes, rows, kind, styles)
    for place, axes in enumerate(grid):
        if place >= len(panels):
            axes.set_axis_off()
        elif place % columns == 0:
            axes.set_ylabel("accuracy", size=10, color=INK)
    grid[0].set_ylim(0, 1.02)
    show_percent(grid[0])
    control = Line2D(
        [], [], color=INK, linestyle=DOTTED, linewidth=1.7, label="random signs of the same size"
    )
    model_legend(figure, styles, [control] if any(kind[0] == CONTROL for kind in kinds) else [])
    return figure


def _draw_panel(axes: Axes, rows: Rows, kind: tuple[str, str], styles: dict) -> None:
    attack, norm = kind
    for name, style in styles.items():
        mine = [row for row in rows if row["model"] == name]
        if attack != CONTROL:
            control = [row for row in mine if _kind(row) == (CONTROL, norm)]
            line = {"color": style["color"], "marker": "", "linestyle": DOTTED}
            draw_curve(axes, control, "epsilon", "accuracy", line, band=False)
        draw_curve(axes, [row for row in mine if _kind(row) == kind], "epsilon", "accuracy", style)
    tidy(axes, "epsilon, in 1/255", "", _title(kind))
    _space(axes, column([row for row in rows if _kind(row) == kind], "epsilon"))


def _space(axes: Axes, epsilons: np.ndarray) -> None:
    """Give doubled epsilons equal steps, as they are usually chosen, and 0 a place one step before the smallest."""
    epsilons = np.unique(epsilons)
    above = epsilons[epsilons > 0]
    if not len(above):
        axes.set_xticks(epsilons)
        return
    axes.set_xscale("symlog", base=2, linthresh=above[0], linscale=0.5)
    place = np.where(epsilons > 0, 1 + np.log2(np.maximum(epsilons, above[0]) / above[0]), 0)
    ticks, room = [], (place[-1] - place[0]) / 9
    for at in range(len(epsilons) - 1, -1, -1):
        if not ticks or place[ticks[-1]] - place[at] >= room:
            ticks.append(at)
    axes.set_xticks(epsilons[ticks], [f"{value:g}" for value in epsilons[ticks]])
    axes.minorticks_off()


def _answer(rows: Rows, kind: tuple[str, str], epsilon: float | None) -> str:
    there = sorted({number(row["epsilon"]) for row in rows} - {0.0}) or [0.0]
    epsilon = there[len(there) // 2] if epsilon not in there else epsilon
    left = {row["model"]: number(row["accuracy"]) for row in rows if number(row["epsilon"]) == epsilon}
    means = "length of the whole change" if kind[1] == "l2" else "largest change of a pixel"
    return (
        f"{_title(kind)} with epsilon {epsilon:g}/255 leaves {listed(left)}; a stronger attack would leave less. "
        f"Epsilon is the {means}. Bands are 95 % intervals."
    )


def _title(kind: tuple[str, str]) -> str:
    attack, norm = kind
    name = "Random signs" if attack == CONTROL else ATTACKS.get(attack, spoken(attack))
    return name + (f", {norm.upper()}" if norm != "linf" else "")


def _kind(row) -> tuple[str, str]:
    return row["attack"], row.get("norm") or "linf"
