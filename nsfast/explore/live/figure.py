"""The figure of the live explorer: the histogram with the threshold beside one chart; a click on a mark selects."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from nsfast.errors import NsfastError, choice
from nsfast.explore.core import charts
from nsfast.explore.core.charts import TRUTH
from nsfast.explore.core.labels import PseudoLabels
from nsfast.explore.core.preview import ThresholdPreview
from nsfast.explore.live import accuracy_views, views
from nsfast.explore.live.layout import figure_layout, line_at, view_layout
from nsfast.explore.live.panel import themed
from nsfast.explore.live.view import View
from nsfast.explore.live.views import encircled

if TYPE_CHECKING:
    from ipywidgets import VBox
    from plotly.graph_objects import FigureWidget

    from nsfast.labels.quality.estimate import Validation

CONFIDENCE, MAP = "confidence", "map"
COMPARING = ("confusion", "changed")
HINTS = {
    "classes": ("what is kept, dropped and copied", "click a bar"),
    "confusion": ("what is taken for what", "click a cell"),
    "reliability": ("how often labels of some confidence are right", "click a point or a bar"),
    "precision": ("how often labels that reach a threshold are right", "click a point"),
    "changed": ("sure labels that are another one elsewhere", "click a bar"),
    "map": ("alike pictures lie together", "encircle points, or click one"),
}
"""Of each chart, what it shows and what can be done."""


class ChartFigure:
    """The histogram of confidence beside one chart, and buttons to choose the chart.

    Args:
        labels: the pseudo-labels.
        preview: what any threshold makes of them.
        threshold: to begin with, 0 to 1.
        validation: of which reliability is shown where the truth is not known.
    """

    def __init__(
        self,
        labels: PseudoLabels,
        preview: ThresholdPreview,
        threshold: float,
        validation: Validation | None = None,
    ):
        self._labels, self._validation = labels, validation
        self._preview, self._threshold = preview, threshold
        self._select: list[Callable[[dict[str, Any]], None]] = []
        self._drag: list[Callable[[float], None]] = []
        self._traces: dict[str, Sequence[Any]] = {}  # of each chart that has been drawn
        self._shown: dict[str, View] = {}
        self._last_edit: int | None = None  # that a page has drawn
        known = labels.truth is not None
        self.againsts = [TRUTH] * known + list(labels.others)
        """What labels can be held against: "truth" and the other models."""
        possible = {
            "classes": True,
            "confusion": bool(self.againsts),
            "reliability": known or validation is not None,
            "precision": known,
            "changed": bool(self.againsts),
            "map": labels.embedding is not None,
        }
        self.views = [name for name in HINTS if possible[name]]
        """The charts that these labels allow."""
        self.view, self.against = self.views[0], self.againsts[0] if self.againsts else TRUTH

    def on_select(self, callback: Callable[[dict[str, Any]], None]) -> None:
        """Call a function with keywords of `select` when a mark is clicked or points are encircled."""
        self._select.append(callback)

    def on_threshold(self, callback: Callable[[float], None]) -> None:
        """Call a function with the threshold (0 to 1, two decimals) when its line has been dragged."""
        self._drag.append(callback)

    def show(self, view: str, against: str | None = None) -> None:
        """Choose the chart, and what labels are held against.

        Raises:
            NsfastError: these labels do not allow it.
        """
        choice("chart", view, self.views)
        against = self.against if against is None else choice("model", against, self.againsts)
        if "widget" in vars(self):
            self._models.value, self._buttons.value = against if self.againsts else None, view
        self.view, self.against = view, against

    def move(self, threshold: float) -> None:
        """Move the line of the threshold; nothing else is drawn again."""
        self._threshold = threshold
        if "widget" in vars(self):
            with self.figure.batch_update():
                self.figure.layout.shapes[0].update(line_at(threshold))
            self._keep(traces=False)

    def update(self, preview: ThresholdPreview, threshold: float) -> None:
        """Draw what has changed with the threshold, the way of balancing, or decisions."""
        self._preview = preview
        self.move(threshold)
        if "widget" in vars(self):
            self._draw_confidence()
            if self.view in ("classes", "changed"):
                self._draw_view()

    @cached_property
    def widget(self) -> VBox:
        """Buttons and figure; built when first asked for."""
        import ipywidgets as w
        from plotly.graph_objects import FigureWidget

        hints = [HINTS[name][0] for name in self.views]
        self._buttons = w.ToggleButtons(
            options=self.views, value=self.view, tooltips=hints, style={"button_width": "auto"}
        )
        self._models = w.Dropdown(
            options=self.againsts, value=self.against if self.againsts else None, description="against",
            style={"description_width": "initial"}, layout=w.Layout(width="190px"),
        )  # fmt: skip
        self._hint = w.HTML()
        self.figure: FigureWidget = FigureWidget(
            layout=figure_layout(len(self._labels.classes), self._threshold)
        )
        hooks = {"view": self._buttons, "against": self._models, "hint": self._hint, "figure": self.figure}
        for name, widget in hooks.items():
            widget.add_class(f"nsf-{name}")
        _configure(self.figure)
        self._draw_confidence()
        self._draw_view()
        self._buttons.observe(self._chosen, "value")
        self._models.observe(self._chosen, "value")
        self.figure.observe(self._seen, "_js2py_traceDeltas")
        self.figure.layout.on_change(self._shapes_changed, "shapes")
        self.figure.layout.on_change(self._encircled, "selections")
        row = w.Layout(flex_flow="row wrap", align_items="center", grid_gap="2px 12px", min_height="38px")
        return w.VBox([w.Box([self._buttons, self._models, self._hint], layout=row), self.figure])

    def _chosen(self, change: dict[str, Any]) -> None:
        before = self.view, self.against
        self.view, self.against = self._buttons.value, self._models.value or TRUTH
        if self.view != before[0] or (self.against != before[1] and self.view in COMPARING):
            self._draw_view()

    def _draw_confidence(self) -> None:
        self._draw(CONFIDENCE, views.confidence_view(charts.confidence_bins(self._labels), self._threshold))

    def _draw_view(self) -> None:
        self._models.layout.display = "" if self.view in COMPARING else "none"
        try:
            self._draw(self.view, self._view_of(self.view))
            self._hint.value = themed(HINTS[self.view][1])
        except NsfastError as error:
            self._hint.value = themed(str(error))

    def _view_of(self, name: str) -> View:
        labels = self._labels
        if name == "classes":
            return views.classes_view(self._preview.at(self._threshold))
        if name == "confusion":
            return views.confusion_view(charts.confusion(labels, self.against))
        if name == "reliability":
            known = labels.truth is not None
            return accuracy_views.reliability_view(
                charts.reliability(labels) if known else charts.reliability_of(self._validation)
            )
        if name == "precision":
            return accuracy_views.precision_view(charts.precision_by_threshold(labels))
        if name == "changed":
            return views.changes_view(charts.changes(labels, self.against, self._threshold, most=15))
        points = charts.embedding_points(labels)
        wrong = None if labels.truth is None else labels.truth[points.rows] != points.predicted
        return views.map_view(points, labels.classes, wrong)

    def _draw(self, name: str, view: View) -> None:
        """Draw a chart: its traces are added the first time, and after that changed in place."""
        figure, right = self.figure, name != CONFIDENCE
        axes = {"xaxis": "x2", "yaxis": "y2", "legend": "legend2"} if right else {}
        traces = [{**axes, **trace} for trace in view.traces]
        if name not in self._traces:
            self._traces[name] = self._added(name, traces)
        self._shown[name] = view
        with figure.batch_update():
            for drawn, trace in zip(self._traces[name], traces, strict=True):
                drawn.update({key: value for key, value in trace.items() if key != "type"}, visible=True)
                _unfade(drawn)
            for hidden in set(self._traces) - {name, CONFIDENCE} if right else ():
                for trace in self._traces[hidden]:
                    trace.visible = False
            figure.update_layout(view_layout(view, right))
        if right and "selections" in figure.layout.to_plotly_json():
            figure.plotly_relayout({"selections": []})
        self._keep()

    def _added(self, name: str, traces: list[dict[str, Any]]) -> Sequence[Any]:
        """Traces that have been added to the figure, unseen yet, and tell what is clicked."""
        self.figure.add_traces([{**trace, "visible": False} for trace in traces])
        added = self.figure.data[-len(traces) :]
        for number, trace in enumerate(added):
            trace.on_click(partial(self._clicked, name, number))
            if name != MAP or number:
                trace.on_selection(_unfade)
        return added

    def _clicked(self, name: str, number: int, trace: Any, points: Any, state: Any) -> None:
        """What plotly calls for every trace, whichever was clicked; that one alone has points."""
        if points.point_inds and name in (CONFIDENCE, self.view):
            self._ask(self._shown[name].selects(number, points.point_inds[0]))

    def _encircled(self, layout: Any, _: Any) -> None:
        """Select what lies in the outlines on the map.

        Plotly's event for that is lost where the mouse leaves a point before the kernel has answered; the outlines are
        not, though its objects do not know of them.
        """
        drawn = layout.to_plotly_json().get("selections", [])
        outlines = [outline["path"] for outline in drawn if "path" in outline and outline["xref"] == "x2"]
        if outlines and self.view == MAP:
            points = self._traces[MAP][0]
            inside = encircled(outlines, np.column_stack([points.x, points.y]))
            if len(inside):  # else what was chosen before stays
                self._ask(self._shown[MAP].selects(0, inside))

    def _ask(self, keywords: dict[str, Any] | None) -> None:
        for callback in self._select if keywords is not None else ():
            callback(keywords)

    def _shapes_changed(self, layout: Any, shapes: Any) -> None:
        line, before = shapes[0], self._threshold
        dragged = max(line.x0, line.x1, key=lambda x: abs(x - before))
        if dragged == before and line.x0 == line.x1 and (line.y0, line.y1) == (0, 1):
            return  # it was moved from here
        threshold = round(min(max(float(dragged), 0.0), 1.0), 2)
        self.move(threshold)  # upright again, where it was dragged up, down or by one of its ends
        if threshold != before:
            for callback in self._drag:
                callback(threshold)

    def _seen(self, change: dict[str, Any]) -> None:
        """A page has drawn the figure or an edit of it.

        A page that draws it the first time says so with the last edit, and does not know yet how wide the cell is; any
        change makes plotly look again.
        """
        edit = change["new"] and change["new"]["trace_edit_id"]
        if edit is None:
            return
        if self._last_edit in (None, edit):
            self.figure.layout.meta = (self.figure.layout.meta or 0) + 1
        self._last_edit = edit

    def _keep(self, traces: bool = True) -> None:
        """Keep what a front-end is given when it asks anew (the page was loaded again) as it is now.

        Before the first drawing it is sent, for until plotly.js is loaded changes are lost.
        """
        figure = self.figure
        layout = copy.deepcopy(figure._layout)
        data = copy.deepcopy(figure._data) if traces else figure._widget_data
        if self._last_edit is not None:
            figure._widget_layout.clear()
            figure._widget_layout.update(layout)
            figure._widget_data[:] = data
        else:
            figure._widget_layout, figure._widget_data = layout, data


def _unfade(trace: Any, *_: Any) -> None:
    """Show all points of a trace alike: encircling makes plotly fade whatever lies outside."""
    if "selectedpoints" in trace:
        trace.selectedpoints = None


def _configure(figure: FigureWidget) -> None:
    """Let the line be dragged, and have no button that sends the figure to a server."""
    buttons = [["toImage", "zoom2d", "pan2d", "lasso2d", "resetScale2d"]]
    figure._config = {
        "edits": {"shapePosition": True}, "showSendToCloud": False, "displaylogo": False, "modeBarButtons": buttons,
        "responsive": True, "typesetMath": False, "scrollZoom": False, "doubleClick": False,
    }  # fmt: skip
