"""Released benchmark sets and own natural ones, read from their folders; none is needed, and none is fetched."""

from nsfast.robustness.sets.about import SETS, ReleasedSet
from nsfast.robustness.sets.classes import imagenet_wnids
from nsfast.robustness.sets.hard import hard_question
from nsfast.robustness.sets.opening import SEQUENCE_SETS, open_sequences, open_set
from nsfast.robustness.sets.released import DescribedQuestion

__all__ = [
    "SEQUENCE_SETS",
    "SETS",
    "DescribedQuestion",
    "ReleasedSet",
    "hard_question",
    "imagenet_wnids",
    "open_sequences",
    "open_set",
]
