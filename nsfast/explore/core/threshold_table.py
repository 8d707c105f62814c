"""What one threshold keeps, drops and copies of each class, and what that comes to in all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nsfast.analysis.metrics import wilson_interval


@dataclass(frozen=True)
class ThresholdTable:
    """What one threshold makes of the pseudo-labels; arrays are (classes,), int64 if nothing else is said."""

    threshold: float
    classes: tuple[str, ...]
    predicted: np.ndarray
    """Pseudo-labels of each class, whatever their confidence."""
    above: np.ndarray
    """Those that reach the threshold."""
    kept: np.ndarray
    """Those of them that enter training: the most confident `per_class`, or all when there is no cap."""
    copies: np.ndarray
    """Copies added to fill the class up to `per_class`; none for a class with nothing to copy."""
    right: np.ndarray | None
    """float64: kept ones whose label is right, where the truth is known; of equally confident ones of which only some
    are kept, whom lots will decide, as many as are expected."""
    lowest: np.ndarray
    """float64: the confidence of the least confident of the kept, nan where none is kept."""
    per_class: int
    """N, what every class is to come to, copies counted; 0 where nothing is balanced."""
    why: str
    """Where N is from, and which classes come to less, in one sentence."""
    labeled: int | None = None
    """Labeled pictures of all classes, where their number is known."""
    estimated: dict | None = None
    """Of the kept, `precision`, `low` and `high` (95 %) as validation lets expect, and `effective`, the validation
    pictures that rests on; None where the truth is known or nothing is kept, or without validation."""

    @property
    def dropped(self) -> np.ndarray:
        """Pseudo-labels that do not enter training, for the threshold or for the cap."""
        return self.predicted - self.kept

    @property
    def seen(self) -> np.ndarray:
        """Kept and copies: what the student sees in one pass."""
        return self.kept + self.copies

    @property
    def coverage(self) -> float:
        """Share of all pseudo-labels that are kept, 0 to 1."""
        return float(self.kept.sum() / self.predicted.sum())

    @property
    def precision(self) -> float | None:
        """Share of the kept that is right, 0 to 1; nan when nothing is kept, None without a truth."""
        return None if self.right is None else float(_share(self.right.sum(), self.kept.sum()))

    @property
    def imbalance_before(self) -> float:
        """Largest class over smallest of those above the threshold; inf if one is empty, nan if all are."""
        return _imbalance(self.above)

    @property
    def imbalance_after(self) -> float:
        """Largest class over smallest, of those the student sees; inf when one is empty, nan when all are."""
        return _imbalance(self.seen)

    def rows(self) -> list[dict]:
        """Return a row per class with the columns of `balance.csv`.

        Where the truth is known, also the precision and its Wilson interval (low, high).
        """
        names = ("predicted", "above", "kept", "dropped", "copies", "seen")
        columns = {name: getattr(self, name).tolist() for name in names}
        if self.right is not None:
            low, high = wilson_interval(self.right, self.kept)
            share = _share(self.right, self.kept)
            columns |= {"precision": share.tolist(), "low": low.tolist(), "high": high.tolist()}
        return [
            {"class": name, **{key: values[number] for key, values in columns.items()}}
            for number, name in enumerate(self.classes)
        ]

    def totals(self) -> dict[str, float]:
        """Return the threshold, the sums over classes, coverage and imbalance before and after balancing.

        Where the truth is known, also the precision and its Wilson interval (low, high); where the labeled pictures
        are counted, also `labeled` and `times_labeled`, seen over that.
        """
        names = ("predicted", "above", "kept", "dropped", "copies", "seen")
        totals = {"threshold": self.threshold, **{name: int(getattr(self, name).sum()) for name in names}}
        totals |= {
            "coverage": self.coverage,
            "imbalance_before": self.imbalance_before,
            "imbalance_after": self.imbalance_after,
        }
        if self.right is not None:
            low, high = wilson_interval(self.right.sum(), self.kept.sum())
            totals |= {"precision": self.precision, "low": float(low), "high": float(high)}
        if self.labeled:
            totals |= {"labeled": self.labeled, "times_labeled": totals["seen"] / self.labeled}
        return totals


def _share(part, whole) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.true_divide(part, whole)


def _imbalance(count: np.ndarray) -> float:
    if not count.max():
        return float("nan")
    return float(count.max() / count.min()) if count.min() else float("inf")
