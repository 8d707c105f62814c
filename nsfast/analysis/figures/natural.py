"""Figures of pictures that nobody corrupted: released sets and the hard pictures of one's own."""

from __future__ import annotations

from matplotlib.figure import Figure

from nsfast.analysis.figures.marks import (
    LONGEST,
    Rows,
    distinct,
    dot_height,
    dot_panels,
    model_legend,
    number,
    require,
)
from nsfast.analysis.figures.page import model_styles, new_figure, percent, shortened


def natural_bars(rows: Rows) -> Figure:
    """Return each model's accuracy with its interval on each set of pictures that nobody corrupted.

    Args:
        rows: one per model and set with `model`, `set`, `n`, `accuracy` and its interval `low`, `high` (0 to 1, or not
            known); and, if known, `name` (the part of the set) and `chosen` (how its pictures were chosen), as
            `analysis.robustness.natural_rows` gives them.
    """
    require(rows, "model and set")
    styles = model_styles(distinct(rows, "model"))
    rows = [dict(row, shown=_shown(row)) for row in rows]
    best, chosen = [], []
    for name in distinct(rows, "shown"):
        of_set = [row for row in rows if row["shown"] == name]
        top = max(of_set, key=lambda row: number(row["accuracy"]))
        best.append(f"{name}: {shortened(top['model'], LONGEST)} {percent(number(top['accuracy']))}")
        chosen += [f"{row['set']}: {row['chosen']}" for row in of_set[:1] if row.get("chosen")]
    answer = f"Highest accuracy, {'; '.join(best)}. Bars are 95 % intervals. {' '.join(chosen)}"
    panels = [("", rows)]
    figure = new_figure(
        dot_height(panels, "shown", len(styles)) - 0.2,
        "How accurate are the models on other sets of pictures?",
        answer,
    )
    dot_panels(figure, panels, ("shown", "accuracy"), styles, "accuracy")
    model_legend(figure, styles, linestyle="")
    return figure


def _shown(row) -> str:
    name = f"{row['set']} {row.get('name') or ''}".strip()
    return f"{name} (n = {row['n']:,})"
