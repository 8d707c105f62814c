"""What a network is like, found on torch's meta device: shapes only, no weights in memory and no arithmetic."""

from __future__ import annotations

import torch

from nsfast.errors import NsfastError
from nsfast.models.build import build_model
from nsfast.models.network import Network


def build_without_weights(
    architecture: str, classes: int, channels: int, size: int = 2, pixels: int | None = None
) -> Network:
    """Build a network on the meta device, in eval mode; see `build_model`."""
    try:
        with torch.device("meta"):
            return build_model(architecture, classes, channels, size, pixels=pixels).eval()
    except NotImplementedError:  # its constructor calculates with tensors (torchvision's RegNets)
        from accelerate import init_empty_weights

        with init_empty_weights():
            model = build_model(architecture, classes, channels, size, pixels=pixels)
        return model.eval().to("meta")


def parameter_count(
    architecture: str, classes: int, channels: int, size: int, pixels: int | None = None
) -> int:
    """Return the number of trainable parameters, without allocating them."""
    model = build_without_weights(architecture, classes, channels, size, pixels)
    return sum(p.numel() for p in model.parameters())


def check_resolution(architecture: str, classes: int, channels: int, size: int, pixels: int) -> None:
    """Make sure that a network, built for a resolution, takes pictures of `pixels` x `pixels` and gives logits.

    Args:
        architecture, classes, channels, size: as `build_model` takes them.
        pixels: height and width.

    Raises:
        NsfastError: it does not; or it is no network of this package.
    """
    model = build_without_weights(architecture, classes, channels, size, pixels)
    try:
        shape = _shape_of_logits(model, channels, pixels, "meta")
    except Exception as error:  # whatever a network raises at pictures that it cannot take
        if not isinstance(error, NotImplementedError) and "meta" not in str(error):
            raise _refusal(architecture, pixels, error) from None
        # not the pictures' fault: it calculates with values, which the meta device does not have
        model = build_model(architecture, classes, channels, size, pixels=pixels).eval()
        try:
            shape = _shape_of_logits(model, channels, pixels, "cpu")
        except Exception as error:
            raise _refusal(architecture, pixels, error) from None
    if shape != (1, classes):
        raise NsfastError(
            f"architecture {architecture!r} is no classifier: it gives {shape} for one picture of {pixels} x {pixels} "
            "pixels; choose another network"
        )


def _shape_of_logits(model: Network, channels: int, pixels: int, device: str) -> tuple[int, ...]:
    with torch.device(device), torch.no_grad():
        return tuple(model(torch.zeros(1, channels, pixels, pixels)).shape)


def _refusal(architecture: str, pixels: int, error: Exception) -> NsfastError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
    return NsfastError(
        f"architecture {architecture!r} does not take pictures of {pixels} x {pixels} pixels ({reason}); choose "
        "another resolution or another network"
    )
