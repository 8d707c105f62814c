"""How doubtful a pseudo-label is: margin, entropy, label quality, flips."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nsfast.labels.quality.quality import entropies


@dataclass(frozen=True)
class Scores:
    """Of each pseudo-label (n,)."""

    second: np.ndarray
    """uint16, the second likeliest class; of equals the one with the lower number. Of one class it is that one."""
    margin: np.ndarray
    """float32, the probability of the likeliest class minus that of the second."""
    entropy: np.ndarray
    """float32, of the distribution as it is kept, in nats."""


def scores_of(parts: Iterable[tuple[np.ndarray, np.ndarray | None]], rows: int, classes: int) -> Scores:
    """Return the scores of distributions, a part at a time.

    Args:
        parts: probabilities (m, classes) and None; or the likeliest k (m, k) in falling order and which classes those
            are (m, k), k at least 2.
        rows: how many there are in all.
        classes: how many there are.
    """
    second, margin, entropy = (
        np.empty(rows, np.uint16),
        np.empty(rows, np.float32),
        np.empty(rows, np.float32),
    )
    start = 0
    for kept, named in parts:
        here, kept = slice(start, start + len(kept)), kept.astype(np.float32)
        entropy[here] = entropies(kept, classes)
        if named is None:
            place, first = np.arange(len(kept)), kept.argmax(1)
            best = kept[place, first]
            kept[place, first] = -1 if classes > 1 else 0
            second[here] = kept.argmax(1)
            margin[here] = best - kept[place, second[here]]
        else:
            second[here], margin[here] = named[:, 1], kept[:, 0] - kept[:, 1]
        start += len(kept)
    return Scores(second, margin, entropy)


def label_quality(predicted: np.ndarray, confidence: np.ndarray, classes: int) -> np.ndarray:
    """Return how well each label fits what the model says of other pictures of its class, float32 (n,), 0 to 1.

    A model is surer of some classes than of others. So from a picture's confidence the mean confidence of its class is
    taken, before it is scaled to a probability again: the adjusted self-confidence of confident learning (Northcutt et
    al., arXiv 1911.00068; `get_label_quality_scores(..., adjust_pred_probs=True)` of cleanlab, of labels that are the
    likeliest classes).

    Args:
        predicted: integers (n,).
        confidence: (n,), 0 to 1.
        classes: how many there are; one of which there is no label has no say.
    """
    confidence = np.asarray(confidence, np.float64)
    count = np.bincount(predicted, minlength=classes)
    mean = np.bincount(predicted, confidence, classes) / np.maximum(count, 1)
    top = mean.max()
    mean[count == 0] = top
    return ((confidence - mean[predicted] + top) / (1 - mean.sum() + classes * top)).astype(np.float32)


def flips(rounds: Sequence[np.ndarray]) -> np.ndarray:
    """Return how often the class of each picture changed from one round to the next that has a label of it.

    Args:
        rounds: integers (n,) of each round in order, -1 for no label.
    """
    found, last = np.zeros(len(rounds[0]), np.int16), np.asarray(rounds[0])
    for now in rounds[1:]:
        found += (last >= 0) & (now >= 0) & (last != now)
        last = np.where(now >= 0, now, last)
    return found
