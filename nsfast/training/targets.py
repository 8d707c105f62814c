"""The teacher's distributions as they are kept, and made whole again: every class, or the likeliest few of them.

Of a distribution over a thousand classes the likeliest ten are kept, 40 bytes instead of 2000. What they leave of the
whole is spread evenly over the other classes and never given to the ten: that would make every target surer than the
teacher is (Shen and Xing, "A Fast Knowledge Distillation Framework", arXiv 2112.01528, "marginal smoothing").
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nsfast.errors import NsfastError

WHOLE, TOP = 100, 10


def usual_top(classes: int) -> int:
    """Return how many of the likeliest classes are kept where nobody says: 0, which is all, up to 100 classes."""
    return TOP if classes > WHOLE else 0


def dense(top_classes: torch.Tensor, top_probabilities: torch.Tensor, classes: int) -> torch.Tensor:
    """Return whole distributions (n, classes) float32, on the device of what is given.

    Args:
        top_classes: (n, k) integers, each row without repetition.
        top_probabilities: (n, k), in any precision; what they leave of 1 goes to the other classes in equal parts, of
            which none becomes as likely as the likeliest, although rounding may have made that one smaller.
        classes: how many there are, at least k.
    """
    kept = top_probabilities.float()
    total = kept.sum(1, keepdim=True)
    others = classes - kept.shape[1]
    rest = (1 - total).clamp_(min=0) / others if others else torch.zeros_like(total)
    rest = rest.minimum(kept.amax(1, keepdim=True) * (1 - 2**-11))
    whole = rest.expand(-1, classes).clone()
    return whole.scatter_(1, top_classes.long(), kept)


@dataclass(frozen=True)
class Distributions:
    """Distributions of n pictures as they are kept; the arrays may be memory maps.

    Args:
        probabilities: (n, classes) float16, or (n, k) of the likeliest k in falling order.
        classes: how many classes there are.
        top_classes: (n, k) uint16, which classes those are; None for every class in order.
        path: of the file that the arrays are maps of, "" for none; another process opens it and is not sent the arrays.

    Raises:
        NsfastError: arrays that do not fit each other or the number of classes.
    """

    probabilities: np.ndarray
    classes: int
    top_classes: np.ndarray | None = None
    path: str = ""

    def __post_init__(self):
        found, top = self.probabilities.shape, self.top_classes
        fits = len(found) == 2 and (
            found[1] == self.classes if top is None else top.shape == found and found[1] <= self.classes
        )
        if not fits:
            said = "" if top is None else f" of the classes in an array {top.shape}"
            raise NsfastError(f"probabilities {found}{said} do not fit {self.classes} classes")

    @classmethod
    def mapped(cls, path: str | Path, classes: int) -> Distributions:
        """Open a .npy of records (classes uint16, probabilities float16), or of (n, classes) float16, as memory maps.

        Raises:
            NsfastError: the file is missing or damaged, or of another number of classes.
        """
        path, again = os.path.abspath(path), "run balancing (03_balancing) again"
        try:
            rows = np.lib.format.open_memmap(path, mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise NsfastError(f"cannot read {path} ({str(error).splitlines()[0]}); {again}") from None
        named = rows.dtype.names == ("classes", "probabilities")
        probabilities, top_classes = (rows["probabilities"], rows["classes"]) if named else (rows, None)
        if probabilities.dtype != np.float16 or (named and top_classes.dtype != np.uint16):
            raise NsfastError(f"{path} holds {rows.dtype}, not labels; {again}")
        try:
            return cls(probabilities, classes, top_classes, path)
        except NsfastError as error:
            raise NsfastError(f"{path} is of other labels: {error}; {again}") from None

    def __reduce__(self):
        if self.path:
            return Distributions.mapped, (self.path, self.classes)
        return Distributions, (self.probabilities, self.classes, self.top_classes)

    @property
    def top(self) -> int:
        """How many of the likeliest classes are kept, 0 for all of them."""
        return 0 if self.top_classes is None else self.top_classes.shape[1]

    def __len__(self) -> int:
        return len(self.probabilities)

    def __getitem__(self, rows) -> Distributions:
        """Return some rows (a slice or integers), as they are kept."""
        top = None if self.top_classes is None else self.top_classes[rows]
        return Distributions(self.probabilities[rows], self.classes, top)

    def dense(self, temperature: float = 1.0, hard: bool = False) -> np.ndarray:
        """Return whole distributions (n, classes) float32 that sum to 1.

        Args:
            temperature: above 0; of logits divided by it: above 1 softer, below 1 surer.
            hard: 1 for the likeliest class, of equals the one with the lower number, and 0 for the others.
        """
        if not temperature > 0:
            raise NsfastError(f"temperature is {temperature!r}; it must be above 0")
        kept = torch.from_numpy(np.asarray(self.probabilities, np.float32))
        if self.top_classes is not None:
            kept = dense(torch.from_numpy(np.asarray(self.top_classes, np.int64)), kept, self.classes)
        if hard:
            return torch.nn.functional.one_hot(kept.argmax(1), self.classes).float().numpy()
        if temperature != 1:
            kept = kept.double().pow(1 / temperature).float()
        return (kept / kept.sum(1, keepdim=True)).numpy()


def no_distributions(classes: int) -> Distributions:
    """Return those of no picture, kept as they usually are."""
    top = usual_top(classes)
    return Distributions(
        np.empty((0, top or classes), np.float16), classes, np.empty((0, top), np.uint16) if top else None
    )
