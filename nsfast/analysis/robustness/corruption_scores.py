"""Corruption errors as ImageNet-C scores them: mean error, CE, relative CE, their means, the control beside them.

Source: Hendrycks & Dietterich 2019 (1903.12261), section 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nsfast.analysis.comparisons import holm, sign_flip_test
from nsfast.analysis.robustness.reading import (
    ALEXNET,
    FAMILY,
    FEWEST,
    Corrupted,
    corrupted,
    ends_of,
    ends_only,
    minus,
    place_of,
    sampled_columns,
    with_samples,
)
from nsfast.robustness.alexnet import ALEXNET_CLEAN, ALEXNET_ERRORS
from nsfast.robustness.answers import Asked
from nsfast.robustness.names import CORRUPTIONS


def corruption_score_rows(
    asked: Asked,
    baseline: str | None = "control",
    control: str | None = "control",
    set: str = "corrupted",
    draws: int = 2000,
    seed: int = 0,
) -> list[dict]:
    """Return the scores of each model for each corruption, and for their mean; columns as in this room's docstring.

    Args:
        baseline: the model whose errors CE is relative to, or "AlexNet" with its published errors; None for none.
        control: the model that all are compared with picture by picture; None for none.
        set: "corrupted", whose mean is a C-style error and no ImageNet-C mCE, or a released set.
        draws, seed: of the bootstrap over pictures.

    Raises:
        NsfastError: there is no such model; versions of different pictures.
    """
    table = corrupted(asked, set)
    if table is None:
        return []
    scores = _Scores(table, baseline, place_of(control, table.models, "control"), draws, seed)
    rows = []
    for m, model in enumerate(table.models):
        tests = [scores.p_value(m, [c]) for c in range(len(table.corruptions))]
        adjusted = holm(tests) if scores.control is not None else tests
        about = {"model": model, "set": set}
        for c, name in enumerate(table.corruptions):
            kind = {
                "corruption": name,
                "family": FAMILY.get(name, ""),
                "severities": " ".join(map(str, table.severities[c])),
            }
            tested = {"p_value": tests[c], "p_holm": adjusted[c], "note": scores.note([c])}
            rows.append(about | kind | scores.row(m, [c]) | tested)
        if len(table.counting):
            kind = {"corruption": "mean", "family": "", "severities": ""}
            tested = {"p_value": scores.p_value(m, table.counting), "p_holm": ""}
            tested["note"] = scores.note_of_mean(table.counting)
            rows.append(about | kind | scores.row(m, table.counting) | tested)
    return rows


class _Scores:
    """Errors of all models, as measured and in each bootstrap sample, and what they are relative to."""

    def __init__(self, table: Corrupted, baseline: str | None, control: int | None, draws: int, seed: int):
        self.table, self.baseline, self.control = table, baseline, control
        values = table.wrong / table.count
        if table.clean is not None:
            values = np.concatenate([values, table.clean[..., None]], axis=2)
        self.error = with_samples(values, draws, seed)
        """(1 + draws, models, corruptions and clean): as measured first, then every sample."""
        if table.clean is None:
            self.error = np.concatenate([self.error, np.full_like(self.error[..., :1], np.nan)], axis=2)
        below, clean = self._of_baseline()
        self.below, self.degradation = below, below - clean
        """(1 + draws, corruptions), what CE and relative CE are relative to; nan where no ratio can be given."""
        self.reasons = [self._reasons(c) for c in range(len(table.corruptions))]
        for c, reasons in enumerate(self.reasons):
            for base, reason in zip((self.below, self.degradation), reasons, strict=True):
                base[:, c] = np.nan if reason else np.where(base[:, c] > 0, base[:, c], np.nan)

    def _of_baseline(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the baseline's errors (1 + draws, corruptions) and that on the clean pictures (1 + draws, 1)."""
        shape = self.error[:, 0, :-1].shape
        if self.baseline is None:
            return np.full(shape, np.nan), np.full((shape[0], 1), np.nan)
        if self.baseline == ALEXNET:
            errors, clean = _alexnet(self.table)
            return np.tile(errors, (shape[0], 1)), np.full((shape[0], 1), clean)
        at = place_of(self.baseline, self.table.models, "baseline")
        return self.error[:, at, :-1].copy(), self.error[:, at, -1:]

    def _reasons(self, corruption: int) -> tuple[str, str]:
        """Return why there is no CE and why no relative CE; empty where there is one."""
        below, degradation = self.below[:, corruption], self.degradation[:, corruption]
        if self.baseline is None:
            return ("no baseline", "no baseline")
        if np.isnan(below[0]):
            return (f"no error of {self.baseline} is published",) * 2
        few, lost = "", ""
        if self.baseline != ALEXNET:
            at = self.table.models.index(self.baseline)
            missed = int((self.table.wrong[:, at, corruption] > 0).sum())
            if missed < FEWEST:
                few = f"{self.baseline} misses {missed} pictures of it, too few for a ratio"
        if self.table.clean is None:
            lost = "the same pictures were not asked uncorrupted"
        elif np.isnan(degradation[0]):
            lost = f"{self.baseline}'s error on the clean pictures is not known"
        elif degradation[0] <= 0 or ends_of(degradation)[0] < degradation[0] / 2:
            lost = f"what {self.baseline} loses on it is too little or too uncertain for a ratio"
        return few, lost

    def p_value(self, model: int, chosen: Sequence[int]) -> float | str:
        """Return the p-value of a model's difference to the control over these corruptions."""
        if self.control is None:
            return ""
        count = self.table.count[chosen]
        wrong = self.table.wrong[:, :, chosen] * (np.lcm.reduce(count) // count)
        return sign_flip_test((wrong[:, model] - wrong[:, self.control]).sum(axis=1))

    def row(self, model: int, chosen: Sequence[int]) -> dict:
        """Return the columns of one model over some corruptions: one, or those that the mean is taken over."""
        error = self.error[:, :, chosen]
        ce = _mean_ratio(error, self.below[:, chosen])
        relative = _mean_ratio(error - self.error[:, :, -1:], self.degradation[:, chosen])
        mean = error.mean(axis=2)
        return {
            "n": len(self.table.wrong),
            "mean_error": float(mean[0, model]),
            **ends_only(ends_of(mean[:, model])),
            "baseline": self.baseline or "",
            **sampled_columns("ce", ce[:, model]),
            **sampled_columns("relative_ce", relative[:, model]),
            **sampled_columns("minus_control", minus(mean, model, self.control)),
            **sampled_columns("ce_minus_control", minus(ce, model, self.control)),
        }

    def note(self, chosen: Sequence[int]) -> str:
        """Return why a corruption has no ratios."""
        (few, lost), notes = self.reasons[chosen[0]], []
        if few:
            notes.append(f"ce: {few}")
        if lost and lost != few:
            notes.append(f"relative_ce: {lost}")
        return "; ".join(notes)

    def note_of_mean(self, chosen: Sequence[int]) -> str:
        """Return what a mean is not over."""
        notes = []
        if len(chosen) < len(CORRUPTIONS):
            notes.append(f"mean of {len(chosen)} of the {len(CORRUPTIONS)} corruptions")
        for which, measure in enumerate(("ce", "relative_ce")):
            without = [self.table.corruptions[c] for c in chosen if self.reasons[c][which]]
            if without and self.baseline is not None:
                notes.append(f"{measure} without {', '.join(without)}")
        return "; ".join(notes)


def _mean_ratio(values: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Return the mean over corruptions of values (1 + draws, models, corruptions) relative to a base, where known."""
    known = ~np.isnan(base[0])
    if not known.any():
        return np.full(values.shape[:2], np.nan)
    return (values[..., known] / base[:, None, known]).mean(axis=2)


def _alexnet(table: Corrupted) -> tuple[np.ndarray, float]:
    """Return AlexNet's published errors over the severities asked of each corruption, and on clean pictures."""
    errors = np.full(len(table.corruptions), np.nan)
    for c, (name, severities) in enumerate(zip(table.corruptions, table.severities, strict=True)):
        if name in ALEXNET_ERRORS:
            errors[c] = np.mean([ALEXNET_ERRORS[name][severity - 1] for severity in severities])
    return errors, ALEXNET_CLEAN
