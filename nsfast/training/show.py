"""What a training will see, before it starts: noised views of a picture, and one joint batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from nsfast.images import Split
from nsfast.images.files import taken
from nsfast.noise import rand_augment
from nsfast.streams import numpy_stream, stream_seed
from nsfast.training.learner import PseudoLabeled, build_learner, rand_augment_options
from nsfast.training.recipe import Recipe

SHOWN, MOST = 256, 4096  # pictures of a batch, and those that one is drawn from


def noised_views(pixels: np.ndarray, recipe: Recipe, views: int = 8) -> np.ndarray:
    """Return `views` RandAugmented versions of each picture, one picture after the other.

    Args:
        pixels: (n, height, width, channels) uint8.

    Returns:
        (n * views, height, width, channels) uint8.
    """
    x = torch.from_numpy(np.repeat(pixels, views, axis=0)).permute(0, 3, 1, 2)
    generator = torch.Generator().manual_seed(stream_seed(recipe.seed, "noised views"))
    return rand_augment(x, **rand_augment_options(recipe), generator=generator).permute(0, 2, 3, 1).numpy()


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
    pixels = x.mul(255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    return pixels.as_subclass(torch.Tensor).numpy(), y.as_subclass(torch.Tensor).numpy()
