"""Fine-tuning with the first blocks held still (FixRes, arXiv 1906.06423; `fix_layer_num` of the released code)."""

from __future__ import annotations

from fastai.torch_core import get_model
from torch import nn

from nsfast.errors import NsfastError, within
from nsfast.models.without_weights import build_without_weights
from nsfast.noise.depth import residual_blocks
from nsfast.while_training import WhileTraining


def freeze_first(model: nn.Module, blocks: int) -> list[nn.Module]:
    """Hold the stem and the first `blocks` residual blocks still; return the modules that no longer learn.

    Raises:
        NsfastError: the network has fewer blocks.
    """
    found = residual_blocks(model)
    within("finetune_frozen", blocks, 0)
    if blocks >= len(found):
        raise NsfastError(
            f"finetune_frozen is {blocks}, but {type(model).__name__} has {len(found)} blocks; leave one to learn"
        )
    if not blocks:
        return []
    first_to_learn = next(found[blocks].block.parameters())
    for parameter in model.parameters():
        if parameter is first_to_learn:
            break
        parameter.requires_grad_(False)
    return [
        module
        for module in model.modules()
        if (own := list(module.parameters())) and not any(parameter.requires_grad for parameter in own)
    ]


def require_finetune(network: tuple, frozen: int, before: int, resolution: int) -> None:
    """Refuse what fine-tuning could not do, which would otherwise show after the whole training.

    Args:
        network: architecture, classes, channels and size, as `build_model` takes them.
        frozen: how many of the first blocks are to be held still.
        before, resolution: height and width in pixels of training and of fine-tuning.

    Raises:
        NsfastError: too few blocks, or weights that are made for one resolution.
    """
    model = build_without_weights(*network, pixels=resolution)
    freeze_first(model, frozen)
    if resolution == before:
        return
    given = build_without_weights(*network, pixels=before).state_dict()
    for name, value in model.state_dict().items():
        if name not in given or value.shape != given[name].shape:
            raise NsfastError(
                f"finetune_resolution is {resolution}, but {name} of {network[0]!r} is made for {before} pixels; set "
                "it to 0, or take a convolutional network"
            )


class Frozen(WhileTraining):
    """Keeps the modules of `freeze_first` in eval mode while a fit trains: their statistics stay, nothing is dropped.

    Args:
        blocks: how many of the first blocks.
    """

    order = -8  # after fastai has set the mode

    def __init__(self, blocks: int):
        super().__init__()
        self.blocks = blocks

    def install(self):
        for module in freeze_first(get_model(self.learn.model), self.blocks):
            module.eval()
