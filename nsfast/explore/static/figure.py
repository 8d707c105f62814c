"""A figure with few colours and a headline, and panels below it that have their own."""

from __future__ import annotations

import io
import textwrap

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import FigureBase
from PIL import Image

from nsfast.analysis.figures.page import INK, WIDTH, NotebookFigure, plain

LETTERS = 122
"""Of a line as wide as the figure."""
MARGIN = 0.06
"""Inches around everything."""


class SmallFigure(NotebookFigure):
    """A figure whose PNG has 256 colours, which makes one with photographs a third as large.

    Args:
        height, width: in inches, without the margin at top and bottom.
        dpi: pixels of an inch.
    """

    def __init__(self, height: float, width: float = WIDTH, dpi: int = 100):
        height += 2 * MARGIN
        super().__init__(figsize=(width, height), dpi=dpi, layout="constrained", facecolor="white")
        x, y = MARGIN / width, MARGIN / height
        self.get_layout_engine().set(rect=(x, y, 1 - 2 * x, 1 - 2 * y))

    def png(self) -> bytes:
        """Return the figure as the bytes of a PNG."""
        canvas, buffer = FigureCanvasAgg(self), io.BytesIO()
        canvas.draw()  # once, where `savefig` draws twice
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        image = image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        image.save(buffer, "PNG")
        return buffer.getvalue()


class Head:
    """A title and what is said below it, wrapped.

    Args:
        title: one line.
        text: any length.
        columns: how many of them share the width.
        size: of the title, in points.
    """

    def __init__(self, title: str, text: str, columns: int = 1, size: float = 11):
        self.title, self.columns, self.size = title, columns, size
        self.lines = textwrap.wrap(text, LETTERS // columns - 4 * (columns - 1))

    @property
    def height(self) -> float:
        """Inches that it takes."""
        return self.size / 50 + 0.165 * len(self.lines)

    def draw(self, part: FigureBase) -> None:
        """Draw it into a part of a figure that is at least as high."""
        inches = part.bbox.height / part.dpi
        style = {"x": 0.012 * self.columns, "va": "top"}
        part.text(y=1, s=plain(self.title), size=self.size, weight="bold", color=INK, **style)
        below = 1 - self.size / 54 / inches
        part.text(y=below, s=plain("\n".join(self.lines)), size=9.5, color="#444444", **style)
