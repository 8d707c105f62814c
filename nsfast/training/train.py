"""From a recipe and pictures to a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from fastai.callback.schedule import ParamScheduler, combined_cos
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper

from nsfast.errors import NsfastError
from nsfast.files import fingerprint
from nsfast.images import Split
from nsfast.losses import SoftTargetCrossEntropy, SoftTargets, soft_accuracy, soft_targets
from nsfast.models import Network, build_model, default_device
from nsfast.noise import RandAugment, StochasticDepth
from nsfast.streams import seed_everything
from nsfast.training.average import WeightAverage
from nsfast.training.batches import Pictures, joint_loaders
from nsfast.training.checkpoint import Checkpoint
from nsfast.training.recipe import Recipe


@dataclass(frozen=True)
class PseudoLabeled:
    """Pseudo-labeled pictures after selection.

    Args:
        pixels: (n, height, width, channels) uint8.
        probabilities: (n, classes) float32, the teacher's distributions.
        copies: (n,) int64, how often each enters an epoch, 1 or more.
    """

    pixels: np.ndarray
    probabilities: np.ndarray
    copies: np.ndarray


@dataclass(frozen=True)
class Trained:
    """What a training gives: `model` has the raw weights, `average` the averaged ones; `history` a row per epoch."""

    model: Network
    average: Network
    history: list[dict]


def weight_groups(model: torch.nn.Module) -> list[list[torch.nn.Parameter]]:
    """Two parameter groups: weights that decay, and biases and normalisation parameters that do not."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [[p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]]


def build_learner(
    recipe: Recipe,
    classes: int,
    statistics: tuple[Sequence[float], Sequence[float]],
    labeled: Split,
    validation: Split,
    pseudo: PseudoLabeled | None = None,
    device: torch.device | None = None,
) -> Learner:
    """Return the fastai `Learner` of a recipe: network, joint batches, loss, noise; not trained yet.

    Args:
        classes: number of classes.
        statistics: mean and standard deviation per channel, on 0..1.
        labeled, validation: pictures with labels.
        pseudo: selected pseudo-labeled pictures; needed when `recipe.ratio` is above 0.

    Raises:
        NsfastError: a ratio without pseudo-labels, pseudo-labels that name another number of classes, or noise that
            the network does not take.
    """
    if recipe.ratio and (pseudo is None or not len(pseudo.pixels)):
        raise NsfastError(
            f"ratio is {recipe.ratio} but no pseudo-label is selected; lower the threshold, or set ratio to 0"
        )
    device = device or default_device()
    seed_everything(recipe.seed, "weights")
    model = build_model(
        recipe.architecture,
        classes,
        labeled.pixels.shape[3],
        recipe.size,
        recipe.dropout,
        *statistics,
    ).to(device)
    targets = soft_targets(torch.from_numpy(np.asarray(labeled.labels)), classes)
    pixels, groups = [labeled.pixels], [np.arange(len(labeled)), np.empty(0, np.int64)]
    if recipe.ratio:
        if pseudo.probabilities.shape[1] != classes:
            raise NsfastError(
                f"pseudo-labels over {pseudo.probabilities.shape[1]} classes; the pictures have {classes}"
            )
        pixels.append(pseudo.pixels)
        soft = torch.from_numpy(np.asarray(pseudo.probabilities, np.float32))
        targets = torch.cat([targets, soft / soft.sum(1, keepdim=True)])  # stored in half precision
        groups[1] = np.repeat(np.arange(len(pseudo.pixels)) + len(labeled), pseudo.copies)
    loaders = joint_loaders(
        Pictures(pixels, targets, 0, device),
        groups,
        Pictures([validation.pixels], torch.from_numpy(np.asarray(validation.labels)), 1, device),
        labeled=recipe.batch,
        pseudo=recipe.batch * recipe.ratio,
        steps=recipe.steps_per_epoch,
        epoch_by=recipe.epoch_by,
        device=device,
    )
    return Learner(
        loaders,
        model,
        loss_func=SoftTargetCrossEntropy(),
        opt_func=partial(OptimWrapper, opt=torch.optim.AdamW, fused=True),
        splitter=weight_groups,
        metrics=soft_accuracy,
        cbs=_callbacks(recipe, model),
    )


def rand_augment_options(recipe: Recipe) -> dict:
    """Return what a recipe says of RandAugment, as arguments of its callback and of `rand_augment`."""
    names = ("n", "m", "scale", "operations", "fill")
    return {name: getattr(recipe, f"randaugment_{name}") for name in names}


def _callbacks(recipe: Recipe, model: Network) -> list:
    """Loss and noise of a recipe; a network that does not take them is refused here, before anything is trained."""
    callbacks = [
        SoftTargets(
            recipe.batch,
            recipe.loss_normalisation,
            recipe.targets,
            recipe.temperature,
            recipe.label_smoothing,
        )
    ]
    if recipe.randaugment_n:
        callbacks.append(RandAugment(**rand_augment_options(recipe)))
    if recipe.stochastic_depth:
        callbacks.append(StochasticDepth(recipe.stochastic_depth))
        callbacks[-1].plan(model)
    return callbacks


def train(
    recipe: Recipe,
    classes: int,
    statistics: tuple[Sequence[float], Sequence[float]],
    labeled: Split,
    validation: Split,
    pseudo: PseudoLabeled | None = None,
    checkpoint: str | Path = "checkpoint.safetensors",
    inputs: dict | None = None,
) -> Trained:
    """Train a network, continuing from `checkpoint` when it is of the same recipe and inputs.

    Args:
        inputs: plain data that says what the pictures and labels are (checksums); part of the checkpoint's identity.
        others: see `build_learner`.

    Returns:
        The network with raw and averaged weights, in eval mode on the CPU, and the history.
    """
    learner = build_learner(recipe, classes, statistics, labeled, validation, pseudo)
    print(learner.dls.train.describe())
    average = WeightAverage(recipe.ema)
    identity = fingerprint(
        {"recipe": recipe.to_dict(), "classes": classes, "statistics": statistics, "inputs": inputs}
    )
    saver = Checkpoint(checkpoint, identity, recipe.seed, average)
    rate = combined_cos(
        recipe.warmup, recipe.learning_rate / 25, recipe.learning_rate, recipe.learning_rate / 1e3
    )
    with learner.no_bar(), learner.no_logging():
        learner.fit(
            recipe.epochs, wd=[recipe.weight_decay, 0.0], cbs=[average, saver, ParamScheduler({"lr": rate})]
        )
    return Trained(learner.model.eval().cpu(), average.average.eval().cpu(), saver.history)
