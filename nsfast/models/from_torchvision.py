"""Classifiers of torchvision, as `torchvision/resnet50`."""

from __future__ import annotations

from torch import nn

from nsfast.errors import NsfastError, choice

PREFIX = "torchvision/"
# what these would otherwise return beside the logits while they train
_NO_EXTRA_HEADS = {"aux_logits": False, "init_weights": True}


def torchvision_names() -> list[str]:
    """Return the names of torchvision's classifiers, each after `torchvision/`."""
    from torchvision import models

    return [PREFIX + name for name in models.list_models(module=models)]


def build_torchvision(
    architecture: str, classes: int, channels: int = 3, dropout: float = 0.0, pixels: int | None = None
) -> nn.Module:
    """Build a classifier of torchvision with fresh weights, without the layer that normalises pixels.

    Args:
        channels: 1 or 3; for 1 the first convolution is replaced by one that looks at one channel.
        dropout: of the layers before the last one, where the network has dropout there.
        pixels: height and width of its pictures, for networks that are built for one resolution (transformers).

    Raises:
        NsfastError: no such network, or one that takes no dropout, not this resolution or not these channels.
    """
    from torchvision import models

    choice("architecture", architecture, torchvision_names())
    name = architecture.removeprefix(PREFIX)
    options = _NO_EXTRA_HEADS if name in ("googlenet", "inception_v3") else {}
    if pixels and name.startswith("vit_"):
        options = {"image_size": pixels}
    elif pixels and name.startswith("maxvit_"):
        options = {"input_size": (pixels, pixels)}
    try:
        body = models.get_model(name, weights=None, num_classes=classes, **options)
    except (ValueError, AssertionError) as error:
        reason = (str(error).splitlines() or ["its patches do not fit"])[0]
        raise NsfastError(
            f"architecture {architecture!r} cannot be built for {pixels} x {pixels} pixels: {reason}"
        ) from None
    _set_dropout(body, architecture, dropout)
    if channels != 3:
        _take_one_channel(body, architecture, channels)
    return body


def _set_dropout(body: nn.Module, architecture: str, dropout: float) -> None:
    """Set every dropout of the head; torchvision's own rates never stay, so that networks can be compared."""
    heads = [
        module
        for name, module in body.named_modules()
        if isinstance(module, nn.Dropout) and name.split(".")[0] in ("classifier", "dropout")
    ]
    if dropout and not heads:
        raise NsfastError(f"architecture {architecture!r} takes no dropout; set dropout to 0")
    for module in heads:
        module.p = dropout


def _take_one_channel(body: nn.Module, architecture: str, channels: int) -> None:
    if channels != 1:
        raise NsfastError(f"architecture {architecture!r} takes 1 or 3 channels, not {channels}")
    first = next(module for module in body.modules() if isinstance(module, nn.Conv2d))
    first.in_channels = 1
    first.weight = nn.Parameter(
        first.weight[:, :1].detach().clone()
    )  # drawn as the network draws its weights


def torchvision_pixels(architecture: str) -> int:
    """Return the height and width of the pictures that torchvision evaluates a network at."""
    from torchvision import models

    return models.get_model_weights(architecture.removeprefix(PREFIX)).DEFAULT.transforms.keywords[
        "crop_size"
    ]
