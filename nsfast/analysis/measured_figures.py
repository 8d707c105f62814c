"""The figures of a `Measurement`, each named as the table that it shows or as what it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nsfast.analysis import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nsfast.analysis.measurement import Measurement


def figure_of(measured: Measurement, name: str) -> Figure | None:
    """Return a figure of `FIGURES` by name; None where the protocol leaves it out."""
    return FIGURES[name](measured)


def _of_one_set(rows: Sequence[dict]) -> list[dict]:
    """The rows of the first set, that of the pictures made here where there is one; other sets are in the tables."""
    return [row for row in rows if row.get("set") == rows[0].get("set")]


def _corrupted(measured: Measurement) -> Figure | None:
    pictures = measured.corrupted_pictures()
    severities = (0, *measured.protocol.severities)
    return figures.corrupted_grid(pictures, severities) if pictures else None


def _frames(measured: Measurement) -> Figure | None:
    frames = measured.frames()
    return figures.perturbation_strip(frames) if frames else None


def _severities(measured: Measurement) -> Figure | None:
    rows = _of_one_set(measured.table("corruptions"))
    return figures.severity_curves(rows, chance=1 - 1 / len(measured.classes)) if rows else None


def _attacks(measured: Measurement) -> Figure | None:
    rows = measured.table("attacks")
    return figures.attack_curves(rows, measured.protocol.headline_epsilon) if rows else None


def _reliability(measured: Measurement) -> Figure | None:
    shown = list(dict.fromkeys([measured.control, measured.teacher, list(measured.models)[-1]]))
    tables = measured.reliability(shown)
    return figures.reliability_under_corruption(tables) if tables else None


def _of_table(name: str, draw: Callable[[Sequence[dict]], Figure]) -> Callable[[Measurement], Figure | None]:
    def drawn(measured: Measurement) -> Figure | None:
        rows = measured.table(name)
        rows = rows if name == "natural" else _of_one_set(rows)
        return draw(rows) if rows else None

    return drawn


FIGURES: dict[str, Callable[[Measurement], Figure | None]] = {
    "corrupted": _corrupted,
    "corruptions": _severities,
    "corruption_scores": _of_table("corruption_scores", figures.corruption_bars),
    "line": _of_table("line", figures.accuracy_on_the_line),
    "frames": _frames,
    "flips": _of_table("flips", figures.flip_bars),
    "natural": _of_table("natural", figures.natural_bars),
    "attacks": _attacks,
    "calibration": _reliability,
}
