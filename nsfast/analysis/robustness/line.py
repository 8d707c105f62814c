"""Accuracy on the line: is a model more robust than its accuracy on clean pictures foretells?

Miller et al. 2021 (2107.04649) find that accuracies under shift lie on a line over those without, on an axis of
log-odds or probits; only what lies above it is robustness of its own (Taori et al. 2020, 2007.00644). The few models of
a run cannot tell its slope, so it is 1 here and the line goes through the control: the same factor between odds.
"""

from __future__ import annotations

import numpy as np

from nsfast.analysis.robustness.reading import (
    corrupted,
    ends_of,
    ends_only,
    place_of,
    sampled_columns,
    with_samples,
)
from nsfast.robustness.answers import Asked


def line_rows(
    asked: Asked,
    control: str | None = "control",
    set: str = "corrupted",
    draws: int = 2000,
    seed: int = 0,
) -> list[dict]:
    """Return each model's error on clean and on corrupted pictures, and how far it lies above the control's line.

    `expected_error` is the corruption error on the line at the model's clean error. `residual` is in log-odds: log of
    how much higher the odds of being right under corruption are than on the line; above 0 is more robust.

    Args:
        control: the model that the line goes through; None for none.
        set: "corrupted" or a released set; the mean is over its corruptions but the extra ones.
        draws, seed: of the bootstrap over pictures.
    """
    table = corrupted(asked, set)
    if table is None or table.clean is None or not len(table.counting):
        return []
    at, n = place_of(control, table.models, "control"), len(table.clean)
    mean = (table.wrong / table.count)[:, :, table.counting].mean(axis=2)
    values = np.stack([table.clean, mean], axis=2)
    error = with_samples(values, draws, seed)
    odds = _log_odds(error, n)
    rows = []
    for m, model in enumerate(table.models):
        foretold = residual = np.full(len(error), np.nan)
        if at is not None:
            line = odds[:, at, 1] + odds[:, m, 0] - odds[:, at, 0]
            foretold, residual = 1 / (1 + np.exp(line)), odds[:, m, 1] - line
        clean, now = error[:, m, 0], error[:, m, 1]
        rows.append(
            {"model": model, "set": set, "n": n, "clean_error": float(clean[0])}
            | {f"clean_{end}": value for end, value in ends_only(ends_of(clean)).items()}
            | {"corruption_error": float(now[0]), **ends_only(ends_of(now))}
            | {"expected_error": "" if at is None else float(foretold[0])}
            | sampled_columns("residual", residual)
            | {"note": "no control" if at is None else f"line through {control}, slope 1 in log-odds assumed"}
        )
    return rows


def _log_odds(error: np.ndarray, n: int) -> np.ndarray:
    """Log-odds of being right, with half a picture added on either side so that they stay finite."""
    return np.log((n * (1 - error) + 0.5) / (n * error + 0.5))
