"""Figures of `labels.quality`: classes against the labeled ones, agreement between rounds, estimate against truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from nsfast.analysis.figures.labels import NAMED_CLASSES
from nsfast.analysis.figures.page import (
    DROPPED,
    FAINT,
    INK,
    KEPT,
    RIGHT,
    WRONG,
    new_figure,
    percent,
    plain,
    tidy,
)
from nsfast.errors import NsfastError

FEW = 10
"""Points that stand for fewer pictures are hollow: they say next to nothing."""


def classes_against_labeled(found: Mapping) -> Figure:
    """Return the classes of the pseudo-labels beside those of the labeled pictures, and the coverage of each.

    Args:
        found: what `labels.quality.quality` returned.
    """
    rows, distance = found["classes"], found["against_labeled"]
    answer = (
        f"{found['reached']:,} of {found['rows']:,} pseudo-labels ({_share(found['coverage'])}) reach the threshold. "
        f"Distance of their classes from the labeled ones' (total variation): "
        f"{_share(distance['predicted']['total_variation'])} for all, "
        f"{_share(distance['reached']['total_variation'])} for those."
    )
    if never := distance["never_reached"]:
        some = ", ".join(never[:3]) + (f" and {len(never) - 3:,} more" if len(never) > 3 else "")
        answer += f" {len(never):,} class{'es have' if len(never) > 1 else ' has'} none of those: {some}."
    question = "Do the pseudo-labels have the classes of the labeled pictures?"
    count = {name: np.array([row[name] for row in rows]) for name in ("labeled", "predicted", "reached")}
    share = {name: values / max(values.sum(), 1) for name, values in count.items()}
    coverage = np.array([np.nan if row["coverage"] is None else row["coverage"] for row in rows])
    if len(rows) > NAMED_CLASSES:
        figure = new_figure(3.9, question, answer + " Each line's classes are in an order of their own.")
        _draw_many(*figure.subplots(1, 2, width_ratios=(1.3, 1)), share, coverage)
    else:
        figure = new_figure(1.3 + 0.3 * len(rows), question, answer)
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.5, 1))
        _draw_named(left, right, share, coverage)
        left.set_yticks(np.arange(len(rows)), [plain(row["class"], 22) for row in rows])
    figure.legend(loc="outside lower left", ncols=3, fontsize=10, frameon=False)
    return figure


def _draw_named(left: Axes, right: Axes, share: Mapping[str, np.ndarray], coverage: np.ndarray) -> None:
    place = np.arange(len(coverage))
    left.barh(place - 0.2, share["predicted"], 0.38, color=DROPPED, label="pseudo-labels")
    left.barh(place + 0.2, share["reached"], 0.38, color=KEPT, label="those that reach the threshold")
    style = {"color": INK, "marker": "|", "markersize": 17, "markeredgewidth": 2.2, "linestyle": ""}
    left.plot(share["labeled"], place, label="labeled pictures", **style)
    right.barh(place, np.nan_to_num(coverage), 0.6, color=KEPT)
    for at in place:
        inside = coverage[at] > 0.75
        side = {"ha": "right" if inside else "left", "color": "white" if inside else INK}
        text = "no label" if np.isnan(coverage[at]) else percent(coverage[at], 0)
        place_x = np.nan_to_num(coverage[at]) + (-0.02 if inside else 0.02)
        right.text(place_x, at, text, va="center", size=9.5, **side)
    tidy(left, "share", "", "Share of each class", grid="x")
    tidy(right, "share of the class", "", "Reach the threshold", grid="x")
    left.set_xlim(0)
    left.set_ylim(len(place) - 0.4, -0.6)
    right.set_xlim(0, 1)
    for axes in (left, right):
        axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        axes.xaxis.set_major_locator(MaxNLocator(4))


def _draw_many(left: Axes, right: Axes, share: Mapping[str, np.ndarray], coverage: np.ndarray) -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = {name: share[name] / share["labeled"] for name in ("predicted", "reached")}
    finite = [ratio[np.isfinite(ratio) & (ratio > 0)] for ratio in ratios.values()]
    low, high = (f(np.concatenate([*finite, [0.5, 2.0]])) for f in (np.min, np.max))
    low, high = low / 1.3, high * 1.3
    labels = {"predicted": (FAINT, "pseudo-labels"), "reached": (KEPT, "those that reach the threshold")}
    place = np.arange(1, len(coverage) + 1)
    for name, (color, label) in labels.items():
        sizes = np.sort(np.where(np.isnan(ratios[name]), 1, ratios[name]))[::-1]
        left.plot(place, np.clip(sizes, low, high), color=color, linewidth=1.8, label=label)
    left.axhline(1, color=INK, linewidth=1, linestyle=(0, (4, 3)), label="labeled pictures")
    left.set_yscale("log")
    left.set_ylim(low, high)
    ticks = [t for t in (0.001, 0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100, 1000) if low <= t <= high]
    left.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    left.minorticks_off()
    right.plot(place, np.sort(np.nan_to_num(coverage))[::-1], color=KEPT, linewidth=1.8)
    right.set_ylim(0, 1.01)
    right.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    for axes in (left, right):
        axes.set_xlim(1, len(coverage))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    tidy(left, "classes", "times its share of labeled pictures", "Share of each class", grid="both")
    tidy(right, "classes", "share of the class", "Reach the threshold", grid="both")


def agreement_between_rounds(records: Sequence[Mapping]) -> Figure:
    """Return how many labels agree with those of the round before, and which classes change most in the last round.

    Args:
        records: what `labels.quality.quality` returned for each round, in order; the first has no round before.
    """
    later = [record for record in records if record["before"] is not None]
    if not later:
        raise NsfastError("no round to compare with the one before; show this from the second round on")
    last = later[-1]["before"]
    answer = (
        f"Round {later[-1]['round']}: {_share(last['agreement'])} of {last['both']:,} pictures have the class of round "
        f"{last['round']}, {_share(last['agreement_of_reached'])} of those that reach the threshold in both. "
        f"{last['gained']:,} reach it now, {last['lost']:,} no longer."
    )
    flips = last["flips"][:10]
    figure = new_figure(1.3 + 0.27 * max(len(flips), 7), "Do the labels still change?", answer)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    place = np.arange(len(later))
    lines = (
        ("agreement_of_reached", KEPT, "reach the threshold in both rounds", "o"),
        ("agreement", FAINT, "all", "s"),
    )
    for name, color, label, marker in lines:
        value = np.array([np.nan if r["before"][name] is None else r["before"][name] for r in later], float)
        left.plot(place, value, color=color, marker=marker, markersize=7, label=label)
        for at, one in zip(place, value, strict=True):
            if one == one:
                near = {"textcoords": "offset points", "size": 9.5, "color": INK, "ha": "center"}
                left.annotate(percent(one), (at, one), (0, 8 if name != "agreement" else -17), **near)
    left.set_xticks(place, [f"{r['before']['round']} to {r['round']}" for r in later])
    left.set_xlim(-0.5, len(later) - 0.5)
    left.margins(y=0.3)
    low, high = left.get_ylim()
    left.set_yticks([tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= 1])
    left.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    tidy(left, "rounds", "pictures with the same class", "Agreement")
    figure.legend(loc="outside lower left", ncols=2, fontsize=10, frameon=False)
    names = [f"{plain(flip['from'], 15)} → {plain(flip['to'], 15)}" for flip in flips]
    right.barh(np.arange(len(flips)), [flip["count"] for flip in flips], 0.7, color=WRONG)
    right.set_yticks(np.arange(len(flips)), names)
    right.set_ylim(max(len(flips), 1) - 0.4, -0.6)
    right.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    right.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if not flips:
        right.set_xticks([])
        right.text(0.5, 0.5, "none", transform=right.transAxes, ha="center", size=10, color=INK)
    of = f" of {last['flipped']:,}" if flips else ""
    tidy(right, f"pictures{of}", "", "Most frequent changes", grid="x")
    return figure


def estimated_and_true_precision(found: Mapping) -> Figure:
    """Return precision against threshold, estimated from validation and, where it is known, true; and reliability.

    Args:
        found: what `labels.quality.quality` returned, with an estimate or a truth.
    """
    estimate, truth = found["estimate"], found["truth"]
    if estimate is None and truth is None:
        raise NsfastError("neither validation pictures nor a truth; give quality() one of them")
    said = []
    if estimate is not None:
        said.append(f"Estimated from {estimate['n']:,} validation pictures: {_interval(estimate)}.")
    if truth is not None:
        said.append(
            f"True: {_interval(truth)}; {truth['no_class']:,} of {truth['reached']:,} are of no class."
        )
    if estimate is not None:
        said.append(
            "The estimate takes the pool to be like validation: pictures of no class make it too high."
        )
    limit = "their class's threshold" if found["thresholds"] else f"{found['threshold']:g}"
    question = f"How many of the pseudo-labels that reach {limit} are right?"
    figure = new_figure(3.9, question, " ".join(said))
    left, right = (figure.add_subplot(), None) if truth is None else figure.subplots(1, 2)
    for series, color, label, style in (
        (estimate, KEPT, "estimated", (0, (4, 2))),
        (truth, RIGHT, "true", "-"),
    ):
        if series is not None:
            _draw_by_threshold(left, series["by_threshold"], color, label, style)
    left.axvline(found["threshold"], color=INK, linewidth=1.4, zorder=1)
    left.set_xlim(0, 1)
    left.set_ylim(top=1.005)
    left.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    left.legend(fontsize=10, frameon=False, loc="lower right")
    tidy(left, "threshold", "share that is right", "Precision by threshold (95 % interval)", grid="both")
    if right is not None:
        _draw_reliability(right, truth["reliability"])
        ece = "" if truth["ece"] is None else f", ECE {truth['ece']:.3f}"
        tidy(right, "confidence", "share that is right", f"Reliability{ece}", grid="both")
    return figure


def _draw_by_threshold(axes: Axes, rows: Sequence[Mapping], color: str, label: str, style) -> None:
    rows = [row for row in rows if row["precision"] is not None]
    at = [row["threshold"] for row in rows]
    axes.fill_between(
        at, [row["low"] for row in rows], [row["high"] for row in rows], color=color, alpha=0.2, lw=0
    )
    axes.plot(
        at, [row["precision"] for row in rows], color=color, linewidth=1.8, linestyle=style, label=label
    )


def _draw_reliability(axes: Axes, rows: Sequence[Mapping]) -> None:
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    for row in rows:
        ends = np.abs(np.array([[row["low"]], [row["high"]]]) - row["accuracy"])
        face = RIGHT if row["pictures"] >= FEW else "white"
        axes.errorbar(
            row["confidence"], row["accuracy"], ends, fmt="o", color=RIGHT, markerfacecolor=face, markersize=6,
            elinewidth=1.4, capsize=3, clip_on=False,
        )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1.005))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, symbol=" %"))


def _share(value: float | None) -> str:
    return "none" if value is None else percent(value)


def _interval(row: Mapping) -> str:
    if row["precision"] is None:
        return "no label reaches it"
    return f"{percent(row['precision'])} ({percent(row['low'])} to {percent(row['high'])})"
