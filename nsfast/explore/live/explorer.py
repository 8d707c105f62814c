"""The explorer of pseudo-labels: the same selections and decisions by mouse, by keyboard and from Python."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from traitlets import Any as AnyTrait
from traitlets import Float, HasTraits, observe

from nsfast.errors import NsfastError, nearest, within
from nsfast.explore.core.labels import PseudoLabels
from nsfast.explore.core.preview import ThresholdPreview, ThresholdTable
from nsfast.explore.core.selection import Filter, Selection, select
from nsfast.explore.live.mode import display_mode
from nsfast.files import write_text
from nsfast.labels.balancing.balance import Balancing
from nsfast.labels.decisions import DecisionLog
from nsfast.labels.quality.estimate import PrecisionFit

if TYPE_CHECKING:
    from ipywidgets import VBox

    from nsfast.labels.decisions import Decisions
    from nsfast.labels.quality.estimate import Validation

CHOSEN = ("threshold", "per_class", "method")
"""What is chosen here of the parameters of 03_balancing."""


class Explorer(HasTraits):
    """See which pseudo-labels are good, and decide.

    Leave it as the last line of a cell: with a live kernel it is a page of widgets, elsewhere a picture. Whatever a
    click does can be called: `select`, `accept`, `reject`, `relabel`, `undo`, `write_parameters`. Its traits
    `threshold` and `selection` can be observed and linked.

    Args:
        labels: the pseudo-labels.
        how: how they will be balanced; its threshold is the first one.
        decisions: where decisions are read from and written to, `decisions.jsonl` by default; the file is made with the
            first decision.
        labeled: int (classes,), how many labeled pictures each class has.
        validation: predicted class, confidence and true class of validation pictures; what precision is estimated from
            where the truth is not known.
        noised: gives, for a row, uint8 (k, height, width, channels) of its picture as a student sees it.
        write: takes the chosen parameters (a dict) and says where they went; by default they are written to a YAML file
            that `papermill -f` reads.
        title: what is explored, in a few words.
    """

    threshold = Float(0.3, min=0.0, max=1.0, help="smallest confidence that is kept, 0 to 1")
    selection = AnyTrait(help="the `Selection` that is shown")

    def __init__(
        self,
        labels: PseudoLabels,
        how: Balancing | None = None,
        decisions: DecisionLog | str | Path | None = None,
        labeled: np.ndarray | None = None,
        validation: Validation | None = None,
        noised: Callable[[int], np.ndarray] | None = None,
        write: Callable[[dict[str, Any]], str] | None = None,
        title: str = "",
    ):
        how = how or Balancing()
        super().__init__(threshold=within("threshold", how.threshold, 0, 1))
        self.labels, self.labeled, self.validation, self.title = labels, labeled, validation, title
        log = isinstance(decisions, DecisionLog)
        self.decisions = decisions if log else DecisionLog(decisions or "decisions.jsonl")
        self.noised, self._how, self._write = noised, how, write
        self._carried: tuple[Decisions, Decisions] | None = None
        self._counted: tuple[Decisions, ThresholdPreview] | None = None
        self.selection = select(labels)

    @classmethod
    def from_table(
        cls,
        path: str | Path,
        images: Any = None,
        *,
        decisions: DecisionLog | str | Path | None = None,
        **known: Any,
    ) -> Explorer:
        """Explore a label table alone, of nsfast or of another tool (columns id, class, confidence).

        Args:
            path: folder of the table, or a Parquet or CSV file.
            images: folder that the pictures' names are paths below, a `.npy` of uint8, an array, or None.
            decisions: as above; by default `decisions.jsonl` in the table's folder.
            known: of `open_table` (truth, others, classes, ...) and of `Explorer`.

        Raises:
            NsfastError: no such table, or one that is damaged.
        """
        from nsfast.explore.core.table import open_table

        path = Path(path).expanduser()
        own = {
            name: known.pop(name)
            for name in ("how", "labeled", "validation", "noised", "write")
            if name in known
        }
        labels = open_table(path, images, **known)
        decisions = decisions or (path if path.is_dir() else path.parent) / "decisions.jsonl"
        return cls(labels, decisions=decisions, title=f"{path}", **own)

    @property
    def how(self) -> Balancing:
        """How the labels will be balanced with what is chosen now."""
        return replace(self._how, threshold=self.threshold)

    @how.setter
    def how(self, how: Balancing) -> None:
        self._how = how
        if self._counted:
            self._counted = self._counted[0], self._counted[1].asking(how)
        if "_page" in vars(self):
            self._page.follow(how)
        self.threshold = how.threshold

    @property
    def decided(self) -> Decisions:
        """What people decided, as it is of these labels: who accepted another class than is said now gave that one."""
        written = self.decisions.decisions
        if self._carried is None or self._carried[0] is not written:
            names = sorted(written.accepted)
            rows, classes = self.labels.rows_of(names), self.labels.classes
            said = {
                n: classes[self.labels.predicted[r[-1]]] for n, r in zip(names, rows, strict=True) if len(r)
            }
            self._carried = written, written.carried_to(said)
        return self._carried[1]

    @cached_property
    def _fit(self) -> PrecisionFit | None:
        return None if self.validation is None else PrecisionFit(self.validation)

    @property
    def preview(self) -> ThresholdPreview:
        """What any threshold makes of the labels, decisions included."""
        decided = self.decided
        if self._counted is None or self._counted[0] is not decided:
            preview = ThresholdPreview.of_labels(self.labels, self._how, decided)
            self._counted = decided, preview.knowing(self.labeled, self._fit)
        return self._counted[1]

    @property
    def table(self) -> ThresholdTable:
        """What the present threshold keeps of each class."""
        return self.preview.at(self.threshold)

    def select(self, **filter: Any) -> Selection:
        """Choose pictures; they are what the page shows from now on.

        Args:
            filter: conditions and order, see `Filter`: confidence=(.3, .5), predicted="7", changed_since_round=1,
                sort="margin", ...

        Raises:
            NsfastError: an unknown condition, or one of what is not known.
        """
        names = [f.name for f in fields(Filter)]
        for name in filter:
            if name not in names:
                raise NsfastError(f"unknown condition {name!r} of select{nearest(name, names)}")
        given = {
            name: tuple(value) if isinstance(value, (list, np.ndarray)) else value
            for name, value in filter.items()
        }
        self.selection = select(self.labels, Filter(**given), self.decided)
        return self.selection

    def accept(self, pictures: str | Sequence[str], why: str = "") -> None:
        """Decide that the labels of pictures, by name, are right: they count with confidence 1."""
        self._decide("accept", pictures, why=why)

    def reject(self, pictures: str | Sequence[str], why: str = "") -> None:
        """Decide that pictures, by name, are not to be used."""
        self._decide("reject", pictures, why=why)

    def relabel(self, pictures: str | Sequence[str], to: str, why: str = "") -> None:
        """Decide that pictures, by name, are of another class: they count as that, with confidence 1.

        Raises:
            NsfastError: there is no such class, or no such picture.
        """
        if to not in self.labels.classes:
            raise NsfastError(f"unknown class {to!r}{nearest(str(to), self.labels.classes)}")
        self._decide("relabel", pictures, to, why=why)

    def undo(self, picture: str | None = None) -> str:
        """Take back the last decision, of a picture or of any, and say which it was.

        Raises:
            NsfastError: there is none of this person's.
        """
        taken = self.decisions.undo(picture)
        self._changed()
        where = "" if taken.round in (None, self.decisions.round) else f", made in round {taken.round}"
        return f"taken back: {taken.action} of {taken.id}{where}"

    def _decide(self, action: str, pictures: str | Sequence[str], *to: str, why: str = "") -> None:
        names = [pictures] if isinstance(pictures, str) else [str(name) for name in pictures]
        rows = self.labels.rows_of(names)
        for name, found in zip(names, rows, strict=True):
            if not len(found):
                raise NsfastError(
                    f"no picture {name!r} among these labels; names are those of selection.names"
                )
        for name, found in zip(names, rows, strict=True):
            row = int(found[0])
            seen = {"predicted": self.labels.classes[self.labels.predicted[row]], "why": why}
            seen |= {
                "confidence": float(self.labels.confidence[row]),
                "selection": str(self.selection.filter),
            }
            getattr(self.decisions, action)(name, *to, **seen)
        self._changed()

    def _changed(self) -> None:
        """Show what was decided."""
        if "_page" in vars(self):
            self._page.decisions_changed()

    @property
    def parameters(self) -> dict[str, Any]:
        """What is chosen now of the parameters of 03_balancing."""
        return {name: value for name, value in self.how.to_dict().items() if name in CHOSEN}

    def write_parameters(self, path: str | Path | None = None) -> str:
        """Write threshold, N and method as parameters of `03_balancing`, and say where they are and how to go on.

        Args:
            path: of a YAML file for `papermill -f`; by default the run's profile, or `balancing.yaml` where there is no
                run.
        """
        if path is None and self._write is not None:
            return self._write(self.parameters)
        import yaml

        path = Path(path or "balancing.yaml")
        write_text(path, yaml.safe_dump(self.parameters, sort_keys=False))
        return f"written to {path}; go on with: papermill 03_balancing.ipynb out.ipynb -f {path}"

    def save_html(self, path: str | Path) -> Path:
        """Write what is shown as one HTML file that needs neither a kernel nor a network; return its path."""
        from nsfast.explore.static.page import report_html

        path = Path(path)
        write_text(path, report_html(**self._shown, title=self.title))
        return path

    @property
    def _shown(self) -> dict[str, Any]:
        names = ("labels", "preview", "threshold", "selection", "validation")
        return {**{name: getattr(self, name) for name in names}, "decisions": self.decided}

    def png(self) -> bytes:
        """Return what is shown as a picture (PNG)."""
        from nsfast.explore.static.report import report_figure

        return report_figure(**self._shown).png()

    @cached_property
    def widget(self) -> VBox:
        """The page of widgets; built when first asked for."""
        from nsfast.explore.live.page import Page

        self._page = Page(self)
        return self._page.widget

    @observe("threshold")
    def _threshold_changed(self, change: dict) -> None:
        if "_page" in vars(self):
            self._page.threshold_changed()

    @observe("selection")
    def _selection_changed(self, change: dict) -> None:
        if "_page" in vars(self):
            self._page.selection_changed()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """What a notebook stores and shows: always a picture and a text, when live the page of widgets before them."""
        from nsfast.explore.static.summary import describe

        picture, text = self.png(), describe(self.table)
        bundle = {"image/png": base64.b64encode(picture).decode("ascii"), "text/plain": text}
        if display_mode() == "live":
            from nsfast.explore.static.page import report_fragment

            view = "application/vnd.jupyter.widget-view+json"
            live = {view: self.widget._repr_mimebundle_()[view]}
            bundle = {**live, "text/html": report_fragment(**self._shown, picture=picture), **bundle}
        return bundle
