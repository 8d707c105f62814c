"""From a recipe to a trained network: joint batches, weight average, checkpoint, model file."""

from nsfast.training.recipe import Recipe

__all__ = ["Recipe"]
