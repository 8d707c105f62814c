"""Figures of perturbation sequences: how often the answer flips while a picture changes a little."""

from __future__ import annotations

from matplotlib.figure import Figure

from nsfast.analysis.figures.marks import (
    Rows,
    distinct,
    dot_height,
    dot_panels,
    listed,
    model_legend,
    number,
    require,
)
from nsfast.analysis.figures.page import model_styles, new_figure

KINDS = {
    False: ("Against the frame before", "from frame to frame", "mean_other"),
    True: ("Noise: against the first, clean frame", "of noise against the first, clean frame", "mean_noise"),
}
"""By whether it is noise: the title of the panel, how the headline says it, and the perturbation that is the mean."""


def flip_bars(rows: Rows) -> Figure:
    """Return each model's flip probability for each perturbation with its interval, noise apart from the others.

    Flips of noise are counted against the first frame and those of the others against the frame before: the two do not
    mean the same and are in no mean together.

    Args:
        rows: of one set, one per model and perturbation with `model`, `perturbation`, `noise` (bool), `fp` and its
            interval `low`, `high` (0 to 1, or not known); the perturbations "mean_noise" and "mean_other" are the means
            over either kind, as `analysis.robustness.flip_rows` gives them. A "mean" over both is left out.
    """
    rows = [row for row in rows if row["perturbation"] != "mean"]
    require(rows, "model and perturbation")
    styles = model_styles(distinct(rows, "model"))
    panels, said = [], []
    for noise, (title, words, name) in KINDS.items():
        of_kind = [row for row in rows if bool(row["noise"]) is noise]
        mean = [dict(row, perturbation="mean") for row in of_kind if row["perturbation"] == name]
        chosen = [row for row in of_kind if row["perturbation"] != name] + mean
        if chosen:
            panels.append((title, chosen))
        if mean:
            said.append(f"Mean {words}: {listed({row['model']: number(row['fp']) for row in mean})}.")
    said.append("Bars are 95 % intervals.")
    figure = new_figure(
        dot_height(panels, "perturbation", len(styles)),
        "How often does the answer change while a picture changes a little?",
        " ".join(said),
    )
    dot_panels(figure, panels, ("perturbation", "fp"), styles, "flip probability", one_scale=False)
    model_legend(figure, styles, linestyle="")
    return figure
