"""The label table: predict it, read it, filter and balance it."""

from nsfast.labels.select import METHODS, Selection, class_counts, read_selection, select, write_selection
from nsfast.labels.table import LabelTable, read_labels

__all__ = [
    "METHODS",
    "LabelTable",
    "Selection",
    "class_counts",
    "read_labels",
    "read_selection",
    "select",
    "write_selection",
]
