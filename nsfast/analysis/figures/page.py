"""What every figure shares: the width of a notebook cell, the headline, Okabe & Ito's palette."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure

WIDTH = 8.5
"""Inches; 850 pixels at 100 dots an inch."""

INK, FAINT = "#222222", "#8A8A8A"
CONTROL, TEACHER = "#7F7F7F", "#0072B2"
STUDENTS = LinearSegmentedColormap.from_list("students", ["#F2A94E", "#D55E00", "#8A3000"])
RIGHT, WRONG = "#009E73", "#D55E00"
KEPT, DROPPED, COPIED = TEACHER, "#C9C9C9", "#CC79A7"
LABELED, PSEUDO_LABELED = "#56B4E9", "#E69F00"


class NotebookFigure(Figure):
    """A matplotlib figure that pyplot never sees: a notebook shows it by itself, `savefig` writes it."""

    def _repr_png_(self) -> bytes:
        return self.png()

    def png(self) -> bytes:
        """Return the figure as the bytes of a PNG."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def new_figure(
    height: float, question: str, answer: str = "", layout: str | None = "constrained"
) -> NotebookFigure:
    """Return a figure with a headline: the question it answers, and below it the answer in numbers.

    Args:
        height: of the part below the headline, in inches.
        question: one line.
        answer: any length; it is wrapped.
        layout: "constrained", or None when the caller places the axes below `figure.top` (0 to 1).
    """
    lines = textwrap.wrap(answer, 112)
    headline = 0.42 + 0.19 * len(lines)
    total = height + headline
    figure = NotebookFigure(figsize=(WIDTH, total), dpi=100, layout=layout, facecolor="white")
    figure.top = height / total
    if layout:
        figure.get_layout_engine().set(rect=(0.005, 0.01, 0.99, figure.top - 0.01))
    figure.text(0.012, 1 - 0.09 / total, plain(question), va="top", size=13, weight="bold", color=INK)
    figure.text(
        0.012, 1 - 0.36 / total, plain("\n".join(lines)), va="top", size=10, color="#444444", linespacing=1.25
    )
    return figure


def tidy(axes: Axes, x: str = "", y: str = "", title: str = "", grid: str = "y") -> None:
    """Label an axes in readable sizes, leave two spines, and lay a faint grid ("x", "y", "both", "")."""
    axes.set_xlabel(plain(x), size=10, color=INK)
    axes.set_ylabel(plain(y), size=10, color=INK)
    if title:
        axes.set_title(plain(title), size=11, color=INK, loc="left")
    axes.tick_params(labelsize=9.5, colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color="#E6E6E6", linewidth=0.8)


def plain(text: object, longest: int | None = None) -> str:
    """Return text as it is to be read: no `$` starts a formula, and it is cut to `longest` characters."""
    return shortened(text, longest).replace("$", r"\$")


def legend_name(text: object, longest: int | None = None) -> str:
    """Return text as it is to be read in a legend, from which matplotlib leaves out what begins with "_"."""
    text = plain(text, longest)
    return f" {text}" if text.startswith("_") else text


def shortened(text: object, longest: int | None = None) -> str:
    """Return text cut to `longest` characters, for a headline, which is escaped as a whole."""
    text = str(text)
    return text[: longest - 1] + "…" if longest and len(text) > longest else text


def percent(share: float, digits: int = 1) -> str:
    """Return a share (0 to 1) as a percentage, "-" for nan."""
    return "-" if share != share else f"{100 * share:.{digits}f} %"


def model_styles(names: Sequence[str]) -> dict[str, dict]:
    """Return colour and marker of each model: control gray, teacher blue, students from light to dark orange.

    Args:
        names: in the order of the rounds; one that says "control" or "teacher" is that, any other a student.
    """
    names = list(dict.fromkeys(names))
    students = [name for name in names if "control" not in name.lower() and "teacher" not in name.lower()]
    styles = {}
    for name in names:
        if name in students:
            place = students.index(name)
            share = place / (len(students) - 1) if len(students) > 1 else 0.5
            styles[name] = {"color": to_hex(STUDENTS(share)), "marker": "o^vPX<>*"[place % 8]}
        else:
            control = "control" in name.lower()
            styles[name] = {"color": CONTROL if control else TEACHER, "marker": "s" if control else "D"}
    return styles
