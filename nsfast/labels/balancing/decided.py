"""The label table as balancing sees it: class and confidence after a person's decisions and a recalibration."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from nsfast.errors import NsfastError
from nsfast.files import checksum
from nsfast.labels.calibrate import recalibrated_confidence
from nsfast.labels.histogram import CODES, Histogram, codes_of
from nsfast.labels.shards import read_batches
from nsfast.labels.table import LabelTable

SURE = CODES - 1
"""The code of confidence 1."""

ROWS = 1 << 18
"""Rows that are looked at together; what a step needs of them stays in a processor's cache."""


@dataclass(frozen=True)
class Part:
    """Some rows: ids (n,) int64 (None where not asked for), classes (n,) uint16, codes (n,) uint16 of the confidences.

    `out` (m,) uint16 are the classes of the rows that a decision took out; they are not among the n. `sure` is how many
    rows, those that are out included, were accepted or relabeled.
    """

    ids: np.ndarray | None
    classes: np.ndarray
    codes: np.ndarray
    out: np.ndarray
    sure: int = 0


class Decided:
    """A label table and what has been decided of it. An id that the table does not have changes nothing.

    Args:
        labels: the table.
        temperature: of the confidences, which are the largest of the softmax of logits / temperature.
        relabeled: the class of ids that a person gave another one; their confidence is 1.
        accepted: ids that a person found right; their confidence is 1.
        dropped: ids that are out, whatever else is said of them.
        below: confidences at or above it are out, those that a person is sure of too; 0 for no such limit.
    """

    def __init__(
        self,
        labels: LabelTable,
        temperature: float = 1.0,
        relabeled: Mapping[int, int] | None = None,
        accepted: Collection[int] = (),
        dropped: Collection[int] | np.ndarray = (),
        below: float = 0.0,
    ):
        relabeled = relabeled or {}
        for name, number in relabeled.items():
            if not 0 <= number < len(labels.classes):
                raise NsfastError(
                    f"picture {name} is relabeled as class {number}; there are 0 to {len(labels.classes) - 1}"
                )
        self.labels, self.temperature = labels, temperature
        self.relabeled, self.dropped = _sorted(relabeled), _sorted(dropped)
        self.accepted = np.union1d(_sorted(accepted), self.relabeled)
        self._limit = int(codes_of(np.array([below], np.float16))[0]) if below else CODES
        self._classes = np.array([relabeled[i] for i in self.relabeled.tolist()], np.uint16)

    @property
    def _decided(self) -> bool:
        return len(self.accepted) + len(self.dropped) > 0

    def parts(self, ids: bool = True) -> Iterator[Part]:
        """Go through the rows in the order of the table.

        Args:
            ids: whether ids are needed.

        Raises:
            NsfastError: a confidence or a class that cannot be, or a damaged file; names the shard.
        """
        recalibrated = self.temperature != 1
        kept = self.labels.vector_columns[-1]
        columns = ["class", kept if recalibrated else "confidence"]
        if ids := ids or self._decided:
            columns.append("id")
        width = (self.labels.origin.top or len(self.labels.classes)) if recalibrated else 1
        for path in self.labels.paths:
            for batch in read_batches(path, columns, max(ROWS // width, 1)):
                classes = batch["class"]
                try:
                    codes = codes_of(self._confidence(batch[kept]) if recalibrated else batch["confidence"])
                    if len(classes) and classes.max() >= len(self.labels.classes):
                        raise NsfastError(
                            f"it has class {classes.max()} of {len(self.labels.classes)}; label again"
                        )
                except NsfastError as error:
                    raise NsfastError(f"{path}: {error}") from None
                yield self._limited(self._after(batch["id"] if ids else None, classes, codes))

    def histogram(self, lowest: int = 0) -> Histogram:
        """Count the rows; those that are out count as below the lowest code.

        The table's own histogram is taken when every row is as it was labeled and the file is the manifest's.
        """
        path = self.labels.folder / "histogram.parquet"
        known = self.labels.manifest.get("files", {}).get(path.name)
        as_labeled = self.temperature == 1 and not self._decided and self._limit == CODES
        if as_labeled and known and path.is_file() and checksum(path) == known:
            return Histogram.load(path, len(self.labels.classes), lowest)
        found = Histogram(len(self.labels.classes), lowest)
        for part in self.parts(ids=False):
            found.add_codes(part.classes, part.codes)
            found.below += np.bincount(part.out, minlength=found.classes)
        return found

    def _after(self, ids: np.ndarray | None, classes: np.ndarray, codes: np.ndarray) -> Part:
        """Some rows after the decisions."""
        nothing = np.empty(0, np.uint16)
        if ids is None or not self._decided or not len(ids):
            return Part(ids, classes, codes, nothing)
        low, high = ids.min(), ids.max()
        relabeled, accepted, dropped = (
            some[np.searchsorted(some, low) : np.searchsorted(some, high, "right")]
            for some in (self.relabeled, self.accepted, self.dropped)
        )
        if len(relabeled):
            rows = np.flatnonzero(np.isin(ids, relabeled))
            classes = classes.copy()
            classes[rows] = self._classes[np.searchsorted(self.relabeled, ids[rows])]
        sure = 0
        if len(accepted):
            rows = np.isin(ids, accepted)
            codes, sure = np.where(rows, np.uint16(SURE), codes), int(rows.sum())
        if not len(dropped):
            return Part(ids, classes, codes, nothing, sure)
        out = np.isin(ids, dropped)
        return Part(ids[~out], classes[~out], codes[~out], classes[out], sure)

    def _limited(self, part: Part) -> Part:
        """Some rows without those at or above the limit."""
        over = part.codes >= self._limit
        if not over.any():
            return part
        ids = None if part.ids is None else part.ids[~over]
        out = np.concatenate([part.out, part.classes[over]])
        return Part(ids, part.classes[~over], part.codes[~over], out, part.sure)

    def _confidence(self, kept: np.ndarray) -> np.ndarray:
        """Confidences (n,) float16 at another temperature; what is no number is refused by whoever reads it."""
        with np.errstate(invalid="ignore", divide="ignore"):
            found = recalibrated_confidence(kept, len(self.labels.classes), self.temperature)
        return found.astype(np.float16)


def _sorted(ids: Collection[int] | np.ndarray) -> np.ndarray:
    """Ids, each once, in order."""
    return np.unique(
        ids.astype(np.int64) if isinstance(ids, np.ndarray) else np.fromiter(ids, np.int64, len(ids))
    )
