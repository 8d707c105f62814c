"""The label table: predict it, read it, filter and balance it."""

from nsfast.labels.balancing.balance import METHODS, Balanced, Balancing, balance, what_if
from nsfast.labels.balancing.selection import (
    Selection,
    about_selection,
    read_selection,
    selected_batches,
    write_selection,
)
from nsfast.labels.origin import Origin
from nsfast.labels.table import LabelTable, read_labels, write_labels

__all__ = [
    "METHODS",
    "Balanced",
    "Balancing",
    "LabelTable",
    "Origin",
    "Selection",
    "about_selection",
    "balance",
    "read_labels",
    "read_selection",
    "selected_batches",
    "what_if",
    "write_labels",
    "write_selection",
]
