"""How often labels of some confidence are right, and how many stand behind each point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import FigureBase
from matplotlib.ticker import PercentFormatter

from nsfast.analysis.figures.models import FEW
from nsfast.analysis.figures.page import FAINT, INK, KEPT, RIGHT, tidy
from nsfast.explore.static.confusion import short

if TYPE_CHECKING:
    from nsfast.explore.core.charts import Reliability


def draw_reliability(figure: FigureBase, found: Reliability) -> None:
    """Draw the share that is right in each bin of confidence with its interval, and below it the bin's pictures.

    Args:
        figure: where; the two fill it.
        found: what is counted.
    """
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.3, 1))
    upper.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    for place in np.flatnonzero(found.count):
        at, share = found.confidence[place], found.accuracy[place]
        ends = np.abs(np.array([[found.low[place]], [found.high[place]]]) - share)
        face = RIGHT if found.count[place] >= FEW else "white"
        upper.errorbar(
            at, share, ends, fmt="o", color=RIGHT, markerfacecolor=face, markersize=5.5, elinewidth=1.3,
            capsize=2.5, clip_on=False,
        )  # fmt: skip
    upper.set(xlim=(0, 1), ylim=(0, 1.005))
    upper.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    lower.bar(
        found.edges[:-1], found.count, np.diff(found.edges), align="edge", color=KEPT, edgecolor="white",
        linewidth=0.5,
    )  # fmt: skip
    lower.set_yscale("symlog", linthresh=1)
    lower.set_ylim(0, 8.0 * max(found.count.max(), 1))
    lower.set_yticks([])
    lower.minorticks_off()
    for place in np.flatnonzero(found.count):
        middle = (found.edges[place] + found.edges[place + 1]) / 2
        style = {"ha": "center", "va": "bottom", "size": 6.8, "color": INK}
        lower.text(middle, 1.1 * found.count[place], short(int(found.count[place])), **style)
    tidy(upper, "", "share right (95 % interval)", grid="both")
    tidy(lower, "confidence", "pictures (log)", grid="")
