"""What a drawing of a chart is, as plain data of plotly, and how names and axes are written in it.

Every name comes from data and is escaped, for plotly reads `<b>`, `<a href=...>` and `&lt;` in any text.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

BARS, LONGEST = 30, 16
"""Classes that have a bar, and characters of a name at an axis."""
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, without the yellow that white swallows."""
OVER = {"x": 1, "y": 1.02, "xanchor": "right", "yanchor": "bottom", "orientation": "h", "itemclick": False}
"""A legend above the chart."""


@dataclass(frozen=True)
class View:
    """One drawing of a chart.

    Args:
        traces: of plotly, one dict each; every drawing of the same chart of the same labels has the same types.
        selects: gives, for the number of a trace and that of a point in it ([row, column] in a heatmap, several of a
            map), the keywords of `select`; None where it stands for nothing.
        x, y: the axes.
        title: what is drawn, one line.
        strip: a second y axis for bars below the drawing.
        legend: where it is.
        end: where the drawing ends on the right, 0 to 1.
        lasso: whether points can be encircled.
    """

    traces: list[dict[str, Any]]
    selects: Callable[[int, Any], dict[str, Any] | None]
    x: dict[str, Any]
    y: dict[str, Any]
    title: str
    strip: dict[str, Any] | None = None
    legend: dict[str, Any] = field(default_factory=lambda: OVER)
    end: float = 1.0
    lasso: bool = False


def text(name: object, longest: int = 60) -> str:
    """Return a name so that plotly shows it as it is: on one line, cut in its middle, `<`, `>` and `&` escaped."""
    name = " ".join(str(name).split())
    if len(name) > longest:
        name = name[: (longest - 1) // 2] + "…" + name[-(longest // 2) :]
    return html.escape(name, quote=False)


def lying_bars(values: np.ndarray, said: list[str], **more: Any) -> dict[str, Any]:
    """Return the trace of a bar for each value, the first at the top.

    Args:
        values: (n,).
        said: (n,) what is told of each.
        more: of the trace.
    """
    bars = {"type": "bar", "orientation": "h", "x": values, "y": np.arange(len(values)), "hoverinfo": "text"}
    return {**bars, "hovertext": said, **more}


def name_axis(names: Sequence[str]) -> dict[str, Any]:
    """Return a y axis with a name (escaped and cut already) for each place, the first at the top."""
    return {
        "tickvals": list(range(len(names))),
        "ticktext": list(names),
        "range": [max(len(names), 1) - 0.5, -0.5],
    }


def round_ticks(low: int, high: int) -> list[int]:
    """Return up to six round numbers from low (0 or less) to high (0 or more), 0 among them."""
    rough = max((high - low) / 5, 1)
    power = 10 ** (len(str(int(rough))) - 1)
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough)
    return list(range(-(-low // step) * step, high + 1, step))
