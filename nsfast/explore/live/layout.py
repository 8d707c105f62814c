"""Where the two charts of the figure lie, and how plotly draws axes, titles and the line of the threshold."""

from __future__ import annotations

import html
from typing import Any

from nsfast.analysis.figures.page import INK
from nsfast.explore.live.view import BARS, View

WIDTH, LEFT, TOP, BOTTOM = 850, 0.4, 66, 48
"""Pixels that the figure is laid out for, where the left chart ends (0 to 1), pixels above and below the charts."""
LINE = "#9A9A9A"
AXIS = {
    "type": "linear", "tickfont": {"size": 11}, "title": {"text": "", "font": {"size": 12}, "standoff": 6},
    "tickangle": 0, "tickformat": "", "nticks": 6, "showgrid": True, "gridcolor": "#E6E6E6", "zeroline": False,
    "showticklabels": True, "showline": True, "linecolor": LINE, "fixedrange": False, "tickvals": None,
    "ticktext": None, "automargin": False, "ticks": "",
}  # fmt: skip


def figure_layout(classes: int, threshold: float) -> dict[str, Any]:
    """Return the layout of the whole figure, before anything is drawn.

    Args:
        classes: how many there are.
        threshold: where its line is, 0 to 1.
    """
    title = {"xref": "paper", "yref": "paper", "y": 1, "yshift": 40, "xanchor": "left", "yanchor": "bottom"}
    title |= {"showarrow": False, "font": {"size": 14, "color": INK}, "text": ""}
    legend = {"orientation": "h", "xanchor": "right", "yanchor": "bottom", "font": {"size": 12}}
    legend |= {
        "bgcolor": "rgba(255,255,255,0.8)",
        "traceorder": "normal",
        "itemclick": False,
        "itemdoubleclick": False,
    }
    height = max(360, TOP + BOTTOM + 14 * min(classes, BARS))
    above = 1 + 36 / (height - TOP - BOTTOM)
    hidden = {"visible": False, "range": [0, 1], "fixedrange": True}
    return {
        "template": "none", "autosize": True, "height": height,
        "margin": {"l": 58, "r": 12, "t": TOP, "b": BOTTOM}, "paper_bgcolor": "white", "plot_bgcolor": "white",
        "font": {"color": INK, "size": 12}, "hovermode": "closest", "clickmode": "event", "dragmode": False,
        "barmode": "relative", "bargap": 0.15, "hoverlabel": {"font": {"size": 12}, "align": "left"},
        "legend": {**legend, "x": LEFT, "y": above}, "legend2": legend,
        "xaxis": {**AXIS, "domain": [0, LEFT], "anchor": "y"}, "yaxis": {**AXIS, "anchor": "x"},
        "xaxis2": {**AXIS, "anchor": "y2"}, "yaxis2": {**AXIS, "anchor": "x2"},
        "yaxis3": {**hidden, "anchor": "x2"}, "yaxis4": {**hidden, "overlaying": "y", "anchor": "x"},
        "annotations": [{**title, "x": -0.05}, {**title, "x": 0.5}],
        "shapes": [
            {
                "type": "line", "xref": "x", "yref": "y domain", **line_at(threshold),
                "line": {"color": INK, "width": 3}, "layer": "above",
            }
        ],
    }  # fmt: skip


def line_at(threshold: float) -> dict[str, Any]:
    """Return where the line of a threshold stands, upright, and its label beside it, where it is not cut off."""
    label = {
        "texttemplate": "threshold %{x0:.2f}",
        "textposition": "end",
        "textangle": 0,
        "yanchor": "bottom",
    }
    label |= {
        "padding": 2,
        "font": {"size": 12, "color": INK},
        "xanchor": "right" if threshold > 0.5 else "left",
    }
    return {"x0": threshold, "x1": threshold, "y0": 0, "y1": 1, "label": label}


def view_layout(view: View, right: bool) -> dict[str, Any]:
    """Return what a chart changes of the layout.

    Args:
        view: the chart.
        right: whether it is the one on the right.
    """
    title = f"<b>{view.title}</b>"
    if not right:
        return {"xaxis": view.x, "yaxis": view.y, "annotations[0].text": title}
    names = [html.unescape(name) for name in view.y.get("ticktext") or ["100 %"]]
    room = 30 + 6.5 * max(map(len, names), default=0) + (18 if view.y.get("title") else 0)
    start = LEFT + room / (WIDTH - 70)
    low = 0.3 if view.strip else 0.0
    anchor = "y3" if view.strip else "y2"
    strip = {"visible": bool(view.strip), "domain": [0, max(low - 0.08, 0.01)]}
    return {
        "xaxis2": {**_axis(view.x), "domain": [start, view.end], "automargin": True, "anchor": anchor},
        "yaxis2": {**_axis(view.y), "domain": [low, 1]},
        "yaxis3": {**_axis(view.strip or {"range": [0, 1]}), **strip},
        "legend2": view.legend,
        "annotations[1].text": title,
        "annotations[1].x": start,
        "dragmode": "lasso" if view.lasso else False,
    }


def _axis(given: dict[str, Any]) -> dict[str, Any]:
    """An axis of which nothing is left that another chart asked for."""
    return {**AXIS, **given, "title": {**AXIS["title"], **given.get("title", {})}}
