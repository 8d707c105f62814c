"""The drawings of the static report: each is a part of the one picture, or a picture of its own in the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import FigureBase

from nsfast.analysis.figures.labels import NAMED_CLASSES, draw_confidence, draw_selection
from nsfast.analysis.figures.page import percent
from nsfast.explore.core.charts import (
    TRUTH,
    changes,
    confidence_bins,
    confusion,
    reliability,
    reliability_of,
)
from nsfast.explore.core.labels import PseudoLabels
from nsfast.explore.core.preview import ThresholdPreview, ThresholdTable
from nsfast.explore.static.confusion import draw_confusion
from nsfast.explore.static.reliability import draw_reliability

if TYPE_CHECKING:
    from nsfast.explore.core.charts import Reliability
    from nsfast.labels.quality.estimate import Validation

LOWEST, HIGHEST = 3.6, 5.0
"""Inches of the panels that share a row."""
LONGEST = 24
"""Letters of a class name in a sentence."""


@dataclass(frozen=True)
class Panel:
    """A drawing and what it says.

    Args:
        name: "confidence", "classes", "confusion" or "reliability".
        title: what is drawn, in a few words.
        answer: what is to be seen there, in numbers.
        height: in inches.
        draw: draws it into a figure or a part of one.
        wide: whether it needs the whole width; the others share a row.
    """

    name: str
    title: str
    answer: str
    height: float
    draw: Callable[[FigureBase], None]
    wide: bool = True


def panels_of(
    labels: PseudoLabels,
    preview: ThresholdPreview,
    threshold: float,
    validation: Validation | None = None,
    against: str | None = None,
) -> list[Panel]:
    """Return the panels that there is something to draw in.

    Args:
        labels: all pseudo-labels.
        preview: what any threshold makes of them.
        threshold: 0 to 1.
        validation: predicted class, confidence and true class of validation pictures, for the reliability where the
            truth of the pseudo-labels is not known.
        against: "truth" or the name of another model, see `other_of`.
    """
    table = preview.at(threshold)
    panels = [_confidence(labels, table), _classes(table)]
    if (against := other_of(labels, against)) is not None:
        panels.append(_confusion(labels, against))
    if labels.truth is not None:
        panels.append(_reliability(reliability(labels)))
    elif validation is not None and len(validation[0]):
        panels.append(_reliability(reliability_of(validation)))
    return panels


def other_of(labels: PseudoLabels, against: str | None = None) -> str | None:
    """Return what labels are compared with: what is asked for, else the truth, else the round before, else None."""
    if against is not None:
        return against
    if labels.truth is not None:
        return TRUTH
    before = [name for name in labels.rounds if int(name.split()[1]) < labels.round]
    return before[-1] if before else None


def _confidence(labels: PseudoLabels, table: ThresholdTable) -> Panel:
    bins = confidence_bins(labels)
    answer = f"{table.above.sum():,} of {table.predicted.sum():,} reach {table.threshold:g}"
    answer += "." if bins.wrong is None else f"; {bins.wrong.sum():,} of all are wrong."

    def draw(figure: FigureBase) -> None:
        draw_confidence(figure.add_subplot(), bins.edges, bins.count, table.threshold, bins.wrong)

    return Panel("confidence", "How sure the teacher is", answer, 2.3, draw)


def _classes(table: ThresholdTable) -> Panel:
    totals = table.totals()
    answer = (
        f"{totals['kept']:,} kept, {totals['dropped']:,} dropped, {totals['copies']:,} copies. {table.why}."
    )

    def draw(figure: FigureBase) -> None:
        draw_selection(figure.subplots(1, 2, sharex=True, sharey=True), table.rows())

    height = 3.4 if len(table.classes) > NAMED_CLASSES else 1.2 + 0.23 * len(table.classes)
    return Panel("classes", "Each class before and after balancing", answer, height, draw)


def _confusion(labels: PseudoLabels, against: str) -> Panel:
    found, differ = confusion(labels, against), changes(labels, against, most=1)
    answer = f"{differ.changed:,} of {differ.compared:,} differ"
    for names, count in zip(differ.pairs, differ.count.tolist(), strict=True):
        before, now = (name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in names)
        answer += f", most often {before} → {now} ({count:,})"
    answer += f"; {found.left_out:,} lie outside these classes." if found.left_out else "."
    title = "Truth against label" if against == TRUTH else f"{against.capitalize()} against label"
    height = float(np.clip(1.6 + 0.17 * len(found.rows), LOWEST, HIGHEST))
    return Panel("confusion", title, answer, height, lambda figure: draw_confusion(figure, found), False)


def _reliability(found: Reliability) -> Panel:
    pictures, right = found.count.sum(), np.nansum(found.accuracy * found.count)
    answer = (
        f"{percent(right / pictures)} of {pictures:,} {found.what} are right; expected calibration error "
    )
    answer += f"{found.expected_calibration_error:.3f}."
    title = "How often a label of some confidence is right"
    return Panel("reliability", title, answer, LOWEST, lambda figure: draw_reliability(figure, found), False)
