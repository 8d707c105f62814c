"""Models side by side on the test pictures: accuracy, calibration, and the difference to the control.

Everything returns rows (dictionaries) that are written as CSV as they are; every share carries n and an interval.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import nn

from nsfast.analysis.comparisons import mcnemar, paired_bootstrap
from nsfast.analysis.metrics import ReliabilityTable, summary
from nsfast.labels.predict import predict

Models = Mapping[str, nn.Module]


def probabilities_of(models: Models, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Return each model's distributions (n, classes) float32 over uint8 pixels (n, height, width, channels)."""
    return {name: predict(model, pixels).softmax(1).numpy() for name, model in models.items()}


def model_rows(
    probabilities: Mapping[str, np.ndarray], labels: np.ndarray, control: str, seed: int = 0
) -> list[dict]:
    """Return a row per model: accuracy with interval, calibration, and the paired difference to the control.

    Args:
        probabilities: of each model, over the same pictures.
        labels: (n,) int64.
        control: the name of the model that the others are compared with.
        seed: of the bootstrap.
    """
    right = {name: p.argmax(1) == labels for name, p in probabilities.items()}
    rows = []
    for name, p in probabilities.items():
        gain = paired_bootstrap(right[control], right[name], seed=seed)
        difference = {
            "minus_control": gain.difference,
            "minus_control_low": gain.low,
            "minus_control_high": gain.high,
        }
        p_value = mcnemar(right[control], right[name]).p_value
        rows.append({"model": name, **summary(p, labels, seed=seed), **difference, "mcnemar_p": p_value})
    return rows


def reliability_rows(model: str, table: ReliabilityTable) -> list[dict]:
    """Return a row per bin of confidence that holds pictures: its ends, pictures, mean confidence and accuracy."""
    bins = zip(table.edges[:-1], table.edges[1:], table.count, table.confidence, table.accuracy, strict=True)
    names = ("from", "to", "pictures", "confidence", "accuracy")
    return [{"model": model, **{n: v.item() for n, v in zip(names, b, strict=True)}} for b in bins if b[2]]
