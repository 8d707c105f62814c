"""Decisions of people on pseudo-labels: written one line after another, read by balancing, merged, heeded."""

from nsfast.labels.decisions.decided import COLUMNS, Decisions, ids_of
from nsfast.labels.decisions.history import History
from nsfast.labels.decisions.log import DecisionLog
from nsfast.labels.decisions.merge import merge_decisions
from nsfast.labels.decisions.read import Lines, read_decisions, read_lines
from nsfast.labels.decisions.record import ACTIONS, Verdict

__all__ = [
    "ACTIONS",
    "COLUMNS",
    "DecisionLog",
    "Decisions",
    "History",
    "Lines",
    "Verdict",
    "ids_of",
    "merge_decisions",
    "read_decisions",
    "read_lines",
]
