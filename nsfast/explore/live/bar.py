"""The selection as widgets: order and conditions for a keyboard, and the call that makes the same selection."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from nsfast.explore.core.labels import PseudoLabels
from nsfast.explore.core.selection import DECISIONS, NO_CLASS, SORTS, Filter, Selection

ANY = "any"
FIRST = {
    "confidence": ("least sure first", "surest first"),
    "margin": ("smallest first", "largest first"),
    "entropy": ("largest first", "smallest first"),
    "quality": ("worst first", "best first"),
    "flips": ("most first", "fewest first"),
}


class SelectionBar:
    """Widgets that show a selection and ask for another one.

    Args:
        labels: what there is to choose from.
        ask: takes the conditions and the order (keywords of `select`) that are asked for.
    """

    def __init__(self, labels: PseudoLabels, ask: Callable[[dict[str, Any]], None]):
        import ipywidgets as w

        self._ask, self._labels, self._showing, self._extra = ask, labels, False, {}
        sorts = [name for name in SORTS if labels.has_scores or name not in ("margin", "entropy")]
        sorts = [name for name in sorts if name != "flips" or labels.rounds]
        narrow = {
            "layout": w.Layout(width="auto", max_width="250px"),
            "style": {"description_width": "initial"},
        }

        def dropdown(name: str, label: str, options: list) -> w.Dropdown:
            found = w.Dropdown(options=options, description=label, **narrow)
            found.add_class(f"nsf-{name}")
            found.observe(self._chosen, "value")
            return found

        classes = [(_cut(name), name) for name in labels.classes]
        self.sort = dropdown("sort", "sort by", sorts)
        self.order = dropdown("order", "", [("", False)])
        self.predicted = dropdown("predicted", "class", [(ANY, None), *classes])
        self.truth = dropdown("truth", "truth", [(ANY, None), *classes, (NO_CLASS, NO_CLASS)])
        self.only = dropdown("only", "only", [(ANY, None), *self._kinds()])
        self.decision = dropdown(
            "decision-filter", "decided", [(ANY, None), *((name, name) for name in DECISIONS)]
        )
        self.confidence = w.FloatRangeSlider(
            value=(0, 1), min=0, max=1, step=0.01, description="confidence", readout_format=".2f",
            continuous_update=False, layout=w.Layout(width="340px"), style={"description_width": "initial"},
        )  # fmt: skip
        self.confidence.add_class("nsf-confidence")
        self.confidence.observe(self._chosen, "value")
        everything = w.Button(description="all pictures", layout=w.Layout(width="auto"))
        everything.add_class("nsf-all")
        everything.on_click(lambda _: self._ask(self._ordered()))
        self.said = w.HTML()
        self.said.add_class("nsf-selection")
        row = w.Layout(flex_flow="row wrap", align_items="center", grid_gap="4px 10px")
        known = [self.predicted, *([self.truth] if labels.truth is not None else []), self.decision]
        self.widget = w.VBox(
            [
                w.Box([self.sort, self.order, self.confidence], layout=row),
                w.Box([*known, *([self.only] if len(self.only.options) > 1 else []), everything], layout=row),
                self.said,
            ]
        )

    def _kinds(self) -> list[tuple[str, tuple[str, Any]]]:
        """Conditions that depend on what is known."""
        found: list[tuple[str, tuple[str, Any]]] = []
        if self._labels.truth is not None:
            found += [("wrong labels", ("wrong", True)), ("right labels", ("wrong", False))]
        for name in self._labels.others:
            if name in self._labels.rounds and int(name.split()[1]) < self._labels.round:
                found.append((f"changed since {name}", ("changed_since_round", int(name.split()[1]))))
            else:
                found.append((f"other than {name}", ("disagrees_with", name)))
        return found

    def show(self, selection: Selection) -> None:
        """Show a selection; this asks for nothing."""
        filter = selection.filter
        self._showing = True
        try:
            if filter.sort not in self.sort.options:
                self.sort.options = (*self.sort.options, filter.sort)
            self.sort.value = filter.sort
            usual = filter.descending is None or filter.descending == (filter.sort in ("entropy", "flips"))
            first, second = FIRST[filter.sort]
            self.order.options = [(first, False), (second, True)]
            self.order.value = not usual
            self.predicted.value = _one(filter.predicted)
            self.truth.value = _one(filter.truth)
            self.decision.value = filter.decision
            self.confidence.value = filter.confidence or (0, 1)
            conditions = asdict(filter)
            kinds = [kind for _, kind in self._kinds() if conditions[kind[0]] == kind[1]]
            self.only.value = kinds[0] if kinds else None
            shown = {"sort", "descending", "confidence", "decision"} | ({kinds[0][0]} if kinds else set())
            shown |= {"predicted"} if self.predicted.value else set()
            shown |= {"truth"} if self.truth.value else set()
            default = asdict(Filter())
            self._extra = {
                name: getattr(filter, name)
                for name, value in conditions.items()
                if name not in shown and value != default[name]
            }
        finally:
            self._showing = False
        count = f"{len(selection):,} of {len(selection.labels):,} pictures"
        self.said.value = f"<b>{count}</b> &nbsp; <code>{html.escape(str(filter))}</code>"

    def _ordered(self) -> dict[str, Any]:
        """The order that is chosen, as keywords."""
        falling = self.sort.value in ("entropy", "flips")
        return {"sort": self.sort.value} | ({"descending": not falling} if self.order.value else {})

    def _chosen(self, change: dict) -> None:
        if self._showing:
            return
        asked = {
            **self._extra,
            **(self._ordered() if change["owner"] is not self.sort else {"sort": self.sort.value}),
        }
        low, high = self.confidence.value
        chosen = {"confidence": None if (low, high) == (0, 1) else (round(low, 4), round(high, 4))}
        chosen |= {name: getattr(self, name).value for name in ("predicted", "truth", "decision")}
        asked |= {name: value for name, value in chosen.items() if value is not None}
        if self.only.value:
            asked[self.only.value[0]] = self.only.value[1]
        self._ask(asked)


def _one(classes: Any) -> str | None:
    """A class, where it is one; classes may be given as numbers that are their names."""
    return None if classes is None or isinstance(classes, tuple) else str(classes)


def _cut(name: str) -> str:
    return name if len(name) <= 30 else f"{name[:29]}…"
