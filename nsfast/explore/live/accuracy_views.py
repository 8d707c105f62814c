"""How plotly draws how often labels are right: by confidence, and by threshold."""

from __future__ import annotations

from typing import Any

import numpy as np

from nsfast.analysis.figures.page import DROPPED, FAINT, INK, KEPT, percent
from nsfast.analysis.metrics import wilson_interval
from nsfast.explore.core.accuracy import Precision, Reliability
from nsfast.explore.live.view import COLORS, View, text


def reliability_view(found: Reliability) -> View:
    """Draw accuracy against confidence with its interval, and below it how many there are."""
    there = np.flatnonzero(found.count)
    said = [
        f"confidence {found.edges[i]:.2f} to {found.edges[i + 1]:.2f}: {percent(found.accuracy[i])} of "
        f"{found.count[i]:,} {found.what} are right (95 % interval {percent(found.low[i])} to {percent(found.high[i])})"
        for i in there
    ]
    hover = {"hoverinfo": "text", "hovertext": said}
    line = {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "name": "as sure as right"}
    line |= {"hoverinfo": "skip", "line": {"color": INK, "dash": "dash", "width": 1}}
    points = {"type": "scatter", "mode": "lines+markers", "name": "right (95 % interval)", **hover}
    points |= {"x": found.confidence[there], "y": found.accuracy[there]}
    points |= {"marker": {"color": KEPT, "size": 9}, "line": {"color": KEPT, "width": 1.5}}
    points["error_y"] = {
        "type": "data", "array": (found.high - found.accuracy)[there], "color": FAINT, "thickness": 1.5, "width": 4,
        "arrayminus": (found.accuracy - found.low)[there],
    }  # fmt: skip
    width = float(found.edges[1] - found.edges[0])
    bars = {"type": "bar", "x": found.edges[there] + width / 2, "width": width, "y": found.count[there]}
    bars |= {"yaxis": "y3", "showlegend": False, **hover}
    bars |= {"marker": {"color": DROPPED, "line": {"color": "white", "width": 1}}}
    return View(
        [line, points, bars],
        lambda trace, place: found.selects(int(there[place])) if trace else None,
        {"range": [0, 1], "title": {"text": "confidence"}},
        {"range": [0, 1.03], "title": {"text": "share that is right"}, "tickformat": ".0%"},
        f"Is confidence honest? {found.what.capitalize()}",
        strip={"range": [0, int(found.count.max()) * 1.1], "tickformat": ",d", "nticks": 3},
    )


def precision_view(found: Precision) -> View:
    """Draw the precision of what reaches each threshold: of all with its interval, and of the worst classes."""
    steps, reached, right = np.array(found.thresholds), found.reached.sum(0), found.right.sum(0)
    low, high = wilson_interval(right, reached)
    share = np.divide(right, reached, out=np.full(len(steps), np.nan), where=reached > 0)
    edge = {
        "type": "scatter",
        "mode": "lines",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    band = [
        {**edge, "x": steps, "y": _gaps(low, reached)},
        {
            **edge,
            "x": steps,
            "y": _gaps(high, reached),
            "fill": "tonexty",
            "fillcolor": "rgba(34,34,34,0.18)",
        },
    ]
    lines = [
        _line("all classes", steps, share, reached, low, high, {"color": INK, "dash": "solid", "width": 3})
    ]
    for place, number in enumerate(found.shown):
        numbers = (array[number] for array in (found.precision, found.reached, found.low, found.high))
        dash = "dash" if place >= len(COLORS) else "solid"
        style = {"color": COLORS[place % len(COLORS)], "dash": dash, "width": 1.5}
        lines.append(_line(found.classes[number], steps, *numbers, style))

    def selects(trace: int, step: int) -> dict[str, Any] | None:
        place = trace - len(band) - 1  # among the classes; -1 is the line of all
        if place >= 0:
            return found.selects(found.shown[place], step)
        return {"confidence": (found.thresholds[step], 1.0)} if place == -1 else None

    drawn = np.concatenate([share, *found.precision[found.shown]])
    lowest = np.floor(min(drawn[~np.isnan(drawn)], default=0.0) * 10) / 10
    worst, classes = len(found.shown), len(found.classes)
    return View(
        [*band, *lines],
        selects,
        {"range": [0, 1.01], "title": {"text": "threshold"}},
        {
            "range": [max(lowest - 0.02, 0), 1.02],
            "title": {"text": "right of what reaches it"},
            "tickformat": ".0%",
        },
        "Precision by threshold" + (f", {worst} worst of {classes:,} classes" if worst < classes else ""),
        legend={
            "x": 1.02,
            "y": 1,
            "xanchor": "right",
            "yanchor": "top",
            "orientation": "v",
            "itemclick": "toggle",
        },
        end=0.83,
    )


def _line(
    name: str,
    steps: np.ndarray,
    share: np.ndarray,
    reached: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    style: dict[str, Any],
) -> dict[str, Any]:
    """The precision of one class, or of all."""
    said = [
        f"{text(name)}: {percent(p)} of the {n:,} that reach {step:g} are right ({percent(a)} to {percent(b)})"
        for step, p, n, a, b in zip(steps, share, reached, low, high, strict=True)
    ]
    line = {"type": "scatter", "mode": "lines+markers", "x": steps, "y": _gaps(share, reached), "line": style}
    return {**line, "name": text(name, 12), "marker": {"size": 5}, "hoverinfo": "text", "hovertext": said}


def _gaps(values: np.ndarray, count: np.ndarray) -> list[float | None]:
    """Values with a gap where there is nothing."""
    return [float(value) if n else None for value, n in zip(values, count, strict=True)]
