"""The memory that training and labeling take, and the disk, found from shapes alone: no weight is allocated."""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache

import torch
from torch import nn

from nsfast.pipeline.cost.picture_counts import PictureCounts
from nsfast.pipeline.cost.work import NetworkAt, TrainingWork, shapes
from nsfast.training import Recipe
from nsfast.training.finetune import freeze_first
from nsfast.training.targets import usual_top

# float32 values that an optimizer keeps of each parameter: mean and mean square; mean square and momentum; momentum
OPTIMIZER_STATES = {"adamw": 2, "rmsprop": 2, "sgd": 1}
FLOAT32 = 4


@lru_cache
def state_bytes(network: NetworkAt) -> int:
    """Return the bytes of a network's parameters and buffers."""
    return sum(value.numel() * value.element_size() for value in shapes(network).state_dict().values())


@lru_cache
def learning_parameters(network: NetworkAt, frozen: int = 0) -> int:
    """Return how many parameters learn when the first `frozen` blocks, and the stem, are held still."""
    if not frozen:
        return network.parameters
    model = deepcopy(shapes(network))
    freeze_first(model, frozen)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@lru_cache
def activation_bytes(network: NetworkAt) -> int:
    """Return the bytes that a training pass in float32 keeps of one picture for the way back.

    It is what autograd really saves, each tensor once; noise and the libraries' own workspace are not in it.
    """
    # two batches, for what is saved once for all pictures is not of one
    few, more = (_saved_bytes(network, pictures) for pictures in (2, 4))
    return (more - few) // 2


def _saved_bytes(network: NetworkAt, pictures: int) -> int:
    model = deepcopy(shapes(network)).train()
    own = {value.untyped_storage()._cdata for value in [*model.parameters(), *model.buffers()]}
    saved: dict[int, torch.UntypedStorage] = {}

    def keep(value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        if storage._cdata not in own:
            saved[storage._cdata] = storage
        return value

    with torch.device("meta"), torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        logits = model(torch.zeros(pictures, network.channels, network.pixels, network.pixels))
        loss = nn.functional.cross_entropy(logits, torch.zeros_like(logits))
        found = sum(storage.nbytes() for storage in saved.values())
        del loss
    return found


@lru_cache
def passing_bytes(network: NetworkAt) -> int:
    """Return the most bytes that a layer takes in and gives out of one picture: what labeling needs at once."""
    most, model = 0, deepcopy(shapes(network))

    def look(module: nn.Module, inputs: tuple, output) -> None:
        nonlocal most
        values = [v for v in (*inputs, output) if isinstance(v, torch.Tensor)]
        most = max(most, sum(v.numel() * v.element_size() for v in values))

    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(look)
    with torch.device("meta"), torch.no_grad():
        model(torch.zeros(1, network.channels, network.pixels, network.pixels))
    return most


def training_memory(work: TrainingWork, counts: PictureCounts) -> dict[str, int]:
    """Return the bytes that one process of a fit needs on its device, by what they are for.

    `weights` (with buffers), `gradients`, `optimizer`, `average` (of the weights), `copies` (weights in bfloat16, and
    the gradients that several processes exchange), `activations` (an estimate, see `activation_bytes`; half of it in
    bfloat16), and `pictures`, where these are kept on the device.
    """
    recipe, network = work.recipe, work.network
    learning = learning_parameters(network, work.phase.frozen) * FLOAT32
    half = recipe.precision == "bfloat16"
    copies = network.parameters * 2 * half + learning * (work.processes > 1)
    kept = counts.labeled + counts.validation + min(work.pseudo, counts.unlabeled)
    pictures = kept * counts.size**2 * counts.channels
    targets = (kept - counts.validation) * (2 * usual_top(counts.classes) or counts.classes) * FLOAT32
    return {
        "weights": state_bytes(network),
        "gradients": learning,
        "optimizer": learning * OPTIMIZER_STATES[recipe.optimizer],
        "average": state_bytes(network),
        "copies": copies,
        "activations": activation_bytes(network) * work.pictures_at_once // (1 + half),
        "pictures": 0 if counts.as_files else pictures + targets,
    }


def labeling_memory(network: NetworkAt, batch: int, precision: str = "float32") -> int:
    """Return the bytes that labeling needs on its device: the weights, and what its widest layer passes on.

    Args:
        network: at the resolution at which it labels.
        batch: pictures in a forward pass.
        precision: of the recipe that trained it; in bfloat16 layers pass on half of the bytes.
    """
    return state_bytes(network) + batch * passing_bytes(network) // (1 + (precision == "bfloat16"))


def checkpoint_bytes(network: NetworkAt, recipe: Recipe, frozen: int = 0) -> int:
    """Return the bytes of a checkpoint: raw and averaged weights, and the optimizer's state."""
    learning = learning_parameters(network, frozen) * FLOAT32
    return 2 * state_bytes(network) + learning * OPTIMIZER_STATES[recipe.optimizer]


def model_bytes(network: NetworkAt) -> int:
    """Return the bytes of a model file: raw and averaged weights."""
    return 2 * state_bytes(network)


def label_bytes(classes: int) -> int:
    """Return the bytes of a picture's row in the label table, at most: what Parquet saves by compressing is not in it.

    An id of 8 bytes, class, confidence, and of the likeliest classes that are kept a number and a probability each, or
    every probability in float16.
    """
    return 12 + 2 * (2 * usual_top(classes) or classes)
