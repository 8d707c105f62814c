"""The threshold's effect as one matplotlib figure: what is left of the explorer where nothing is live."""

from __future__ import annotations

from matplotlib.figure import Figure

from nsfast.analysis.figures.labels import NAMED_CLASSES, draw_confidence, draw_selection
from nsfast.analysis.figures.page import new_figure, percent
from nsfast.explore.core import ThresholdPreview, ThresholdTable


def threshold_figure(preview: ThresholdPreview, threshold: float) -> Figure:
    """Return the histogram of confidence with the threshold, and the classes before and after balancing.

    Args:
        preview: the pseudo-labels.
        threshold: 0 to 1.
    """
    table = preview.at(threshold)
    classes = 3.4 if len(table.classes) > NAMED_CLASSES else 1.0 + 0.25 * len(table.classes)
    figure = new_figure(2.7 + classes, f"What does a threshold of {threshold:g} keep?", describe(table))
    grid = figure.add_gridspec(2, 2, height_ratios=(2.2, classes))
    draw_confidence(figure.add_subplot(grid[0, :]), *preview.histogram[:2], threshold, preview.histogram[2])
    before = figure.add_subplot(grid[1, 0])
    after = figure.add_subplot(grid[1, 1], sharex=before, sharey=before)
    after.tick_params(labelleft=False)
    draw_selection((before, after), table.rows())
    return figure


def describe(table: ThresholdTable) -> str:
    """Return what a threshold keeps in one plain sentence or two."""
    totals = table.totals()
    text = f"{totals['kept']:,} of {totals['predicted']:,} pseudo-labels kept ({percent(totals['coverage'])})"
    text += f", {totals['copies']:,} copies added" if totals["copies"] else ""
    if "precision" in totals and totals["kept"]:
        text += f"; {percent(totals['precision'])} of the kept are right "
        text += f"(95 % interval {percent(totals['low'])} to {percent(totals['high'])})"
    before, after = ratio(totals["imbalance_before"]), ratio(totals["imbalance_after"])
    return f"{text}. Largest class to smallest: {before} before balancing, {after} after."


def ratio(imbalance: float) -> str:
    """Return an imbalance ratio as text, in words where it is no number."""
    if imbalance != imbalance:
        return "no labels"
    return "a class is empty" if imbalance == float("inf") else f"{imbalance:.1f}"
