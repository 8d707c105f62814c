"""How many pseudo-labels are right, estimated without their truth from validation pictures.

The share of right answers at each confidence is measured on validation pictures, which the teacher was not trained on,
as an isotonic regression (it never falls with confidence, and no bins are to be chosen), and averaged over the
confidences of the pseudo-labels. So it is sound only as far as an unlabeled picture of some confidence is as often
right as a validation picture of that confidence. It is too high where pictures of no class, or harder ones, are in the
pool, and a little too high where validation has chosen the teacher's epoch.

The interval is Wilson's with an effective number of pictures (Kish, "Survey Sampling", 1965; Korn and Graubard,
"Confidence intervals for proportions with small expected number of positive counts", 1998). Where the regression is
level it is the share of right ones among m pictures, and a part W of the pseudo-labels rests on them; all together are
worth 1 / sum(W ** 2 / m) of them, at most as many as there are pseudo-labels. Percentiles of a bootstrap would be
empty where all validation pictures are right: in simulations of five kinds of teacher with 40 to 1000 validation
pictures those held the truth 12 to 93 times in 100, this interval 91 to 100 times (the test repeats some of them).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nsfast.errors import NsfastError
from nsfast.labels.histogram import CODES, codes_of, confidence_of
from nsfast.labels.quality.reliability import reliability_table, wilson_interval
from nsfast.streams import numpy_stream

ASSUMES = (
    "a pseudo-label, whatever its class, is as often right as that of a validation picture of the same confidence; "
    "with pictures of no class, or harder ones, in the pool it is less often right than this says"
)

Validation = tuple[np.ndarray, np.ndarray, np.ndarray]
"""What the teacher says of pictures it was not trained on: predicted class, confidence and true class, (n,) each."""


def estimate_precision(
    validation: Validation, pools: Sequence[np.ndarray], folds: int = 5, seed: int = 0
) -> dict:
    """Return the expected precision of sets of pseudo-labels, and whether the estimate can be trusted.

    Args:
        validation: predicted class, confidence (0 to 1) and true class of n pictures, at least 2.
        pools: of each set, how many pseudo-labels have each confidence, integers (15361,) by code.
        folds: in how many parts the pictures are cut, at most as many as there are.
        seed: of the cut.

    Returns:
        `n`, `folds`, `seed`, `assumes` (in words); of the held-out pictures `brier` (mean squared error) and `ece` of
        the regression, beside `brier_of_confidence` and `ece_of_confidence`, those of the confidence as it is; and
        `sets`, for each pool `labels`, `precision`, `low`, `high` (95 %) and `effective`, how many validation pictures
        it rests on, None where there is no label.

    Raises:
        NsfastError: fewer than 2 pictures, arrays of different lengths, or a confidence that is none.
    """
    fit = PrecisionFit(validation, folds, seed)
    return {**fit.summary(), "sets": [fit.of(pool) for pool in pools]}


class PrecisionFit:
    """How often a pseudo-label of each confidence is right, learned from validation once and asked of any set of them.

    Each of the folds' regressions is scored on the pictures it has not seen, and their mean is the estimate.

    Args:
        validation, folds, seed: as for `estimate_precision`.

    Raises:
        NsfastError: as `estimate_precision`.
    """

    def __init__(self, validation: Validation, folds: int = 5, seed: int = 0):
        predicted, confidence, labels = map(np.asarray, validation)
        if len(predicted) < 2 or not predicted.shape == confidence.shape == labels.shape:
            raise NsfastError(
                f"validation has {predicted.shape} classes, {confidence.shape} confidences and {labels.shape} labels; "
                "give one each of at least 2 pictures"
            )
        codes, self._right = codes_of(confidence), predicted == labels
        self.n, self.folds, self.seed = len(codes), min(folds, len(codes)), seed
        fold = numpy_stream(seed, "folds of validation").permutation(self.n) % self.folds
        self._held_out, curves = np.empty(self.n), []
        for number in range(self.folds):
            known, _, shares = _isotonic(codes[fold != number], self._right[fold != number])
            curves.append(np.interp(_CONFIDENCE, _CONFIDENCE[known], shares))
            self._held_out[fold == number] = curves[-1][codes[fold == number]]
        self._curve, self._weight = np.mean(curves, axis=0), _Weight(codes, self._right)
        self._sure = _CONFIDENCE[codes]

    def of(self, pool: np.ndarray) -> dict:
        """Return `labels`, `precision`, `low`, `high` and `effective` of a set of pseudo-labels.

        Args:
            pool: how many of them have each confidence, (15361,) by code.
        """
        labeled = int(pool.sum())
        found = {"labels": labeled, "precision": None, "low": None, "high": None, "effective": None}
        if labeled:
            precision = float(np.clip((pool / labeled) @ self._curve, 0, 1))
            effective = self._weight.of(pool)
            low, high = wilson_interval(precision * effective, effective)
            found |= {"precision": precision, "low": float(low), "high": float(high), "effective": effective}
        return found

    def summary(self) -> dict:
        """Return what `estimate_precision` says of the fit, without the sets."""
        right, held_out, sure = self._right, self._held_out, self._sure
        return {
            "n": self.n,
            "folds": self.folds,
            "seed": self.seed,
            "assumes": ASSUMES,
            "brier": float(((held_out - right) ** 2).mean()),
            "ece": reliability_table(held_out, right).expected_calibration_error,
            "brier_of_confidence": float(((sure - right) ** 2).mean()),
            "ece_of_confidence": reliability_table(sure, right).expected_calibration_error,
        }


_CONFIDENCE = confidence_of(np.arange(CODES)).astype(np.float64)


def _isotonic(codes: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the codes that occur, rising, how many pictures have each, and the share of right ones, never falling."""
    from sklearn.isotonic import isotonic_regression

    count = np.bincount(codes, minlength=CODES)
    known = np.flatnonzero(count)
    share = np.bincount(codes, weights=right, minlength=CODES)[known] / count[known]
    return known, count[known], np.clip(isotonic_regression(share, sample_weight=count[known]), 0, 1)


class _Weight:
    """How many validation pictures the estimate for some pseudo-labels rests on."""

    def __init__(self, codes: np.ndarray, right: np.ndarray):
        known, count, share = _isotonic(codes, right)
        place = np.interp(_CONFIDENCE, _CONFIDENCE[known], np.arange(len(known)))
        self._lower = place.astype(np.int64)
        self._upper = np.minimum(self._lower + 1, len(known) - 1)
        self._part = place - self._lower
        self._level = np.concatenate([[0], np.cumsum(np.diff(share) > 1e-12)])
        self._pictures = np.bincount(self._level, weights=count)

    def of(self, pool: np.ndarray) -> float:
        labels = pool.sum()
        resting = np.bincount(self._level[self._lower], pool * (1 - self._part), len(self._pictures))
        resting += np.bincount(self._level[self._upper], pool * self._part, len(self._pictures))
        return float(1 / (((resting / labels) ** 2 / self._pictures).sum() + 1 / labels))
