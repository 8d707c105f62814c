"""The tables of a `Measurement`, as rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nsfast.analysis.robustness import (
    attack_rows,
    calibration_rows,
    corruption_score_rows,
    error_rows,
    flip_rows,
    headline_rows,
    line_rows,
    natural_rows,
    tidy_rows,
    warnings_of,
)
from nsfast.robustness.answers import PROTOCOL
from nsfast.robustness.corruptions import DEVIATIONS
from nsfast.robustness.perturbations import DEVIATIONS as FROM_RELEASED

if TYPE_CHECKING:
    from nsfast.analysis.measurement import Measurement


def corruptions(measured: Measurement) -> list[dict]:
    """Return the error of each model, corruption and severity."""
    return [row for name, asked in measured.corrupted_sets.items() for row in error_rows(asked, name)]


def corruption_scores(measured: Measurement) -> list[dict]:
    """Return mean error, CE and relative CE of each corruption, and their means."""
    return [
        row
        for name, asked in measured.corrupted_sets.items()
        for row in corruption_score_rows(asked, measured.baseline(name), measured.control, name)
    ]


def line(measured: Measurement) -> list[dict]:
    """Return how far each model lies above the line through the control."""
    return [
        row
        for name, asked in measured.corrupted_sets.items()
        for row in line_rows(asked, measured.control, name)
    ]


def flips(measured: Measurement) -> list[dict]:
    """Return flip probability and top-5 distance of each perturbation, and their means."""
    return [
        row
        for name, found in measured.flips.items()
        for row in flip_rows(found, measured.baseline(name), measured.control, name)
    ]


def natural(measured: Measurement) -> list[dict]:
    """Return accuracy on the clean, hard and released pictures."""
    asked = {**measured.clean, **measured.natural}
    return (
        natural_rows(asked, measured.control, chosen=measured.chosen, chooser=measured.teacher)
        if asked
        else []
    )


def attacks(measured: Measurement) -> list[dict]:
    """Return accuracy under each attack and epsilon."""
    return (
        attack_rows(measured.attacked, measured.control, steps={"pgd": measured.protocol.steps})
        if measured.attacked
        else []
    )


def checks(measured: Measurement) -> list[dict]:
    """Return whether the attacks can be believed."""
    return [dict(vars(check)) for check in measured.checks]


def calibration(measured: Measurement) -> list[dict]:
    """Return NLL, Brier score and ECE of clean and of corrupted pictures."""
    asked = {**measured.clean, **measured.corrupted, **measured.natural}
    return calibration_rows(asked, measured.control) if asked else []


def headline(measured: Measurement) -> list[dict]:
    """Return one row a model with all that it is judged by."""
    names = ("natural", "corruption_scores", "flips", "attacks", "calibration")
    return headline_rows(
        *(measured.table(name) for name in names), measured.protocol.headline_epsilon, measured.protocol.norm
    )


def robustness(measured: Measurement) -> list[dict]:
    """Return everything in one long table."""
    parts = {name: measured.table(name) for name in ("flips", "attacks", "natural", "calibration")}
    parts |= {"errors": measured.table("corruptions"), "scores": measured.table("corruption_scores")}
    return tidy_rows(**parts, seed=measured.seed, protocol=PROTOCOL)


def warnings(measured: Measurement) -> list[dict]:
    """Return what to mind, in sentences."""
    sentences, made = list(measured.told), measured.protocol.perturbations
    for name, asked in measured.corrupted_sets.items():
        about = warnings_of(asked, measured.recipes, len(measured.classes), name, made)
        sentences += about if name == "corrupted" else [f"{name}: {sentence}" for sentence in about]
    return [{"warning": sentence} for sentence in sentences]


def deviations(measured: Measurement) -> list[dict]:
    """Return how what is made here differs from the released sets."""
    if measured.test is None:
        return []
    corruptions, perturbations = measured.protocol.corruptions, measured.protocol.perturbations
    made = [("corruption", n, DEVIATIONS.get(n, "")) for n in (corruptions and ("all", *corruptions))]
    made += [
        ("perturbation", n, FROM_RELEASED.get(n, "")) for n in (perturbations and ("all", *perturbations))
    ]
    return [{"kind": kind, "name": name, "differs": how} for kind, name, how in made if how]


TABLES: dict[str, Callable[[Measurement], list[dict]]] = {
    "corruptions": corruptions,
    "corruption_scores": corruption_scores,
    "line": line,
    "flips": flips,
    "natural": natural,
    "attacks": attacks,
    "checks": checks,
    "calibration": calibration,
    "headline": headline,
    "robustness": robustness,
    "warnings": warnings,
    "deviations": deviations,
}
"""The tables by name, in the order in which they are asked."""
