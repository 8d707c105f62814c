"""The figure of accuracy on the line: error on corrupted pictures against error on clean ones."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sin

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from nsfast.analysis.figures.marks import LONGEST, Rows, distinct, number, require
from nsfast.analysis.figures.page import FAINT, INK, model_styles, new_figure, percent, plain, tidy

TICKS = (
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.03,
    0.05,
    0.1,
    0.15,
    0.2,
    0.3,
    0.4,
    0.5,
    0.6,
    0.7,
    0.8,
    0.9,
    0.95,
    0.98,
)
X = ("clean_error", "clean_low", "clean_high")
Y = ("corruption_error", "low", "high")
DISTANCES, DIRECTIONS = (7, 12, 18, 26, 36, 48, 62, 80), 16
"""Points of the page from a dot to its name, and directions, that are tried for a free place."""
NEAR = 12
"""Points up to which a name needs no line to its dot."""


def accuracy_on_the_line(rows: Rows) -> Figure:
    """Return each model's error on corrupted pictures against that on clean ones, and the line through the control.

    The axes count log-odds, in which models that are only better all round lie on one line (Miller et al. 2021,
    2107.04649); one below it is more robust than its accuracy on clean pictures foretells.

    Args:
        rows: one per model with `model`, `n`, `clean_error` with its interval `clean_low`, `clean_high`,
            `corruption_error` with its interval `low`, `high`, and `expected_error` (on the line, at the model's clean
            error), all 0 to 1 and what is not known left out, as `analysis.robustness.line_rows` gives them.
    """
    require(rows, "model")
    styles = model_styles(distinct(rows, "model"))
    figure = new_figure(
        4.6, "Is a model more robust than its accuracy on clean pictures foretells?", _answer(rows)
    )
    axes = figure.add_subplot()
    for row in rows:
        style, x, y = styles[row["model"]], *_inside(row, "clean_error", "corruption_error")
        ends = np.array([_inside(row, "clean_low", "low"), _inside(row, "clean_high", "high")])
        across, along = np.nan_to_num(np.abs(ends - (x, y))).T
        axes.errorbar(
            x, y, xerr=across[:, None], yerr=along[:, None], fmt=style["marker"], color=style["color"], markersize=8,
            elinewidth=1.4, zorder=3,
        )  # fmt: skip
    axes.set(xscale="logit", yscale="logit")
    limits = [_limits(rows, names) for names in (X, Y)]
    axes.set(xlim=limits[0], ylim=limits[1])
    for axis, (low, high) in zip((axes.xaxis, axes.yaxis), limits, strict=True):
        ticks = [tick for tick in TICKS if low <= tick <= high]
        axis.set_ticks(ticks, [percent(tick, 0 if tick >= 0.01 else 1) for tick in ticks])
    axes.minorticks_off()
    _draw_line(axes, rows, limits[0])
    tidy(axes, "error on clean pictures", "mean error on corrupted pictures", grid="both")
    figure.legend(loc="outside lower center", ncols=2, fontsize=10, frameon=False)
    _write_beside(figure, axes, [plain(row["model"], LONGEST) for row in rows], rows)
    return figure


def _draw_line(axes: Axes, rows: Rows, limits: tuple[float, float]) -> None:
    """Draw the line of slope 1 in log-odds on which the expected errors lie, and that of equal errors."""
    x = np.linspace(*limits, 200)
    line = {"color": FAINT, "scalex": False, "scaley": False}
    known = next((row for row in rows if not np.isnan(number(row.get("expected_error")))), None)
    if known is not None:
        step = _log_odds(number(known["expected_error"])) - _smoothed(
            number(known["clean_error"]), known["n"]
        )
        y = 1 / (1 + np.exp(-_log_odds(x) - step))
        axes.plot(x, y, linewidth=1.3, linestyle=(0, (4, 3)), label="as the control foretells", **line)
    axes.plot(x, x, linewidth=1, linestyle=(0, (1, 2)), label="no worse than on clean pictures", **line)


def _write_beside(figure: Figure, axes: Axes, names: Sequence[str], rows: Rows) -> None:
    """Write each name beside its point, where it touches no other name, point, interval or line."""
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # another size of dots would move the points a little under their names
    renderer, scale = figure.canvas.get_renderer(), figure.dpi / 72
    taken, points = [], []
    for row in rows:
        middle, low, high = (axes.transData.transform(_inside(row, *pair)) for pair in zip(X, Y, strict=True))
        low, high = (np.where(np.isnan(end), middle, end) for end in (low, high))
        points.append(middle)
        taken.append(Bbox([middle - 6 * scale, middle + 6 * scale]))
        taken += [Bbox([(low[0], middle[1] - 2), (high[0], middle[1] + 2)])]
        taken += [Bbox([(middle[0] - 2, low[1]), (middle[0] + 2, high[1])])]
    for line in axes.lines:
        if len(line.get_xdata()) > 1:
            taken += [Bbox([at - 2, at + 2]) for at in axes.transData.transform(line.get_xydata())]
    for name, point in zip(names, points, strict=True):
        text = axes.text(0, 0, name, size=10, color=INK, ha="center", va="center", transform=None)
        text.set_in_layout(False)
        size = text.get_window_extent(renderer).size + 3
        place = point + (0, size[1])
        for distance in DISTANCES:
            if (free := _free(point, size, distance * scale, axes.bbox, taken)) is not None:
                place = free
                break
        text.remove()
        arrow = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.8} if distance > NEAR else None
        axes.annotate(
            name, axes.transData.inverted().transform(point), (place - point) / scale, textcoords="offset points",
            size=10, color=INK, ha="center", va="center", arrowprops=arrow,
        ).set_in_layout(False)  # fmt: skip
        taken.append(_box(place, *size))


def _free(point: np.ndarray, size: tuple[float, float], distance: float, page: Bbox, taken: Sequence[Bbox]):
    """Return the middle of a free box of that size at that distance from a point, rather right of it, or None."""
    for turn in sorted(range(DIRECTIONS), key=lambda turn: min(turn, DIRECTIONS - turn)):
        angle = 2 * pi * turn / DIRECTIONS
        away = np.array([cos(angle), sin(angle)])
        place = point + away * (distance + np.array(size) / 2)
        box = _box(place, *size)
        inside = page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
        if inside and not any(box.overlaps(other) for other in taken):
            return place
    return None


def _box(middle: np.ndarray, width: float, height: float) -> Bbox:
    return Bbox.from_bounds(middle[0] - width / 2, middle[1] - height / 2, width, height)


def _inside(row, *names: str) -> tuple[float, ...]:
    """Return errors of a row, half a picture away from 0 and 1, where log-odds end."""
    edge = 0.5 / row["n"]
    return tuple(float(np.clip(number(row.get(name)), edge, 1 - edge)) for name in names)


def _log_odds(error):
    return np.log(error / (1 - error))


def _smoothed(error: float, n: int) -> float:
    """Log-odds of an error with half a picture added on either side, as `line_rows` takes them."""
    return _log_odds((n * error + 0.5) / (n + 1))


def _limits(rows: Rows, names: Sequence[str]) -> tuple[float, float]:
    """Return the ends of an axis: those of the intervals and a margin in log-odds."""
    every = np.array([_inside(row, *names) for row in rows])
    ends = _log_odds(np.array([np.nanmin(every), np.nanmax(every)]))
    ends += np.array([-1, 1]) * max(0.25, 0.12 * (ends[1] - ends[0]))
    return tuple(1 / (1 + np.exp(-ends)))


def _answer(rows: Rows) -> str:
    more = [row["model"] for row in rows if number(row.get("residual_low")) > 0]
    less = [row["model"] for row in rows if number(row.get("residual_high")) < 0]
    if all(np.isnan(number(row.get("residual"))) for row in rows):
        return "Further down is more robust, further left more accurate. Bars are 95 % intervals."
    said = f"More robust than the control foretells (below its line): {_few(more)}; less: {_few(less)}."
    return f"{said} Bars are 95 % intervals."


def _few(models: Sequence) -> str:
    return (
        ", ".join(map(str, models)) if 0 < len(models) <= 6 else f"{len(models)} models" if models else "none"
    )
