"""Figures of robustness: errors on corrupted pictures, accuracy under attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from nsfast.analysis.figures.page import INK, model_styles, new_figure, percent, plain, tidy
from nsfast.errors import NsfastError

ATTACKS = {"fgsm": ("FGSM", "solid"), "random_sign": ("random signs of the same size", (0, (3, 2)))}


def robustness_curves(records: Sequence[Mapping]) -> Figure:
    """Return the error of each model against severity, a panel for each corruption.

    Args:
        records: one per model, corruption and severity (0 for clean pictures, 1 to 5) with `model`,
            `corruption`, `severity`, `error` and its interval `low`, `high` (0 to 1).
    """
    if not records:
        raise NsfastError("no measurement to show; give one record per model, corruption and severity")
    models = _distinct(records, "model")
    corruptions = _distinct(records, "corruption")
    styles = model_styles(models)
    mean = {
        model: np.mean(
            [record["error"] for record in records if record["model"] == model and record["severity"] > 0]
        )
        for model in models
    }
    columns = min(3, len(corruptions))
    rows = -(-len(corruptions) // columns)
    figure = new_figure(
        0.55 + 2.45 * rows,
        "How do errors grow as pictures get worse?",
        "C-style error, mean over the corruptions and severities shown: "
        + "; ".join(f"{model} {percent(share)}" for model, share in mean.items())
        + ".",
    )
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, corruption in zip(panels, corruptions, strict=False):
        for model in models:
            chosen = [r for r in records if r["model"] == model and r["corruption"] == corruption]
            _curve(axes, chosen, "severity", "error", styles[model], plain(model))
        tidy(axes, "severity", "error" if axes in panels[::columns] else "", corruption.replace("_", " "))
        axes.set_xticks(sorted({record["severity"] for record in records}))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.tick_params(labelbottom=True)
    for axes in panels[len(corruptions) :]:
        axes.set_axis_off()
    panels[0].set_ylim(bottom=0)
    handles = [line for line in panels[0].lines]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(5, len(models)), fontsize=10, frameon=False
    )
    return figure


def attack_curves(records: Sequence[Mapping]) -> Figure:
    """Return accuracy under attack against epsilon, with random signs of the same size as the control.

    Args:
        records: one per model, attack and epsilon with `model`, `attack` ("fgsm" or "random_sign"), `epsilon`
            (in steps of 1/255), `accuracy` and its interval `low`, `high` (0 to 1).
    """
    if not records:
        raise NsfastError("no measurement to show; give one record per model, attack and epsilon")
    models = _distinct(records, "model")
    styles = model_styles(models)
    epsilons = sorted({record["epsilon"] for record in records})
    place = {epsilon: at for at, epsilon in enumerate(epsilons)}
    worst = {
        model: [
            r["accuracy"]
            for r in records
            if r["model"] == model and r["attack"] == "fgsm" and r["epsilon"] == epsilons[-1]
        ]
        for model in models
    }
    shares = "; ".join(f"{model} {percent(values[0])}" for model, values in worst.items() if values)
    answer = f"Accuracy under FGSM with epsilon {epsilons[-1]:g}/255: {shares}." if shares else ""
    figure = new_figure(3.9, "How much accuracy does an attack take?", answer)
    axes = figure.add_subplot()
    for attack, (_, line) in ATTACKS.items():
        for model in models:
            chosen = [
                dict(r, place=place[r["epsilon"]])
                for r in records
                if r["model"] == model and r["attack"] == attack
            ]
            _curve(
                axes,
                chosen,
                "place",
                "accuracy",
                styles[model],
                plain(model) if attack == "fgsm" else None,
                line,
            )
    handles = [line for line in axes.lines if not line.get_label().startswith("_")]
    for label, line in ATTACKS.values():
        handles += axes.plot([], [], color=INK, linestyle=line, label=label)
    figure.legend(handles=handles, fontsize=10, frameon=False, loc="outside lower center", ncols=4)
    axes.set_xticks(range(len(epsilons)), [f"{epsilon:g}" for epsilon in epsilons])
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    tidy(axes, "epsilon: largest change of a pixel, in steps of 1/255", "accuracy")
    return figure


def _curve(
    axes, records: Sequence[Mapping], x: str, y: str, style: Mapping, label: str | None, line="solid"
) -> None:
    """Draw one model's curve with its interval as a band."""
    if not records:
        return
    records = sorted(records, key=lambda record: record[x])
    column = {name: np.array([record[name] for record in records], float) for name in (x, y, "low", "high")}
    axes.fill_between(column[x], column["low"], column["high"], color=style["color"], alpha=0.15, linewidth=0)
    axes.plot(column[x], column[y], linestyle=line, linewidth=1.8, markersize=5.5, label=label, **style)


def _distinct(records: Sequence[Mapping], name: str) -> list:
    return list(dict.fromkeys(record[name] for record in records))
