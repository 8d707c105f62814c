"""How plotly draws how many labels there are: by confidence, of each class, taken for another one, on a map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.path import Path

from nsfast.analysis.figures.page import COPIED, DROPPED, INK, KEPT, RIGHT, WRONG, percent
from nsfast.explore.core.charts import TRUTH, Bins, Changes, Confusion, Points
from nsfast.explore.core.threshold_table import ThresholdTable
from nsfast.explore.live.view import BARS, COLORS, LONGEST, View, lying_bars, name_axis, round_ticks, text

WRITTEN = 12
"""Classes up to which a confusion is written in its cell."""
SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "triangle-down", "star")


def confidence_view(bins: Bins, threshold: float) -> View:
    """Draw a histogram of confidence, faded below the threshold.

    The last trace is as high as the chart and cannot be seen: it makes the smallest bar easy to hit.
    """
    starts, ends, count = bins.edges[:-1], bins.edges[1:], bins.count
    opacity = np.where((ends > threshold) | (ends == 1), 1.0, 0.4)
    place = {"type": "bar", "x": (starts + ends) / 2, "width": ends - starts, "hoverinfo": "skip"}
    said = [
        f"confidence {a:.3g} to {b:.3g}: {n:,} pictures" for a, b, n in zip(starts, ends, count, strict=True)
    ]
    kinds = [("pseudo-labels", count, KEPT, "")]
    if bins.wrong is not None:
        kinds = [("wrong", bins.wrong, WRONG, "/"), ("right", count - bins.wrong, RIGHT, "")]
        said = [f"{line}, {wrong:,} of them wrong" for line, wrong in zip(said, bins.wrong, strict=True)]
    traces = [
        {
            **place, "name": name, "y": values, "showlegend": len(kinds) > 1,
            "marker": _marker(color, hatch, "white") | {"opacity": opacity},
        }
        for name, values, color, hatch in kinds
    ]  # fmt: skip
    target = {
        "y": np.where(count > 0, 1.0, 0.0),
        "yaxis": "y4",
        "marker": {"opacity": 0},
        "showlegend": False,
    }
    traces.append({**place, **target, "hoverinfo": "text", "hovertext": said})
    return View(
        traces,
        lambda trace, bin: bins.selects(bin) if trace == len(kinds) else None,
        {"range": [0, 1], "title": {"text": "confidence (drag the line, click a bar)"}},
        {
            "range": [0, max(int(count.max()), 1) * 1.05],
            "title": {"text": "pseudo-labels"},
            "tickformat": ",d",
        },
        "How sure are they?",
    )


def classes_view(table: ThresholdTable) -> View:
    """Draw a bar for each class: what is dropped to the left of 0, what the student sees to the right."""
    classes = len(table.classes)
    shown = np.argsort(-table.predicted, kind="stable")[:BARS] if classes > BARS else np.arange(classes)
    traces = []
    for name, values, color, hatch, ink in (
        ("dropped", -table.dropped, DROPPED, "/", "#6A6A6A"),
        ("kept", table.kept, KEPT, "", "white"),
        ("copies", table.copies, COPIED, ".", "white"),
    ):
        said = [f"{text(table.classes[i])}: {abs(values[i]):,} {name}" for i in shown]
        traces.append(lying_bars(values[shown], said, name=name, marker=_marker(color, hatch, ink)))

    def selects(trace: int, place: int) -> dict[str, Any]:
        number = int(shown[place])
        lowest = table.lowest[number]
        found: dict[str, Any] = {"predicted": table.classes[number]}
        if not np.isnan(lowest):  # where nothing is kept, all of them are dropped
            limit = float(str(np.float16(lowest)))  # the fewest digits that are the same number in float16
            found["confidence"] = (limit, 1.0) if trace else (0.0, limit)
        return found

    low, high = -int(table.dropped[shown].max(initial=0)), int(table.seen[shown].max(initial=1))
    ticks = round_ticks(low, high)
    x = {"range": [low * 1.03, max(high, 1) * 1.03], "title": {"text": "← dropped | what the student sees →"}}
    x |= {"tickvals": ticks, "ticktext": [f"{abs(tick):,}" for tick in ticks]}
    names = name_axis([text(table.classes[i], LONGEST) for i in shown])
    return View(
        traces, selects, x, names, "Classes" + (f", {BARS} largest of {classes:,}" if classes > BARS else "")
    )


def confusion_view(found: Confusion) -> View:
    """Draw a heatmap of what is taken for what; what agrees is left faint, so that mistakes are seen."""
    known = found.against == TRUTH
    agree = np.array(found.rows)[:, None] == np.array(found.columns)[None]
    most = max(int(found.counts[~agree].max(initial=0)), 1)
    said = [
        [
            f"{text(found.against)}: {text(row)}, label: {text(column)}: {n:,} pictures"
            for column, n in zip(found.columns, counts, strict=True)
        ]
        for row, counts in zip(found.rows, found.counts.tolist(), strict=True)
    ]
    written = len(found.columns) <= WRITTEN
    trace = {
        "type": "heatmap", "z": np.where(agree, np.minimum(found.counts, 0.12 * most), found.counts),
        "zmin": 0, "zmax": most, "colorscale": [[0, "#FFFFFF"], [1, KEPT]], "showscale": False, "xgap": 1, "ygap": 1,
        "hoverinfo": "text", "hovertext": said, "texttemplate": "%{text}" if written else "",
        "text": [[f"{n:,}" if n else "" for n in line] for line in found.counts.tolist()], "textfont": {"size": 11},
    }  # fmt: skip
    columns = [text(name, LONGEST) for name in found.columns]
    others = f" ({found.left_out:,} pictures of other classes)" if found.left_out else ""
    x = {**name_axis(columns), "range": [-0.5, len(columns) - 0.5], "showgrid": False}
    x |= {"tickangle": -45 if max(map(len, columns)) > 2 else 0, "title": {"text": f"label{others}"}}
    rows = name_axis([text(name, LONGEST) for name in found.rows])
    y = {**rows, "title": {"text": text(found.against, LONGEST)}, "showgrid": False}
    title = "What is taken for what" if known else f"{text(found.against, 24)} and these labels"
    return View([trace], lambda _, cell: found.selects(*map(int, cell)), x, y, title)


def changes_view(found: Changes) -> View:
    """Draw the most frequent changes of sure labels."""
    other, known = text(found.against, 24), found.against == TRUTH
    said = [
        f"{other}: {text(a)}, label: {text(b)}: {n:,} pictures, {percent(share)} of those sure ones that "
        + (f"are {text(a)}" if known else f"{other} called {text(a)}")
        for (a, b), n, share in zip(found.pairs, found.count, found.share, strict=True)
    ]
    names = name_axis([f"{text(a, 11)} → {text(b, 11)}" for a, b in found.pairs])
    bar = lying_bars(found.count, said, marker={"color": KEPT}, showlegend=False)
    x = {"range": [0, max(int(found.count.max(initial=0)), 1) * 1.05], "tickformat": ",d"}
    of = f"of {found.compared:,} that reach {found.threshold:g}, {found.changed:,} {'wrong' if known else 'changed'}"
    x["title"] = {"text": f"pictures ({of})"}
    title = "Sure but wrong: truth → label" if known else f"Sure but changed: {other} → label"
    return View([bar], lambda _, place: found.selects(place), x, names, title)


def map_view(found: Points, classes: Sequence[str], wrong: np.ndarray | None = None) -> View:
    """Draw pictures as points on a map, and the name of a class in the middle of its points.

    Args:
        found: the points.
        classes: names.
        wrong: bool (k,), which of them have a wrong label; these are outlined.
    """
    number = found.predicted
    said = [text(classes[i]) for i in number.tolist()]
    width = np.zeros(len(number))
    if wrong is not None:
        said = [f"{name}, wrong" if bad else name for name, bad in zip(said, wrong.tolist(), strict=True)]
        width = np.where(wrong, 1.5, 0)
    marker = {"size": 6, "opacity": 0.75, "line": {"color": INK, "width": width}}
    marker |= {"color": [COLORS[i % len(COLORS)] for i in number.tolist()]}
    marker |= {"symbol": [SYMBOLS[i % len(SYMBOLS)] for i in number.tolist()]}
    both = {"type": "scatter", "showlegend": False}
    points = {**both, "mode": "markers", "x": found.xy[:, 0], "y": found.xy[:, 1], "marker": marker}
    count = np.bincount(number, minlength=len(classes))
    named = [i for i in np.argsort(-count, kind="stable")[:BARS].tolist() if count[i]]
    middle = np.array([np.median(found.xy[number == i], axis=0) for i in named]).reshape(-1, 2)
    names = {**both, "mode": "text", "x": middle[:, 0], "y": middle[:, 1], "hoverinfo": "skip"}
    names |= {"text": [f"<b>{text(classes[i], LONGEST)}</b>" for i in named]}
    names |= {"textfont": {"size": 13, "color": INK, "shadow": "0 0 4px white, 0 0 4px white"}}
    names |= {"unselected": {"textfont": {"color": INK}}}
    plain = {"showticklabels": False, "showgrid": False}
    return View(
        [{**points, "hoverinfo": "text", "hovertext": said}, names],
        lambda trace, places: found.selects(np.atleast_1d(places)) if trace == 0 else None,
        {"range": _around(found.xy[:, 0]), **plain},
        {"range": _around(found.xy[:, 1]), **plain},
        "Alike pictures lie together" + ("; wrong ones outlined" if wrong is not None else ""),
        lasso=True,
    )


def encircled(outlines: Sequence[str], xy: np.ndarray) -> np.ndarray:
    """Return which points, int64 rising, lie in any of some outlines.

    Args:
        outlines: as plotly writes them, such as "M0,0L1,0L1,1Z".
        xy: float (n, 2), the points.
    """
    inside = np.zeros(len(xy), bool)
    for outline in outlines:
        corners = [[float(value) for value in corner.split(",")] for corner in outline.strip("MZ").split("L")]
        inside |= Path(corners).contains_points(xy)
    return np.flatnonzero(inside)


def _marker(color: str, hatch: str, ink: str) -> dict[str, Any]:
    return {"color": color, "pattern": {"shape": hatch, "fillmode": "overlay", "fgcolor": ink, "size": 6}}


def _around(values: np.ndarray) -> list[float]:
    """A range that holds them all."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    margin = 0.04 * (high - low) or 1.0
    return [low - margin, high + margin]
