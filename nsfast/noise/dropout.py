"""Dropout of the final layer (Srivastava et al., JMLR 2014) while a fit trains, on any common classifier."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from nsfast.errors import NsfastError, within
from nsfast.while_training import WhileTraining, refuse_compiled


def final_layer(model: nn.Module) -> nn.Module:
    """Return the layer that makes the logits: timm's `get_classifier()`, else the last linear or 1x1 convolution.

    Raises:
        NsfastError: there is none, or more than one.
    """
    for module in model.modules():
        if callable(getattr(module, "get_classifier", None)):
            layer = module.get_classifier()
            if isinstance(layer, nn.Linear | nn.Conv2d):
                return layer
            if isinstance(layer, nn.Identity):
                continue  # a body whose head is elsewhere, as in fastai's vision_learner
            raise NsfastError(
                f"{type(module).__name__} has {type(layer).__name__} in place of one final layer; dropout as a "
                "callback does not know it, use the network's own drop rate"
            )
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    if not layers:
        raise NsfastError(f"{type(model).__name__} has no linear layer, so no final one to drop out of")
    return layers[-1]


def existing_dropout(model: nn.Module, layer: nn.Module) -> tuple[nn.Module, str] | None:
    """Return module and attribute that hold the rate of the dropout right before the final layer, if there is one."""
    last = None
    for module in model.modules():
        if module is layer:
            if last is not None:
                break
            continue  # some networks register it before its dropout
        if isinstance(module, nn.Dropout):
            last = module
        elif not any(True for _ in module.children()) and any(True for _ in module.parameters()):
            last = None  # a layer lies between
    if last is not None:
        return last, "p"
    for module in model.modules():  # timm's functional form
        owned = callable(getattr(module, "get_classifier", None)) and module.get_classifier() is layer
        if owned and isinstance(getattr(module, "drop_rate", None), float):
            return module, "drop_rate"
    return None


def _dropped(rate: float, first: int | None, module: nn.Module, inputs: tuple):
    x, *more = inputs
    dropped = F.dropout(x[:first], rate, module.training)
    return (dropped if first is None else torch.cat([dropped, x[first:]]), *more)


class FinalDropout(WhileTraining):
    """Set the dropout of the final layer while a fit trains; a network without one gets it for the time.

    Args:
        rate: 0..1, below 1; 0 switches off the dropout that the network brings with it.
        first: how many pictures of each batch, the first ones, are noised; None for all. Dropout of earlier layers, as
            VGG has it, is not touched: it is on all pictures.

    Raises:
        NsfastError: `rate` or `first` is out of range; in a fit, a network without one final layer.
    """

    order = 8

    def __init__(self, rate: float = 0.5, first: int | None = None):
        super().__init__()
        if within("dropout", rate, 0, 1) == 1:
            raise NsfastError("dropout is 1, which leaves nothing; it must be below 1")
        if first is not None:
            within("first", first, 0)
        self.rate, self.first, self.restore = rate, first, []

    def plan(self, model: nn.Module) -> tuple[nn.Module, tuple[nn.Module, str] | None, bool]:
        """Return the final layer, where the rate of the dropout before it is, and whether it is done by a hook.

        Raises:
            NsfastError: the network has no final layer, or is compiled and needs a hook.
        """
        layer = final_layer(model)
        existing = existing_dropout(model, layer)
        by_hook = existing is None or self.first is not None
        if by_hook:
            refuse_compiled(model, "dropout of some pictures, or of a network without its own,")
        return layer, existing, by_hook

    def install(self):
        layer, existing, by_hook = self.plan(self.learn.model)
        if by_hook:
            hook = partial(_dropped, self.rate, self.first)
            self.restore.append(layer.register_forward_pre_hook(hook).remove)
        if existing is not None:
            module, attribute = existing
            self.restore.append(partial(setattr, module, attribute, getattr(module, attribute)))
            setattr(module, attribute, 0.0 if by_hook else float(self.rate))

    def undo(self):
        for restore in self.restore:
            restore()
        self.restore = []
