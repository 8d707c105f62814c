"""The hard test pictures of one's own data: those that a named model gets wrong, as ImageNet-A was chosen."""

from __future__ import annotations

import numpy as np

from nsfast.errors import NsfastError
from nsfast.files import fingerprint
from nsfast.images import Split
from nsfast.robustness.answers import Version
from nsfast.robustness.content import content_of
from nsfast.robustness.sets.released import DescribedQuestion, question


def hard_question(split: Split, predicted: np.ndarray, baseline: str) -> DescribedQuestion | None:
    """Return the question of the pictures that the baseline gets wrong, None where it gets none wrong.

    Args:
        split: test pictures with their labels.
        predicted: int (n,), what the baseline says of each.
        baseline: name of the model, which the description tells.

    Raises:
        NsfastError: pictures without labels, or another number of predictions.
    """
    predicted = np.asarray(predicted)
    if split.labels is None or predicted.shape != (len(split),):
        raise NsfastError(
            f"hard pictures need a label and a prediction of {baseline} for each of {len(split)} pictures; there are "
            f"{'no' if split.labels is None else len(split.labels)} labels and predictions of shape {predicted.shape}"
        )
    rows = np.flatnonzero(predicted != split.labels)
    if not len(rows):
        return None
    chosen = split.take(rows)
    said = [
        f"The {len(rows):,} of {len(split):,} test pictures that {baseline} gets wrong.",
        "It has none right by construction, and models that err as it does score low too: compare the others.",
    ]
    digest = fingerprint([content_of(chosen), baseline])
    return question(Version("hard"), chosen.ids, chosen.labels, digest, lambda: chosen.pixels, said)
