"""Figures that answer one question each, from arrays and plain rows, without pyplot or a display."""

from nsfast.analysis.figures.attack import attack_curves
from nsfast.analysis.figures.corrupted import corrupted_grid, perturbation_strip
from nsfast.analysis.figures.corruption import corruption_bars, severity_curves
from nsfast.analysis.figures.flips import flip_bars
from nsfast.analysis.figures.labels import confidence_histogram, kept_dropped_copied, label_quality_by_round
from nsfast.analysis.figures.line import accuracy_on_the_line
from nsfast.analysis.figures.models import (
    accuracy_by_model,
    reliability_diagram,
    reliability_under_corruption,
    training_curves,
)
from nsfast.analysis.figures.natural import natural_bars
from nsfast.analysis.figures.pictures import joint_batch, picture_grid, surest_and_least_sure
from nsfast.analysis.figures.quality import (
    agreement_between_rounds,
    classes_against_labeled,
    estimated_and_true_precision,
)

__all__ = [
    "accuracy_by_model",
    "accuracy_on_the_line",
    "agreement_between_rounds",
    "attack_curves",
    "classes_against_labeled",
    "confidence_histogram",
    "corrupted_grid",
    "corruption_bars",
    "estimated_and_true_precision",
    "flip_bars",
    "joint_batch",
    "kept_dropped_copied",
    "label_quality_by_round",
    "natural_bars",
    "perturbation_strip",
    "picture_grid",
    "reliability_diagram",
    "reliability_under_corruption",
    "severity_curves",
    "surest_and_least_sure",
    "training_curves",
]
