"""Figures that answer one question each, from arrays and plain rows, without pyplot or a display."""

from nsfast.analysis.figures.labels import confidence_histogram, kept_dropped_copied, label_quality_by_round
from nsfast.analysis.figures.models import accuracy_by_model, reliability_diagram, training_curves
from nsfast.analysis.figures.pictures import joint_batch, picture_grid, surest_and_least_sure
from nsfast.analysis.figures.quality import (
    agreement_between_rounds,
    classes_against_labeled,
    estimated_and_true_precision,
)
from nsfast.analysis.figures.robustness import attack_curves, robustness_curves

__all__ = [
    "accuracy_by_model",
    "agreement_between_rounds",
    "attack_curves",
    "classes_against_labeled",
    "confidence_histogram",
    "estimated_and_true_precision",
    "joint_batch",
    "kept_dropped_copied",
    "label_quality_by_round",
    "picture_grid",
    "reliability_diagram",
    "robustness_curves",
    "surest_and_least_sure",
    "training_curves",
]
