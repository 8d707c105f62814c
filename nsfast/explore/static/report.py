"""The explorer as one picture: what a notebook shows where nothing is live."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nsfast.analysis.figures.page import NotebookFigure
from nsfast.explore.core.labels import PseudoLabels
from nsfast.explore.core.preview import ThresholdPreview
from nsfast.explore.core.selection import Selection
from nsfast.explore.static.figure import Head, SmallFigure
from nsfast.explore.static.panels import panels_of
from nsfast.explore.static.sheet import draw_sheet, sheet_of
from nsfast.explore.static.summary import describe

if TYPE_CHECKING:
    from nsfast.labels.decisions import Decisions
    from nsfast.labels.quality.estimate import Validation


def report_figure(
    labels: PseudoLabels,
    preview: ThresholdPreview,
    threshold: float,
    selection: Selection,
    decisions: Decisions | None = None,
    validation: Validation | None = None,
    against: str | None = None,
) -> NotebookFigure:
    """Return what the explorer shows as one picture: confidence, classes, confusion, reliability and pictures.

    Args:
        labels: all pseudo-labels.
        preview: what any threshold makes of them.
        threshold: 0 to 1.
        selection: whose first 24 pictures are shown.
        decisions: what people decided.
        validation: predicted class, confidence and true class of validation pictures, for the reliability where the
            truth of the pseudo-labels is not known.
        against: what labels are compared with, "truth" or the name of another model; by default the truth, else the
            round before.
    """
    panels = panels_of(labels, preview, threshold, validation, against)
    sheet = sheet_of(selection, decisions)
    top = Head(question(threshold), answer(preview, threshold, decisions), size=13)
    rows = [[panel] for panel in panels if panel.wide] + [[panel for panel in panels if not panel.wide]]
    rows = [row for row in rows if row]
    heads = [[Head(panel.title, panel.answer, len(row)) for panel in row] for row in rows]
    above = [max(head.height for head in row) for row in heads]
    below = [max(panel.height for panel in row) for row in rows]
    heights = [top.height, *np.add(above, below), sheet.height]
    figure = SmallFigure(sum(heights))
    first, *others, last = (
        figure.add_subfigure(place) for place in figure.add_gridspec(len(heights), 1, height_ratios=heights)
    )
    top.draw(first)
    for number, part in enumerate(others):
        columns = part.subfigures(1, len(rows[number]), squeeze=False)[0]
        for column, head, panel in zip(columns, heads[number], rows[number], strict=True):
            text, drawing = column.subfigures(2, 1, height_ratios=(above[number], below[number]))
            head.draw(text)
            panel.draw(drawing)
    draw_sheet(last, sheet)
    return figure


def question(threshold: float) -> str:
    """Return the headline."""
    return f"What does a threshold of {threshold:g} keep?"


def answer(preview: ThresholdPreview, threshold: float, decisions: Decisions | None = None) -> str:
    """Return what stands below the headline: what is kept, and how much of it people decided."""
    text = describe(preview.at(threshold))
    return f"{text} {counted(decisions)}" if decisions is not None and len(decisions) else text


def counted(decisions: Decisions) -> str:
    """Return how many pictures people accepted, rejected and relabeled, as a sentence."""
    text = ", ".join(
        f"{len(getattr(decisions, what)):,} {what}" for what in ("accepted", "rejected", "relabeled")
    )
    differ = f"; people differ on {len(decisions.conflicts):,}" if decisions.conflicts else ""
    return f"Decided by people: {text}{differ}."
