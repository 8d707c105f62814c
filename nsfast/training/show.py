"""What a training will see, before it starts: noised views of a picture, and one joint batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from fasttransform import Pipeline

from nsfast.images import Split
from nsfast.images.files import PictureFiles, taken
from nsfast.noise.callbacks import RandAugmentTransform
from nsfast.streams import numpy_stream, stream_seed
from nsfast.training.learner import (
    PseudoLabeled,
    batch_transforms,
    build_learner,
    rand_augment_options,
    training_pictures,
)
from nsfast.training.pictures import ToFloat
from nsfast.training.recipe import Recipe

SHOWN, MOST = 256, 4096  # pictures of a batch, and those that one is drawn from


def noised_views(
    pixels: np.ndarray | PictureFiles, recipe: Recipe, views: int = 8, seed: int | None = None
) -> np.ndarray:
    """Return `views` versions of each picture as a training sees them, one picture after the other.

    Args:
        pixels: (n, height, width, channels) uint8, or a few pictures kept as files.
        recipe: whose crop, resolution, RandAugment, cutout and mirror they have.
        views: of each picture.
        seed: of the draws, 0 or more; the recipe's by default.

    Returns:
        (n * views, side, side, channels) uint8.

    Raises:
        NsfastError: a file cannot be read, or crops that only pictures kept as files can have.
    """
    seed = stream_seed(recipe.seed if seed is None else seed, "noised views")
    targets, rows = torch.zeros(len(pixels)), np.repeat(np.arange(len(pixels)), views)
    pictures = training_pictures(recipe, [pixels], targets, hasattr(pixels, "crops"))
    x, _ = pictures.take(rows, seed)
    noise = [RandAugmentTransform(**rand_augment_options(recipe))] if recipe.randaugment_n else []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        x = Pipeline([ToFloat(), *noise, *batch_transforms(recipe, pictures)], split_idx=0)(x)
    return _levels(x)


def one_joint_batch(
    recipe: Recipe, labeled: Split, validation: Split, pseudo: PseudoLabeled, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return one joint batch as the student will get it: noised pixels uint8 and soft targets (n, classes).

    The labeled ones come first, one in 1 + `recipe.ratio`; of a large batch as many as can be shown.
    """
    batch = (
        recipe.batch
        if recipe.batch * (1 + recipe.ratio) <= SHOWN
        else max(2, SHOWN // 4 // (1 + recipe.ratio))
    )
    recipe = replace(recipe, architecture="small", batch=batch, accumulate=1)
    if len(pseudo.copies) > MOST:
        rows = np.sort(numpy_stream(recipe.seed, "one joint batch").choice(len(pseudo.copies), MOST, False))
        pseudo = PseudoLabeled(taken(pseudo.pixels, rows), pseudo.distributions[rows], pseudo.copies[rows])
    channels = labeled.pixels.shape[3]
    statistics = ([0.5] * channels, [0.5] * channels)
    learner = build_learner(recipe, classes, statistics, labeled, validation, pseudo, torch.device("cpu"))
    x, y = learner.rand_augment.one_batch() if recipe.randaugment_n else learner.dls.train.one_batch()
    return _levels(x), y.as_subclass(torch.Tensor).numpy()


def _levels(x: torch.Tensor) -> np.ndarray:
    """Pictures (n, channels, height, width) on 0..1 as (n, height, width, channels) uint8."""
    x = x.as_subclass(torch.Tensor)
    return x.mul(255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
