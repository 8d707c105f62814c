"""Flip probability and rate as ImageNet-P scores them, their means, and the control beside them.

Source: Hendrycks & Dietterich 2019 (1903.12261), section 4. Flips of noise are counted against the first, clean frame
and those of other perturbations from frame to frame, so a mean over both is taken of the ratios to a baseline alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nsfast.analysis.comparisons import holm, sign_flip_test
from nsfast.analysis.robustness.reading import (
    ALEXNET,
    FEWEST,
    ends_of,
    ends_only,
    minus,
    place_of,
    sampled_columns,
    with_samples,
)
from nsfast.errors import NsfastError
from nsfast.robustness.alexnet import ALEXNET_FLIPS
from nsfast.robustness.flips import FlipAnswers
from nsfast.robustness.names import EXTRA_PERTURBATIONS, PERTURBATIONS

MEANS = {"mean_noise": (True,), "mean_other": (False,), "mean": (True, False)}
"""Rows that are means, and whether over perturbations of noise, others, or both."""


def flip_rows(
    flips: Mapping[str, Mapping[str, FlipAnswers]],
    baseline: str | None = "control",
    control: str | None = "control",
    set: str = "perturbed",
    draws: int = 2000,
    seed: int = 0,
) -> list[dict]:
    """Return the flips of each model for each perturbation, and their means; columns as in this room's docstring.

    Args:
        flips: by perturbation, the answers of every model to the same sequences.
        baseline: the model whose flips FR is relative to, or "AlexNet" with its published ones; None for none.
        control: the model that all are compared with sequence by sequence; None for none.
        set: "perturbed" (made here) or a released set, as it is written into the rows.
        draws, seed: of the bootstrap over sequences; perturbations of equally many are drawn together.

    Raises:
        NsfastError: there is no such model; models that saw other sequences.
    """
    if not flips:
        return []
    models = list(next(iter(flips.values())))
    control = place_of(control, models, "control")
    scored = [_Perturbation(name, answers, models, baseline, draws, seed) for name, answers in flips.items()]
    rows = []
    for m, model in enumerate(models):
        tests = [one.p_value(m, control) for one in scored]
        adjusted = [float(p) for p in holm(tests)] if control is not None else tests
        about = {"model": model, "set": set}
        for one, p_value, p_holm in zip(scored, tests, adjusted, strict=True):
            kind = {"perturbation": one.name, "noise": one.noise}
            size = {"sequences": len(one.flips), "comparisons": one.comparisons}
            measures = _measures(one.share, one.rate, one.distance, m, control, baseline)
            rows.append(
                {**about, **kind, **size, **measures, "p_value": p_value, "p_holm": p_holm, "note": one.note}
            )
        for name, kinds in MEANS.items():
            some = [one for one in scored if one.noise in kinds and one.name not in EXTRA_PERTURBATIONS]
            if some:
                kind = {"perturbation": name, "noise": kinds[0] if len(kinds) == 1 else ""}
                rows.append({**about, **kind, **_mean(some, name == "mean", m, control, baseline)})
    return rows


class _Perturbation:
    """Flips of all models in the sequences of one perturbation; measures are (1 + draws, models).

    Attributes:
        share: flip probability. rate: relative to the baseline, nan where `note` says why not. distance: T5D.
    """

    def __init__(self, name, answers, models: Sequence[str], baseline: str | None, draws: int, seed: int):
        first = answers[models[0]]
        self.name, self.noise = name, bool(first.noise)
        for model in models:
            if not np.array_equal(answers[model].comparisons, first.comparisons):
                raise NsfastError(f"{model} and {models[0]} saw other sequences of {name}; ask both the same")
        self.flips = np.stack([np.asarray(answers[model].flips, np.int64) for model in models], axis=1)
        compared = np.broadcast_to(np.asarray(first.comparisons, np.float64), len(self.flips))
        self.comparisons = int(compared.sum())
        distance = np.stack([np.asarray(answers[model].distance, np.float64) for model in models], axis=1)
        means = with_samples(np.concatenate([self.flips, distance, compared[:, None]], axis=1), draws, seed)
        means = means[:, :-1] / means[:, -1:]
        self.share, self.distance = means[:, : len(models)], means[:, len(models) :]
        below, note = self._baseline(baseline, models)
        fewer = "" if first.k == 5 else f"t5d: of the first {first.k}, not 5"
        self.note = "; ".join(filter(None, (note, fewer)))
        self.rate = self.share / np.where(below > 0, below, np.nan)[:, None]

    def _baseline(self, baseline: str | None, models: Sequence[str]) -> tuple[np.ndarray, str]:
        """Return the flip probability that rates are relative to (1 + draws,), or nan and why there is none."""
        nothing = np.full(len(self.share), np.nan)
        if baseline is None:
            return nothing, "fr: no baseline"
        if baseline == ALEXNET:
            if self.name not in ALEXNET_FLIPS:
                return nothing, f"fr: no flips of {ALEXNET} are published"
            return np.full(len(self.share), ALEXNET_FLIPS[self.name]), ""
        at = place_of(baseline, models, "baseline")
        unsteady = int((self.flips[:, at] > 0).sum())
        if unsteady < FEWEST:
            return nothing, f"fr: {baseline} flips in {unsteady} sequences, too few for a ratio"
        return self.share[:, at], ""

    def p_value(self, model: int, control: int | None) -> float | str:
        """Return the p-value of a model's difference to the control in flips."""
        return "" if control is None else sign_flip_test(self.flips[:, model] - self.flips[:, control])


def _measures(
    share: np.ndarray,
    rate: np.ndarray,
    distance: np.ndarray,
    model: int,
    control: int | None,
    baseline: str | None,
) -> dict:
    """Return the columns of one model from measures (1 + draws, models)."""
    return {
        "fp": "" if np.isnan(share[0, model]) else float(share[0, model]),
        **ends_only(ends_of(share[:, model])),
        "baseline": baseline or "",
        **sampled_columns("fr", rate[:, model]),
        **sampled_columns("t5d", distance[:, model]),
        **sampled_columns("minus_control", minus(share, model, control)),
        **sampled_columns("fr_minus_control", minus(rate, model, control)),
    }


def _mean(
    some: Sequence[_Perturbation], both: bool, model: int, control: int | None, baseline: str | None
) -> dict:
    """Return the columns of a mean over perturbations; over noise and others together only of the rate."""
    rated = [one for one in some if not np.isnan(one.rate[0, model])]
    nothing = np.full_like(some[0].share, np.nan)
    share, distance = (
        nothing if both else np.mean([getattr(one, name) for one in some], axis=0)
        for name in ("share", "distance")
    )
    rate = np.mean([one.rate for one in rated], axis=0) if rated else nothing
    notes = []
    if both and len(some) < len(PERTURBATIONS):
        notes.append(f"mean of {len(some)} of the {len(PERTURBATIONS)} perturbations")
    if baseline == ALEXNET:
        notes.append(f"{ALEXNET}'s flips are confirmed by one published mFR, not one by one")
    without = [one.name for one in some if one not in rated]
    if without and baseline is not None:
        notes.append(f"fr without {', '.join(without)}")
    size = {
        "sequences": min(len(one.flips) for one in some),
        "comparisons": sum(one.comparisons for one in some),
    }
    measures = _measures(share, rate, distance, model, control, baseline)
    return {**size, **measures, "p_value": "", "p_holm": "", "note": "; ".join(notes)}
