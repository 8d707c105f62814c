"""Figures of pseudo-labels: how confident they are, what balancing makes of them, how good each round is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from nsfast.analysis.figures.page import (
    COPIED,
    DROPPED,
    INK,
    KEPT,
    RIGHT,
    STUDENTS,
    WRONG,
    new_figure,
    percent,
    plain,
    tidy,
)
from nsfast.analysis.metrics import wilson_interval
from nsfast.errors import NsfastError
from nsfast.labels.histogram import above

NAMED_CLASSES = 30
"""Up to so many classes have a bar with a name; more are drawn as an outline, largest class first."""


def confidence_histogram(
    confidence: np.ndarray, threshold: float, correct: np.ndarray | None = None, bins: int = 40
) -> Figure:
    """Return the histogram of confidence with the threshold as a line, and what passes it.

    Args:
        confidence: float (n,), 0 to 1, n at least 1.
        threshold: 0 to 1, compared in float16.
        correct: bool (n,), whether each pseudo-label is right, when the truth is known.
        bins: equally wide, from 0 to 1.
    """
    confidence = np.asarray(confidence)
    if confidence.ndim != 1 or not len(confidence):
        raise NsfastError(
            f"confidence has shape {confidence.shape}; it must be (n,) with at least one pseudo-label"
        )
    kept = above(confidence, threshold)
    answer = f"{kept.sum():,} of {len(kept):,} ({percent(kept.mean())}) reach it."
    edges = np.linspace(0, 1, bins + 1)
    count, wrong = np.histogram(confidence, edges)[0], None
    if correct is not None:
        correct = np.asarray(correct, dtype=bool)
        wrong = np.histogram(confidence[~correct], edges)[0]
        low, high = wilson_interval(correct[kept].sum(), kept.sum())
        share = correct[kept].mean() if kept.any() else np.nan
        answer += f" Of these {percent(share)} are right (95 % interval {percent(low)} to {percent(high)})."
    figure = new_figure(3.3, f"How many pseudo-labels reach the threshold {threshold:g}?", answer)
    draw_confidence(figure.add_subplot(), edges, count, threshold, wrong)
    return figure


def draw_confidence(
    axes: Axes, edges: np.ndarray, count: np.ndarray, threshold: float, wrong: np.ndarray | None = None
) -> None:
    """Draw a histogram of confidence into an axes, faded below the threshold.

    Args:
        axes: where.
        edges: float (bins + 1,).
        count: int (bins,), pseudo-labels in each bin.
        threshold: 0 to 1.
        wrong: int (bins,), how many of them are wrong, when that is known; drawn at the foot of each bar.
    """
    widths = np.diff(edges)
    if wrong is None:
        axes.bar(edges[:-1], count, widths, align="edge", color=KEPT, edgecolor="white", linewidth=0.5)
    else:
        bars = {"align": "edge", "edgecolor": "white", "linewidth": 0.5}
        axes.bar(edges[:-1], wrong, widths, color=WRONG, label="wrong", **bars)
        axes.bar(edges[:-1], count - wrong, widths, bottom=wrong, color=RIGHT, label="right", **bars)
        axes.legend(fontsize=10, frameon=False, loc="upper left", reverse=True)
    axes.axvspan(0, threshold, color="white", alpha=0.65, linewidth=0, zorder=2)
    axes.axvline(threshold, color=INK, linewidth=1.6, zorder=3)
    side = (
        {"ha": "right", "x": threshold - 0.008} if threshold > 0.5 else {"ha": "left", "x": threshold + 0.008}
    )
    axes.text(
        y=0.97 if threshold > 0.5 else 0.7, s=f"threshold {threshold:g}", va="top", size=10, color=INK, zorder=4,
        transform=axes.get_xaxis_transform(), bbox={"color": "white", "alpha": 0.8, "pad": 1.5}, **side,
    )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    tidy(axes, "confidence (largest probability)", "pseudo-labels")


def kept_dropped_copied(rows: Sequence[Mapping]) -> Figure:
    """Return the classes before balancing (kept and dropped) and after it (kept and copied).

    Args:
        rows: one per class with `class` (its name), `predicted`, `kept`, `dropped` and `copies`, as
            `labels.Balanced.rows` and `ThresholdPreview.at(...).rows()` give them.
    """
    count = _columns(rows)
    before = count["kept"] + count["dropped"]
    after = count["kept"] + count["copies"]
    answer = (
        f"{before.sum():,} pseudo-labels: {count['kept'].sum():,} kept, {count['dropped'].sum():,} dropped, "
        f"{count['copies'].sum():,} copies added. "
        f"Largest class to smallest: {imbalance(before)} before, {imbalance(after)} after."
    )
    height = 4.6 if len(rows) > NAMED_CLASSES else 1.1 + 0.27 * len(rows)
    figure = new_figure(height, "What does balancing make of the classes?", answer)
    draw_selection(figure.subplots(1, 2, sharex=True, sharey=True), rows)
    return figure


def draw_selection(pair: Sequence[Axes], rows: Sequence[Mapping]) -> None:
    """Draw the classes into two axes that share their scales: before balancing and after it.

    Args:
        pair: two axes side by side.
        rows: as for `kept_dropped_copied`.
    """
    count = _columns(rows)
    names = [plain(row["class"], 22) for row in rows]
    many = len(rows) > NAMED_CLASSES
    if many:
        order = np.argsort(-(count["kept"] + count["dropped"]), kind="stable")
        count = {name: values[order] for name, values in count.items()}
    stacks = (("dropped", DROPPED, "dropped", "////"), ("copies", COPIED, "copies of kept", ""))
    titles = ("Before: predicted by the teacher", "After: seen by the student")
    for axes, (second, color, label, hatch), title in zip(pair, stacks, titles, strict=True):
        place = np.arange(len(rows))
        total = count["kept"] + count[second]
        if many:
            edges = np.arange(len(rows) + 1) - 0.5
            axes.stairs(total, edges, orientation="horizontal", fill=True, color=color, label=label)
            axes.stairs(count["kept"], edges, orientation="horizontal", fill=True, color=KEPT, label="kept")
        else:
            axes.barh(place, count["kept"], 0.72, color=KEPT, label="kept")
            style = {"hatch": hatch, "edgecolor": "white", "linewidth": 0} if hatch else {}
            axes.barh(place, count[second], 0.72, left=count["kept"], color=color, label=label, **style)
            axes.set_yticks(place, names)
        tidy(
            axes,
            "pseudo-labels",
            "classes, largest first" if many and axes is pair[0] else "",
            title,
            grid="x",
        )
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    pair[0].set_ylim(len(rows) - 0.4, -0.6)
    handles = {}
    for axes in pair:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    order = [label for label in ("kept", "dropped", "copies of kept") if label in handles]
    pair[0].figure.legend(
        [handles[label] for label in order],
        order,
        loc="outside lower right",
        ncols=3,
        fontsize=10,
        frameon=False,
    )


def label_quality_by_round(records: Sequence[Mapping]) -> Figure:
    """Return how many pseudo-labels are used in each round, and how many of those are right.

    Args:
        records: one per round with `round`, `coverage` (share used, 0 to 1), `precision` (share of those that
            is right) and its interval `low`, `high`; and, if known, `in_class_accuracy`, the share of right labels
            among all pictures that have a class, used or not.
    """
    if not records:
        raise NsfastError("no round to show; give one record per round")
    rounds = [record["round"] for record in records]
    value = {
        name: np.array([record[name] for record in records], float)
        for name in ("coverage", "precision", "low", "high")
    }
    answer = (
        f"From round {rounds[0]} to round {rounds[-1]}: coverage {percent(value['coverage'][0])} to "
        f"{percent(value['coverage'][-1])}, precision {percent(value['precision'][0])} to "
        f"{percent(value['precision'][-1])}."
    )
    figure = new_figure(3.1, "Do the pseudo-labels get better from round to round?", answer)
    left, right = figure.subplots(1, 2)
    place = np.arange(len(rounds))
    colors = [STUDENTS(share) for share in (np.linspace(0, 1, len(rounds)) if len(rounds) > 1 else [0.5])]
    left.plot(place, value["coverage"], color="#B0B0B0", zorder=1)
    left.scatter(place, value["coverage"], s=55, color=colors, zorder=2)
    right.plot(place, value["precision"], color="#B0B0B0", zorder=1)
    for at, color in zip(place, colors, strict=True):
        bar = np.abs(np.array([[value["low"][at]], [value["high"][at]]]) - value["precision"][at])
        right.errorbar(
            at, value["precision"][at], bar, fmt="o", markersize=7, capsize=4, color=color, zorder=2
        )
    if in_class := [record["in_class_accuracy"] for record in records if "in_class_accuracy" in record]:
        right.plot(place, in_class, color=INK, marker="o", markerfacecolor="white", linewidth=1, zorder=1)
        answer_at = {
            "xytext": (0, 7),
            "textcoords": "offset points",
            "size": 9.5,
            "color": INK,
            "ha": "right",
        }
        right.annotate("of all pictures that have a class, right", (place[-1], in_class[-1]), **answer_at)
    tidy(left, "round", "share of unlabeled pictures", "Coverage: labels used")
    tidy(right, "round", "share that is right", "Precision: of those, right (95 % interval)")
    above = np.nan_to_num(value["high"], nan=-np.inf).clip(value["precision"])
    below = np.nan_to_num(value["low"], nan=np.inf).clip(max=value["precision"])
    upwards = np.ones(len(rounds), bool)
    if in_class:
        upwards = np.array(in_class, float) < value["precision"]
    falls = np.append(np.diff(value["coverage"]) < 0, False)
    _write_numbers(left, value["coverage"], value["coverage"], falls, 5)
    _write_numbers(right, value["precision"], np.where(upwards, above, below), upwards, 0)
    for axes in (left, right):
        axes.set_xticks(place, [plain(number) for number in rounds])
        axes.set_xlim(-0.4, len(rounds) - 0.4)
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        axes.margins(y=0.25)
    return figure


def _write_numbers(
    axes: Axes, shares: np.ndarray, ends: np.ndarray, upwards: np.ndarray, right: float
) -> None:
    """Write each share above or below the end of its interval, so many points right of it, over what passes."""
    for at, (share, end, up) in enumerate(zip(shares, ends, upwards, strict=True)):
        axes.annotate(
            percent(share), (at, end), (right, 6 if up else -6), textcoords="offset points", size=9.5, color=INK,
            ha="left" if right else "center", va="bottom" if up else "top", bbox={"color": "white", "pad": 0.5},
            zorder=3,
        )  # fmt: skip


def imbalance(count: np.ndarray) -> str:
    """Return the size of the largest class over that of the smallest, as text."""
    if not count.max():
        return "no labels"
    return f"{count.max() / count.min():.1f}" if count.min() else "infinite (an empty class)"


def _columns(rows: Sequence[Mapping]) -> dict[str, np.ndarray]:
    if not rows:
        raise NsfastError("no class to show; give one row per class")
    return {
        name: np.array([row[name] for row in rows], dtype=np.int64) for name in ("kept", "dropped", "copies")
    }
