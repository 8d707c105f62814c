"""How good the pseudo-labels of a round are, as far as that can be known without their truth, and with it.

A quality is plain data, as `quality.json` holds it; shares are 0 to 1, and None stands where there is nothing to share:

- `schema`, `round`, `teacher` (fingerprint), `threshold`, `thresholds` (of some classes, by name), `temperature`.
- `rows` (pictures with a label), `quarantined`, `reached` (rows that reach the threshold), `coverage` (their share).
- `mean_confidence`; `mean_entropy` of the distributions as they are kept, in nats, and `relative_entropy`, that over
  log(classes).
- `classes`: a row per class with `class`, `labeled`, `predicted`, `reached` and `coverage`; with truth also `truth`
  (pictures of it), `right` (of those that reach the threshold), `precision`, `low`, `high` and `recall`.
- `against_labeled`: for `predicted` and `reached`, `total_variation` and `kl` (nats, of the pseudo-labels' classes from
  the labeled ones'; None when infinite); `never_predicted` and `never_reached`, names of classes.
- `before`: see `agreement`; None in the first round.
- `estimate`: see `estimate_precision`, with `precision`, `low`, `high` and `effective` at the threshold in place of
  `sets`, and the same at each of `STEPS` under `by_threshold`; None without validation pictures.
- `truth`, None where it is not known: `reached`, `right`, `precision`, `low`, `high` (Wilson, 95 %); `no_class`, how
  many that reach the threshold are of no class; `with_class`, pictures that have one, and `recall`, the share of these
  that is right and reaches the threshold; `in_class_accuracy`, how often a label of such a picture is right, whatever
  its confidence; `by_threshold`, rows of `threshold`, `reached`, `right`, `precision`, `low`, `high`;
  `by_class_and_threshold`, `reached` and `right` at each of `STEPS`, one list per class; `reliability`, rows of `from`,
  `to`, `pictures`, `confidence`, `accuracy`, `low`, `high`; `ece`.

A picture of no class (-1) is never right. Thresholds are compared in float16, as everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nsfast.errors import NsfastError
from nsfast.files import read_json, write_json
from nsfast.labels.balancing.balance import Balancing
from nsfast.labels.balancing.limits import threshold_codes
from nsfast.labels.calibrate import residual
from nsfast.labels.histogram import CODES
from nsfast.labels.quality.agreement import agreement
from nsfast.labels.quality.estimate import Validation, estimate_precision
from nsfast.labels.quality.tally import CONFIDENCES, STEP_CODES, STEPS, Tally, count, share, shares
from nsfast.labels.table import LabelTable

SCHEMA = 1

CELLS = 1 << 22
"""Probabilities that are worked on at once, about 50 MB."""


def quality(
    labels: LabelTable,
    labeled_classes: np.ndarray,
    threshold: float,
    before: LabelTable | None = None,
    truth: np.ndarray | None = None,
    validation: Validation | None = None,
    thresholds: Mapping[str, float] | None = None,
    temperature: float = 1.0,
) -> dict:
    """Return how good pseudo-labels are, in memory that does not grow with their number.

    Args:
        labels: the label table.
        labeled_classes: integers (labeled pictures,), their classes.
        threshold: smallest confidence that is used, 0 to 1.
        before: the label table of the round before, of the same pictures; held to the same thresholds and temperature.
        truth: int64 (pictures,) by id, -1 for a picture of no class, where it is known.
        validation: predicted class, confidence and true class (n,) each of pictures the teacher was not trained on; the
            confidence at the same temperature.
        thresholds: for some classes, by name, instead of `threshold`.
        temperature: that balancing gives the confidences.

    Raises:
        NsfastError: an argument outside its range, or tables that cannot be compared.
    """
    classes, thresholds = len(labels.classes), dict(thresholds or {})
    limits = threshold_codes(
        Balancing(threshold, thresholds=thresholds, temperature=temperature), labels.classes
    )
    labeled = _labeled(labeled_classes, classes)
    every, known = count(labels, limits, truth, temperature)
    entropy = _mean_entropy(labels)
    found = {
        "schema": SCHEMA,
        "round": labels.origin.round,
        "teacher": labels.origin.teacher,
        "threshold": float(threshold),
        "thresholds": thresholds,
        "temperature": float(temperature),
        "rows": len(labels),
        "quarantined": len(labels.quarantined),
        "reached": int(every.reached.sum()),
        "coverage": share(every.reached.sum(), len(labels)),
        "mean_confidence": share(every.codes @ CONFIDENCES, len(labels)),
        "mean_entropy": entropy,
        "relative_entropy": None if entropy is None else entropy / float(np.log(classes)),
    }
    columns = {"class": labels.classes, "labeled": labeled.tolist(), "predicted": every.predicted.tolist()}
    columns |= {"reached": every.reached.tolist(), "coverage": shares(every.reached, every.predicted)}
    columns |= {} if known is None else known.by_class(every)
    found["classes"] = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    found["against_labeled"] = {
        "predicted": _distance(every.predicted, labeled),
        "reached": _distance(every.reached, labeled),
        "never_predicted": [labels.classes[i] for i in np.flatnonzero(every.predicted == 0)],
        "never_reached": [labels.classes[i] for i in np.flatnonzero(every.reached == 0)],
    }
    found["before"] = None if before is None else agreement(labels, before, limits, temperature)
    found["estimate"] = None if validation is None else _estimate(validation, every)
    found["truth"] = None if known is None else known.of_all(every)
    return found


def write_quality(path: str | Path, found: dict) -> None:
    """Write a quality to a JSON file atomically."""
    write_json(path, found)


def read_quality(path: str | Path) -> dict:
    """Read what `write_quality` wrote; raise `NsfastError` naming the file when it is damaged or of another schema."""
    found = read_json(path)
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        raise NsfastError(
            f"{path} has quality schema {schema!r}, this nsfast reads {SCHEMA}; run its stage again"
        )
    return found


def entropies(probabilities: np.ndarray, classes: int) -> np.ndarray:
    """Return the entropy (n,) float32 of distributions, in nats, without making them whole.

    Args:
        probabilities: (n, classes), or (n, k) of the likeliest k, as the label table keeps them.
        classes: how many there are; each that is not kept has an equal part of the rest.
    """
    kept = np.asarray(probabilities, np.float32)
    rest, others = residual(kept, classes), classes - kept.shape[1]
    total = kept.sum(1) + others * rest
    return np.log(total) - (_times_log(kept).sum(1) + others * _times_log(rest)) / total


def _times_log(p: np.ndarray) -> np.ndarray:
    return p * np.log(np.maximum(p, np.float32(1e-30)))


def _estimate(validation: Validation, every: Tally) -> dict:
    """The estimate at the threshold and at each step."""
    above = [np.where(np.arange(CODES) >= code, every.codes, 0) for code in STEP_CODES]
    found = estimate_precision(validation, [every.reached_codes, *above])
    here, *steps = found.pop("sets")
    del here["labels"]
    by_threshold = [{"threshold": t, **row} for t, row in zip(STEPS, steps, strict=True)]
    return {**found, **here, "by_threshold": by_threshold}


def _mean_entropy(labels: LabelTable) -> float | None:
    column, total = labels.vector_columns[-1], 0.0
    rows = max(CELLS // (labels.origin.top or len(labels.classes)), 1)
    for part in labels.batches((column,), rows):
        total += float(entropies(part[column], len(labels.classes)).sum(dtype=np.float64))
    return share(total, len(labels))


def _distance(counts: np.ndarray, labeled: np.ndarray) -> dict[str, float | None]:
    """How far the shares of the classes are from those of the labeled pictures."""
    if not counts.sum():
        return {"total_variation": None, "kl": None}
    here, there = counts / counts.sum(), labeled / labeled.sum()
    found = here > 0
    infinite = (there[found] == 0).any()
    kl = None if infinite else max(float((here[found] * np.log(here[found] / there[found])).sum()), 0.0)
    return {"total_variation": float(np.abs(here - there).sum() / 2), "kl": kl}


def _labeled(labeled_classes: np.ndarray, classes: int) -> np.ndarray:
    """How many labeled pictures each class has."""
    found = np.asarray(labeled_classes)
    if not len(found) or found.min() < 0 or found.max() >= classes:
        raise NsfastError(f"labeled_classes must be of at least one picture, and from 0 to {classes - 1}")
    return np.bincount(found, minlength=classes)
