"""From a recipe and pictures to a fastai Learner: network, joint batches, loss, noise, optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from fastai.callback.training import GradientAccumulation
from fastai.learner import Learner

from nsfast.errors import NsfastError
from nsfast.images import Split
from nsfast.losses import SoftTargetCrossEntropy, SoftTargets, soft_accuracy
from nsfast.models import Network, build_model, default_device
from nsfast.models.network import pictures_at_once
from nsfast.noise import RandAugment, StochasticDepth
from nsfast.noise.crops import Cutout, PadCrop
from nsfast.noise.dropout import FinalDropout
from nsfast.streams import seed_everything
from nsfast.training.batches import joint_loaders
from nsfast.training.finetune import Frozen, freeze_first
from nsfast.training.optimizer import optimizer_function, weight_groups
from nsfast.training.pictures import FilePictures, JointTargets, Pictures, Resized
from nsfast.training.processes import Distribute, Processes
from nsfast.training.recipe import NOISES, Recipe
from nsfast.training.targets import Distributions, no_distributions


@dataclass(frozen=True)
class PseudoLabeled:
    """Pseudo-labeled pictures after selection.

    Args:
        pixels: (n, height, width, channels) uint8.
        distributions: the teacher's, of n pictures; or (n, classes) probabilities, float16 or float32.
        copies: (n,) integers, how often each enters an epoch, 1 or more.
    """

    pixels: np.ndarray
    distributions: Distributions
    copies: np.ndarray

    def __post_init__(self):
        if not isinstance(given := self.distributions, Distributions):
            object.__setattr__(self, "distributions", Distributions(given, np.shape(given)[-1]))


def build_learner(
    recipe: Recipe,
    classes: int,
    statistics: tuple[Sequence[float], Sequence[float]],
    labeled: Split,
    validation: Split,
    pseudo: PseudoLabeled | None = None,
    device: torch.device | None = None,
    workers: int = 0,
    processes: Processes | None = None,
    labeled_too: bool = True,
    frozen: int = 0,
) -> Learner:
    """Return the fastai `Learner` of a recipe: network, joint batches, loss, noise; not trained yet.

    Args:
        classes: number of classes.
        statistics: mean and standard deviation per channel, on 0..1.
        labeled, validation: pictures with labels.
        pseudo: selected pseudo-labeled pictures; needed when `recipe.ratio` is above 0.
        workers: processes that decode pictures kept as files; 0 decodes between the steps.
        processes: those that train together; this one has its share of every batch.
        labeled_too: False trains on the pseudo-labeled pictures alone.
        frozen: how many of the first blocks are held still.

    Raises:
        NsfastError: a ratio without pseudo-labels, pseudo-labels that name another number of classes, a batch that does
            not divide, or noise that the network does not take.
    """
    if recipe.ratio and (pseudo is None or not len(pseudo.pixels)):
        raise NsfastError(
            f"ratio is {recipe.ratio} but no pseudo-label is selected; lower the threshold, or set ratio to 0"
        )
    device, processes = device or default_device(), processes or Processes()
    part = recipe.per_part(processes.count)
    seed_everything(recipe.seed, "weights")
    side = recipe.resolution or labeled.pixels.shape[1]
    model = build_model(
        *(recipe.architecture, classes, labeled.pixels.shape[3], recipe.size, recipe.dropout, *statistics),
        pixels=side,
    ).to(device)
    model.lay_out(device, recipe.precision)
    if frozen:
        freeze_first(model, frozen)
    pixels, groups = [labeled.pixels], [np.arange(len(labeled)), np.empty(0, np.int64)]
    distributions = no_distributions(classes)
    if recipe.ratio:
        distributions = pseudo.distributions
        if distributions.classes != classes:
            raise NsfastError(
                f"pseudo-labels over {distributions.classes} classes; the pictures have {classes}"
            )
        pixels.append(pseudo.pixels)
        groups[1] = np.repeat(np.arange(len(pseudo.pixels)) + len(labeled), pseudo.copies)
    targets = JointTargets(labeled.labels, distributions)
    valid_targets = torch.from_numpy(np.asarray(validation.labels))
    as_files = any(hasattr(p, "crops") for p in (*pixels, validation.pixels))
    train_set = training_pictures(recipe, pixels, targets, as_files, device)
    if as_files:
        valid_set = FilePictures([_at(validation.pixels, side)], valid_targets, 1)
    else:
        valid_set = Pictures([validation.pixels], valid_targets, 1, device)
    loaders = joint_loaders(
        train_set,
        groups,
        valid_set,
        labeled=recipe.batch // recipe.accumulate if labeled_too else 0,
        pseudo=recipe.batch // recipe.accumulate * recipe.ratio,
        steps=recipe.steps_per_epoch,
        epoch_by=recipe.epoch_by,
        accumulate=recipe.accumulate,
        workers=workers if as_files else 0,
        rank=processes.rank,
        processes=processes.count,
        transforms=batch_transforms(recipe, train_set),
        validation_batch=pictures_at_once(side),
        device=device,
    )
    if processes.count > 1 and recipe.sync_batchnorm:
        if device.type != "cuda":
            raise NsfastError("sync_batchnorm needs GPUs; set it to False")
        from timm.layers import convert_sync_batchnorm

        model = convert_sync_batchnorm(model)
    learner = Learner(
        loaders,
        model,
        loss_func=SoftTargetCrossEntropy(),
        opt_func=optimizer_function(recipe.optimizer),
        splitter=partial(weight_groups, decay_biases=recipe.decay_biases),
        metrics=soft_accuracy,
        cbs=_callbacks(recipe, model, part if labeled_too else 0),
    )
    if recipe.accumulate > 1:
        pictures = part * recipe.accumulate * (labeled_too + recipe.ratio)
        learner.add_cb(GradientAccumulation(pictures))
    if processes.count > 1:
        learner.add_cb(Distribute())
    if frozen:
        learner.add_cb(Frozen(frozen))
    return learner


def _at(pixels, side: int):
    """The same pictures at another size, where they are kept as files."""
    return pixels.at(side) if hasattr(pixels, "at") and pixels.shape[1] != side else pixels


def training_pictures(
    recipe: Recipe, pixels: list, targets: torch.Tensor | JointTargets, as_files: bool, device="cpu"
) -> Pictures | FilePictures:
    """Return pictures and targets as a training of the recipe takes them: cropped, at its resolution if kept as files.

    Raises:
        NsfastError: crops that only pictures kept as files can have.
    """
    inception = recipe.crop == "inception"
    if as_files:
        pixels = [_at(part, recipe.resolution or pixels[0].shape[1]) for part in pixels]
        return FilePictures(pixels, targets, 0, inception=inception, flip=recipe.flip and inception)
    if inception:
        raise NsfastError("crop 'inception' needs pictures kept as files; set crop to 'pad' or 'none'")
    return Pictures(pixels, targets, 0, device)


def batch_transforms(recipe: Recipe, pictures: Pictures | FilePictures) -> tuple:
    """Return what is done to batches of training on the device, beside RandAugment."""
    found = []
    if (
        recipe.resolution
        and not hasattr(pictures, "inception")
        and pictures.pixels.shape[2] != recipe.resolution
    ):
        found.append(Resized(recipe.resolution))
    if recipe.cutout:
        found.append(Cutout(recipe.cutout))
    if recipe.crop == "pad":
        found.append(PadCrop(flip=recipe.flip))
    elif recipe.flip and not getattr(pictures, "inception", False):
        found.append(PadCrop(0, flip=True))
    return tuple(found)


def rand_augment_options(recipe: Recipe) -> dict:
    """Return what a recipe says of RandAugment, as arguments of its callback and of `rand_augment`."""
    names = ("n", "m", "scale", "operations", "fill")
    return {name: getattr(recipe, f"randaugment_{name}") for name in names}


def _callbacks(recipe: Recipe, model: Network, labeled: int) -> list:
    """Loss and noise of a recipe; a network that does not take them is refused here, before anything is trained."""
    callbacks = [
        SoftTargets(
            labeled,
            recipe.loss_normalisation,
            recipe.targets,
            recipe.temperature,
            recipe.label_smoothing,
        )
    ]
    # how many pictures of a batch have a noise, the labeled ones standing first; None for all
    first = {noise: labeled if noise in recipe.spared else None for noise in NOISES}
    if recipe.randaugment_n and first["randaugment"] != 0:
        callbacks.append(RandAugment(**rand_augment_options(recipe), first=first["randaugment"]))
    if recipe.stochastic_depth:
        callbacks.append(StochasticDepth(recipe.stochastic_depth, first=first["stochastic_depth"]))
        callbacks[-1].plan(model)
    if recipe.dropout and first["dropout"] is not None:  # else the network's own does it
        callbacks.append(FinalDropout(recipe.dropout, first["dropout"]))
        callbacks[-1].plan(model)
    return callbacks
