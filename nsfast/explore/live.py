"""The explorer with a slider where a front-end is there to move it; a picture and a sentence elsewhere."""

from __future__ import annotations

import asyncio
import base64
import html
import os
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from traitlets import Float, HasTraits, observe

from nsfast.analysis.figures.page import percent
from nsfast.errors import choice, within
from nsfast.explore.core import ThresholdPreview, ThresholdTable
from nsfast.explore.static import describe, threshold_figure

if TYPE_CHECKING:
    from ipywidgets import VBox

FRONT_ENDS = ("JPY_SESSION_NAME", "VOILA_KERNEL_ID", "VSCODE_PID")
"""Variables that JupyterLab and Notebook, Voila and VS Code set for their kernels; papermill sets none."""

REST = 0.25
"""Seconds the slider has to stand still before the picture is drawn again."""


def display_mode(environment: Mapping[str, str] | None = None) -> str:
    """Return "live" or "static".

    `NSFAST_DISPLAY` decides when it is "live" or "static"; with "auto", or unset, the kernel is live when a
    front-end has left one of `FRONT_ENDS` in the environment.

    Args:
        environment: `os.environ` when left out.

    Raises:
        NsfastError: another value of NSFAST_DISPLAY.
    """
    environment = os.environ if environment is None else environment
    asked = choice("NSFAST_DISPLAY", environment.get("NSFAST_DISPLAY", "auto"), ("auto", "live", "static"))
    if asked != "auto":
        return asked
    return "live" if any(environment.get(name) for name in FRONT_ENDS) else "static"


class ThresholdExplorer(HasTraits):
    """Try thresholds on pseudo-labels and see what is kept, class by class.

    Leave it as the last line of a cell. Its trait `threshold` follows the slider and moves it; `observe` and
    `link` of traitlets work on it. In static mode (see `display_mode`) no widget is ever built.

    Args:
        preview: the pseudo-labels.
        threshold: to begin with, 0 to 1.
    """

    threshold = Float(0.3, min=0.0, max=1.0, help="smallest confidence that is kept, 0 to 1")

    def __init__(self, preview: ThresholdPreview, threshold: float = 0.3):
        super().__init__(threshold=within("threshold", threshold, 0, 1))
        self.preview = preview
        self._pending: asyncio.TimerHandle | None = None

    @property
    def table(self) -> ThresholdTable:
        """What the present threshold keeps."""
        return self.preview.at(self.threshold)

    @cached_property
    def widget(self) -> VBox:
        """Slider, table and picture; built when first asked for."""
        import ipywidgets
        from traitlets import link

        slider = ipywidgets.FloatSlider(
            value=self.threshold,
            min=0.0,
            max=1.0,
            step=0.01,
            description="threshold",
            readout_format=".2f",
            layout=ipywidgets.Layout(width="90%", max_width="600px"),
        )
        slider.add_class("nsf-threshold")
        link((self, "threshold"), (slider, "value"))
        self._summary = ipywidgets.HTML(summary_html(self.table))
        self._summary.add_class("nsf-summary")
        self._picture = ipywidgets.Image(
            value=self.png(), format="png", layout=ipywidgets.Layout(max_width="100%", object_fit="contain")
        )
        self._picture.add_class("nsf-picture")
        return ipywidgets.VBox([slider, self._summary, self._picture])

    def png(self) -> bytes:
        """Return the picture of the present threshold, as PNG."""
        return threshold_figure(self.preview, self.threshold).png()

    @observe("threshold")
    def _threshold_changed(self, change: dict) -> None:
        if "widget" not in vars(self):
            return
        self._summary.value = summary_html(self.table)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel: a script or a test
            self._draw()
            return
        if self._pending:
            self._pending.cancel()
        self._pending = loop.call_later(REST, self._draw)

    def _draw(self) -> None:
        self._picture.value = self.png()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """What a notebook stores and shows: always a picture and a text, when live the widget beside them."""
        bundle = {
            "image/png": base64.b64encode(self.png()).decode("ascii"),
            "text/plain": describe(self.table),
        }
        if display_mode() == "live":
            view = "application/vnd.jupyter.widget-view+json"
            bundle[view] = self.widget._repr_mimebundle_()[view]
        return bundle


def summary_html(table: ThresholdTable) -> str:
    """Return the table as HTML: a row per class and the totals; class names are escaped.

    Only the 30 largest classes have a row when there are more.
    """
    rows = table.rows()
    shown = sorted(rows, key=lambda row: -row["predicted"])[:30] if len(rows) > 30 else rows
    known = table.right is not None
    heads = ["class", "above", "kept", "dropped", "copies"] + ["right of the kept"] * known
    lines = [_line("th", heads)]
    lines += [_line("td", _cells(row["class"], row, known)) for row in shown]
    if len(shown) < len(rows):
        lines.append(_line("td", [f"and {len(rows) - len(shown)} smaller classes"]))
    lines.append(_line("th", _cells("all classes", table.totals(), known)))
    body = "".join(lines)
    return f"<div>{html.escape(describe(table))}</div><table>{body}</table>"


def _cells(name: str, row: Mapping[str, Any], known: bool) -> list[str]:
    cells = [name, *(f"{row[key]:,}" for key in ("above", "kept", "dropped", "copies"))]
    if known:
        interval = f" ({percent(row['low'], 0)} to {percent(row['high'], 0)})" if row["kept"] else ""
        cells.append(percent(row["precision"]) + interval)
    return cells


def _line(tag: str, cells: list[str]) -> str:
    style = 'style="padding: 1px 10px; text-align: right"'
    return "<tr>" + "".join(f"<{tag} {style}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
