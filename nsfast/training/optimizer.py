"""The optimizers of a recipe, as fastai takes them, and which parameters decay."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from fastai.optimizer import OptimWrapper
from torch import nn

from nsfast.errors import choice
from nsfast.training.recipe import OPTIMIZERS

_NORMALISATION = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
# normalisation layers of timm that are none of torch's
_NORMALISATION_NAMES = ("RmsNorm", "SimpleNorm", "EvoNorm", "FilterResponseNorm")


def weight_groups(model: nn.Module, decay_biases: bool = False) -> list[list[nn.Parameter]]:
    """Two parameter groups: those that decay and those that do not.

    Args:
        model: the network; frozen parameters are in neither group.
        decay_biases: False: weights of two dimensions or more decay. True, as released (main.py): all but the
            parameters of normalisation layers do, the biases of convolutions, squeeze-and-excitation and the last
            layer included.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not decay_biases:
        return [[p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]]
    exempt = {
        id(p) for module in model.modules() if _normalises(module) for p in module.parameters(recurse=False)
    }
    return [[p for p in parameters if id(p) not in exempt], [p for p in parameters if id(p) in exempt]]


def _normalises(module: nn.Module) -> bool:
    return isinstance(module, _NORMALISATION) or type(module).__name__.startswith(_NORMALISATION_NAMES)


def optimizer_function(name: str) -> Callable[..., OptimWrapper]:
    """Return what a fastai `Learner` takes as `opt_func`; its hypers are `lr`, `mom`, `wd` and `sqr_mom`.

    Args:
        name: "adamw" (decay decoupled), "rmsprop" (TensorFlow's: the mean square starts at 1, epsilon is inside the
            root, the momentum holds the rate; decay 0.9, momentum 0.9, epsilon 0.001 as in the released utils.py) or
            "sgd" (Nesterov momentum 0.9). Of the latter two the weight decay is added to the gradient.

    Raises:
        NsfastError: an unknown name.
    """
    choice("optimizer", name, OPTIMIZERS)
    if name == "adamw":
        return partial(OptimWrapper, opt=torch.optim.AdamW, fused=True)
    if name == "sgd":
        return partial(OptimWrapper, opt=torch.optim.SGD, momentum=0.9, nesterov=True, fused=True)
    from timm.optim import RMSpropTF

    return partial(
        OptimWrapper,
        opt=RMSpropTF,
        alpha=0.9,
        momentum=0.9,
        eps=1e-3,
        decoupled_decay=False,
        lr_in_momentum=True,
    )
