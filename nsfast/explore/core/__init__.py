"""What the explorer counts and chooses, in numpy alone: pseudo-labels, selections of them, previews of a threshold."""

from nsfast.explore.core.labels import Answers, PseudoLabels
from nsfast.explore.core.preview import ThresholdPreview, ThresholdTable
from nsfast.explore.core.selection import SORTS, Filter, Selection, select

__all__ = [
    "SORTS",
    "Answers",
    "Filter",
    "PseudoLabels",
    "Selection",
    "ThresholdPreview",
    "ThresholdTable",
    "select",
]
