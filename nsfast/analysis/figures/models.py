"""Figures that compare models: accuracy, calibration, the course of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from nsfast.analysis.figures.page import (
    FAINT,
    INK,
    legend_name,
    model_styles,
    new_figure,
    percent,
    plain,
    shortened,
    tidy,
)
from nsfast.analysis.metrics import ReliabilityTable
from nsfast.errors import NsfastError

FEW = 10
"""Bins with fewer pictures are shown hollow and not joined: their accuracy says next to nothing."""
READING = (
    "Above the diagonal: underconfident; below: overconfident. Larger points stand for more pictures, "
    f"hollow ones for fewer than {FEW}; ECE is the mean distance."
)


def accuracy_by_model(records: Sequence[Mapping], where: str = "the test pictures") -> Figure:
    """Return the accuracy of each model with its interval.

    Args:
        records: one per model, in the order of the rounds, with `model`, `accuracy`, `low`, `high` (0 to 1;
            low and high may be nan).
        where: the pictures, for the headline.
    """
    if not records:
        raise NsfastError("no model to show; give one record per model")
    styles = model_styles([record["model"] for record in records])
    best = max(records, key=lambda record: record["accuracy"])
    figure = new_figure(
        0.75 + 0.42 * len(records),
        f"How accurate is each model on {where}?",
        f"Highest: {best['model']} with {percent(best['accuracy'])}. Bars are 95 % intervals.",
    )
    axes = figure.add_subplot()
    for place, record in enumerate(records):
        style, accuracy = styles[record["model"]], record["accuracy"]
        ends = [[accuracy - record["low"]], [record["high"] - accuracy]]
        axes.errorbar(
            accuracy, place, xerr=np.clip(ends, 0, None), fmt=style["marker"], color=style["color"],
            markersize=9, elinewidth=2.4, capsize=5,
        )  # fmt: skip
        axes.annotate(
            percent(accuracy), (accuracy, place), (0, 8), textcoords="offset points", ha="center", size=10
        )
    axes.set_yticks(range(len(records)), [plain(record["model"], 28) for record in records])
    axes.set_ylim(len(records) - 0.5, -0.7)
    axes.margins(x=0.08)
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    tidy(axes, "accuracy", grid="x")
    axes.tick_params(axis="y", labelsize=10.5)
    return figure


def reliability_diagram(tables: Mapping[str, ReliabilityTable]) -> Figure:
    """Return accuracy against confidence for each model, and below how many pictures stand behind each point.

    Args:
        tables: model name to `metrics.reliability_table`.
    """
    figure = new_figure(6.0, "Are the models as often right as they are confident?", READING)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    handles = _draw_reliability(upper, lower, tables)
    for handle, (name, table) in zip(handles[1:], tables.items(), strict=True):
        error = f"{table.expected_calibration_error:.3f}"
        handle.set_label(legend_name(f"{name}: ECE {error}, n = {table.count.sum():,}"))
    upper.legend(handles=handles, fontsize=10, frameon=False, loc="lower right")
    tidy(upper, "", "accuracy", grid="both")
    tidy(lower, "confidence", "pictures")
    return figure


def reliability_under_corruption(tables: Mapping[str, Mapping[str, ReliabilityTable]]) -> Figure:
    """Return the reliability of each model on clean pictures and, beside it, on corrupted ones.

    Args:
        tables: for each model by what the pictures are, such as "clean" and "corrupted", `metrics.reliability_table`;
            the same for all models.
    """
    if not tables:
        raise NsfastError("no model to show; give the reliability tables of each model")
    sets = list(next(iter(tables.values())))
    for name, of_model in tables.items():
        if set(of_model) != set(sets):
            raise NsfastError(
                f"{name} has tables of {', '.join(of_model) or 'nothing'}, others of {', '.join(sets)}; "
                "give the same for each model"
            )
    figure = new_figure(5.4, "Do the models know when corrupted pictures make them wrong?", READING)
    grid = figure.subplots(2, len(sets), sharex=True, sharey="row", squeeze=False, height_ratios=(3.2, 1))
    for at, ((upper, lower), kind) in enumerate(zip(grid.T, sets, strict=True)):
        of_kind = {name: of_model[kind] for name, of_model in tables.items()}
        handles = _draw_reliability(upper, lower, of_kind)
        total = max(table.count.sum() for table in of_kind.values())
        tidy(upper, "", "" if at else "accuracy", f"{kind} (n = {total:,})", grid="both")
        tidy(lower, "confidence", "" if at else "pictures")
    for handle, (name, of_model) in zip(handles[1:], tables.items(), strict=True):
        errors = ", ".join(f"{of_model[kind].expected_calibration_error:.3f} {kind}" for kind in sets)
        handle.set_label(legend_name(f"{shortened(name, 24)}: ECE {errors}"))
    figure.legend(handles=handles, fontsize=10, frameon=False, loc="outside lower center", ncols=2)
    return figure


def _draw_reliability(upper: Axes, lower: Axes, tables: Mapping[str, ReliabilityTable]) -> list[Line2D]:
    """Draw accuracy against confidence and, below it, the pictures of each bin; return what goes into a legend."""
    if not tables:
        raise NsfastError("no model to show; give one reliability table per model")
    styles = model_styles(list(tables))
    handles = upper.plot(
        [0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)), label="perfectly calibrated"
    )
    for name, table in tables.items():
        style, full = styles[name], table.count > 0
        share = table.count[full] / table.count.sum()
        many = table.count >= FEW
        upper.plot(table.confidence[many], table.accuracy[many], color=style["color"], linewidth=1.6)
        upper.scatter(
            table.confidence[full], table.accuracy[full], s=22 + 260 * share, marker=style["marker"],
            zorder=3, facecolor=np.where(many[full], style["color"], "white"), clip_on=False,
            edgecolor=np.where(many[full], "white", style["color"]), linewidth=np.where(many[full], 0.7, 1.3),
        )  # fmt: skip
        handles += upper.plot([], [], markersize=7, **style)
        lower.stairs(table.count, table.edges, color=style["color"], linewidth=1.8)
    upper.set(xlim=(0, 1), ylim=(0, 1))
    lower.set_yscale("symlog", linthresh=1)
    lower.set_ylim(0)
    most = max(int(table.count.max()) for table in tables.values())
    ticks = [tick for tick in (0, 1, 10, 100, 1000, 10_000, 100_000, 1_000_000) if tick <= most]
    lower.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    lower.minorticks_off()
    return handles


def training_curves(history: Mapping[str, Sequence[Mapping]]) -> Figure:
    """Return loss and validation accuracy over the epochs, for each model.

    Args:
        history: model name to one row per epoch with `epoch`, `train_loss`, `validation_loss` and
            `validation_accuracy` (0 to 1), as `history.csv` holds them.
    """
    if not any(history.values()):
        raise NsfastError("no epoch to show; give each model's history, one row per epoch")
    styles = model_styles(list(history))
    last = "; ".join(
        f"{name} {percent(rows[-1]['validation_accuracy'])}" for name, rows in history.items() if rows
    )
    figure = new_figure(3.7, "How did training go?", f"Validation accuracy after the last epoch: {last}.")
    left, right = figure.subplots(1, 2)
    for name, rows in history.items():
        if not rows:
            continue
        column = {key: [row[key] for row in rows] for key in rows[0]}
        style = {"color": styles[name]["color"], "marker": styles[name]["marker"], "markersize": 5}
        style["markevery"] = [len(rows) - 1]
        left.plot(
            column["epoch"], column["train_loss"], color=style["color"], linewidth=1.2, linestyle=(0, (3, 2))
        )
        left.plot(column["epoch"], column["validation_loss"], linewidth=1.8, **style)
        right.plot(column["epoch"], column["validation_accuracy"], linewidth=1.8, label=plain(name), **style)
    left.plot([], [], color=INK, linewidth=1.8, label="validation")
    left.plot([], [], color=INK, linewidth=1.2, linestyle=(0, (3, 2)), label="training (noised)")
    left.legend(fontsize=10, frameon=False)
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    left.set_ylim(bottom=0)
    right.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    tidy(left, "epoch", "loss", "Loss")
    tidy(right, "epoch", "accuracy", "Validation accuracy")
    figure.legend(
        loc="outside lower center",
        ncols=min(5, len(history)),
        fontsize=10,
        frameon=False,
        handles=right.lines,
    )
    return figure
