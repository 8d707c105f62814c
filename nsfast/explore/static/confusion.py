"""The confusion of labels with the truth, or with another model, as a map of counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import FigureBase

from nsfast.analysis.figures.page import INK, RIGHT, WRONG, plain, tidy

if TYPE_CHECKING:
    from nsfast.explore.core.charts import Confusion

SMALLEST = 5.0
"""Points; where a number had to be smaller to fit into its cell, none is written."""
LETTERS = 12
"""Of a class name."""


def draw_confusion(figure: FigureBase, found: Confusion) -> None:
    """Draw the counts, agreement in green and the rest in orange, each the darker the more pictures it stands for.

    Args:
        figure: where; the map fills it.
        found: what is counted.
    """
    axes = figure.add_subplot()
    counts, same = found.counts, np.array(found.rows)[:, None] == np.array(found.columns)
    rows, columns = counts.shape
    image = _colors(counts, same)
    axes.pcolormesh(image, edgecolors="#E6E6E6", linewidth=0.6)
    axes.set_ylim(rows, 0)
    across, down = ([plain(name, LETTERS) for name in names] for names in (found.columns, found.rows))
    letters = max(map(len, across))
    upright = columns > 12 or letters > 3
    width = figure.bbox.width / figure.dpi - 0.5 - 0.09 * max(map(len, down))
    height = figure.bbox.height / figure.dpi - 0.4 - (0.09 * letters if upright else 0.2)
    cell = 72 * width / columns, 72 * height / rows
    texts, size = _numbers(counts, *cell)
    for (row, column), text in texts.items():
        dark = image[row, column] @ (0.299, 0.587, 0.114) < 0.5
        style = {"ha": "center", "va": "center", "size": size, "color": "white" if dark else INK}
        axes.text(column + 0.5, row + 0.5, text, weight="normal" if same[row, column] else "bold", **style)
    tidy(axes, "label now", found.against, grid="")
    for axis, names, space in ((axes.xaxis, across, cell[0]), (axes.yaxis, down, cell[1])):
        axis.set_ticks(np.arange(len(names)) + 0.5, names)
        axis.set_tick_params(labelsize=min(9.5, 0.85 * space), length=0)
    axes.tick_params(axis="x", labelrotation=90 if upright else 0)


def _colors(counts: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Of each cell, float (rows, columns, 3)."""
    image = np.ones((*counts.shape, 3))
    for cells, color, strongest in ((same, RIGHT, 0.6), (~same, WRONG, 1.0)):
        share = np.sqrt(np.where(cells, counts, 0) / max(counts[cells].max(initial=0), 1))
        image -= strongest * share[..., None] * (1 - np.array(to_rgb(color)))
    return image


def _numbers(counts: np.ndarray, width: float, height: float) -> tuple[dict[tuple[int, int], str], float]:
    """The numbers by their cell, in full or shortened as they fit, and their size in points."""
    for write, smallest in (("{:,}".format, 7.0), (short, SMALLEST)):
        texts = {
            (row, column): write(int(counts[row, column])) for row, column in np.argwhere(counts).tolist()
        }
        size = min(9.0, 0.75 * height, width / (0.68 * max(map(len, texts.values()), default=1)))
        if size >= smallest:
            return texts, size
    return {}, SMALLEST


def short(count: int) -> str:
    """Return a count in at most four characters: 950, 9.5k, 950k, 9.5M."""
    for unit, of in (("M", 1_000_000), ("k", 1000)):
        if count >= 0.9995 * of:
            return f"{count / of:.1f}{unit}" if count < 9.95 * of else f"{count / of:.0f}{unit}"
    return str(count)
