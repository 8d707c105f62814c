"""What is chosen for balancing, and what comes of it: threshold, number per class, method, sentences, a table."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from traitlets import Any as AnyTrait
from traitlets import Float, HasTraits, observe, validate

from nsfast.errors import NsfastError
from nsfast.explore.core.preview import ThresholdPreview
from nsfast.explore.core.threshold_table import ThresholdTable
from nsfast.explore.static.summary import classes_html, describe
from nsfast.labels.balancing.balance import MOST, NUMBERS, Balancing
from nsfast.labels.quality.estimate import PrecisionFit

if TYPE_CHECKING:
    from ipywidgets import HTML, VBox

    from nsfast.labels.quality.estimate import Validation

A_NUMBER = "a number"
THEME = "color: var(--jp-ui-font-color1, inherit); line-height: 1.35"
METHODS = (
    ("top: the surest (paper)", "top"),
    ("official: the released code", "official"),
    ("none: only filter", "none"),
)


class ThresholdPanel(HasTraits):
    """Choose threshold, number per class and method, and see at once what is kept.

    Each trait follows its widget and moves it. `how` is the balancing that comes of them; while they do not go
    together it stays as it was, and the summary says why.

    Args:
        preview: the pseudo-labels.
        how: where to begin; what has no widget (floor, max_copies, thresholds, seed, ...) stays as it is here.
        labeled: int (classes,), how many labeled pictures each class has.
        validation: what precision is estimated from where the truth is not known.
    """

    threshold = Float(0.3, min=0.0, max=1.0, help="smallest confidence that is kept, 0 to 1")
    per_class = AnyTrait("paper", help='pictures of each class: a number, "paper", "largest" or "auto"')
    method = AnyTrait("top", help='"top", "official" or "none"')
    how = AnyTrait(read_only=True, help="the `Balancing` that is chosen")
    preview = AnyTrait(
        help="the `ThresholdPreview`; give another one when the labels have been counted again"
    )

    def __init__(
        self,
        preview: ThresholdPreview,
        how: Balancing | None = None,
        labeled: np.ndarray | None = None,
        validation: Validation | None = None,
    ):
        super().__init__()
        self._labeled = labeled
        self._fit = None if validation is None else PrecisionFit(validation)
        self._writing: list[Callable[[], None]] = []
        self.wrong = ""
        """Why what is chosen cannot be, in one sentence; "" where it can."""
        how = how or preview.how
        self.set_trait("how", how)
        self.threshold, self.per_class, self.method = how.threshold, how.per_class, how.method
        self.preview = preview  # only now there is something to show

    def on_write(self, callback: Callable[[], None]) -> None:
        """Call a function when what is chosen is to be written as parameters."""
        self._writing.append(callback)

    def say(self, text: str) -> None:
        """Show a line under the button, such as where the parameters went."""
        _ = self.widget  # where it is shown
        self._written.value = themed(text)

    @property
    def table(self) -> ThresholdTable:
        """What `how` keeps of each class."""
        return self._table

    @cached_property
    def classes(self) -> HTML:
        """The table of classes as a widget."""
        import ipywidgets as w

        found = w.HTML(self._classes_html())
        found.add_class("nsf-classes")
        return found

    @cached_property
    def widget(self) -> VBox:
        """Slider, number, method, button and summary; built when first asked for."""
        import ipywidgets as w
        from traitlets import link

        style = {"description_width": "initial"}
        slider = w.FloatSlider(
            value=self.threshold, min=0.0, max=1.0, step=0.01, description="threshold", readout_format=".2f",
            style=style, layout=w.Layout(width="340px"),
        )  # fmt: skip
        link((self, "threshold"), (slider, "value"))
        self._name = w.Dropdown(
            options=(*NUMBERS, A_NUMBER),
            description="N per class",
            style=style,
            layout=w.Layout(width="185px"),
        )
        self._number = w.BoundedIntText(min=1, max=MOST, layout=w.Layout(width="100px"))
        method = w.Dropdown(
            options=METHODS,
            value=self.method,
            description="method",
            style=style,
            layout=w.Layout(width="260px"),
        )
        link((self, "method"), (method, "value"))
        self._button = w.Button(
            description="write as parameters of 03_balancing", icon="save", layout=w.Layout(width="auto")
        )
        self._button.on_click(lambda _: [callback() for callback in self._writing])
        self._summary, self._written = w.HTML(), w.HTML()
        hooks = {"threshold": slider, "per-class": self._name, "number": self._number, "method": method}
        hooks |= {"write": self._button, "summary": self._summary, "written": self._written}
        for name, widget in hooks.items():
            widget.add_class(f"nsf-{name}")
        self._show_number()
        self._name.observe(self._number_chosen, "value")
        self._number.observe(self._number_chosen, "value")
        self._show()
        row = w.Layout(flex_flow="row wrap", align_items="center", grid_gap="2px 12px")
        controls = [slider, self._name, self._number, method, self._button, self._written]
        return w.VBox([w.Box(controls, layout=row), self._summary])

    @validate("per_class")
    def _per_class_given(self, proposal: dict[str, Any]) -> int | str:
        return Balancing(per_class=proposal["value"]).to_dict()["per_class"]

    @validate("method")
    def _method_given(self, proposal: dict[str, Any]) -> str:
        return Balancing(method=proposal["value"]).method

    @observe("preview", "threshold", "per_class", "method")
    def _chosen(self, change: dict[str, Any]) -> None:
        if self.preview is None:
            return
        try:
            how = replace(self.how, threshold=self.threshold, per_class=self.per_class, method=self.method)
            self.wrong = ""
        except NsfastError as error:
            how, self.wrong = self.how, str(error)
        self._table = self.preview.knowing(self._labeled, self._fit).asking(how).at(how.threshold)
        if "classes" in vars(self):
            self.classes.value = self._classes_html()
        if "widget" in vars(self):
            if change["name"] == "per_class":
                self._show_number()
            self._show()
        self.set_trait("how", how)

    def _number_chosen(self, change: dict[str, Any]) -> None:
        if self._name.value == A_NUMBER:
            self.per_class = self._number.value
        elif change["owner"] is self._name:
            self.per_class = self._name.value

    def _show_number(self) -> None:
        if isinstance(self.per_class, int):
            self._number.value = self.per_class  # before the name, which asks for it
        self._name.value = A_NUMBER if isinstance(self.per_class, int) else self.per_class
        self._number.layout.display = "" if isinstance(self.per_class, int) else "none"

    def _show(self) -> None:
        if isinstance(self.per_class, str):
            self._number.value = max(self._table.per_class, 1)  # where a number would begin
        self._button.disabled = bool(self.wrong)
        self._summary.value = (
            themed(self.wrong) if self.wrong else themed(describe(self._table), f"N: {self._table.why}.")
        )

    def _classes_html(self) -> str:
        return f'<div style="{THEME}">{classes_html(self._table)}</div>' if not self.wrong else ""


def themed(*lines: str) -> str:
    """Lines of text in the colour of the front-end's theme; what is in them is escaped."""
    return f'<div style="{THEME}">{"<br>".join(html.escape(line) for line in lines)}</div>'
