"""Trained weights into a network: from a safetensors file, or those that timm names for it. No pickle is ever read."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from nsfast.errors import NsfastError
from nsfast.models.efficientnet import IMAGENET_STATISTICS, SMALL_PICTURES, efficientnet_row
from nsfast.models.from_timm import is_timm_name, timm_settings
from nsfast.models.network import Network

RELEASED = "ns_jft_in1k"  # timm's tag of the weights that the paper's authors released
RELEASED_NOTE = (
    "these weights come from Noisy Student itself: they already learned from 130 million pseudo-labeled pictures of "
    "JFT (a pool of 300 million), so a result with them demonstrates the method and does not measure it"
)
_PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".tar")

Tensors = dict[str, torch.Tensor]


def timm_weights_name(architecture: str) -> str | None:
    """Return timm's name of the weights of a network, its tag behind a dot; None where timm has none.

    For the EfficientNets of the paper these are the released ones, `tf_efficientnet_b0.ns_jft_in1k` for B0.
    """
    row = efficientnet_row(architecture)
    if row is not None:
        name = f"tf_{row.name.replace('-', '_')}"
        return f"{name}.{RELEASED}" if is_timm_name(name) else None
    if not is_timm_name(architecture):
        return None
    settings = timm_settings(architecture)
    if settings is None or not settings.hf_hub_id:
        return None
    return ".".join(filter(None, (settings.architecture, settings.tag)))


def weights_statistics(architecture: str, channels: int = 3) -> tuple[list[float], list[float]]:
    """Return the mean and standard deviation per channel, on 0..1, that trained weights of a network expect.

    They are what timm says of its weights, and ImageNet's for the paper's EfficientNets, torchvision and `small`; for
    one channel their average.
    """
    name = timm_weights_name(architecture)
    mean, std = IMAGENET_STATISTICS if name is None else (timm_settings(name).mean, timm_settings(name).std)
    if channels == 1:
        mean, std = [sum(mean) / len(mean)], [sum(std) / len(std)]
    return list(mean), list(std)


def load_weights(model: Network, source: str | Path, architecture: str) -> list[str]:
    """Load trained weights into a network, in place, and return notes about what did not come from the file.

    Args:
        model: of `build_model`.
        source: a `.safetensors` file with the keys of timm (torchvision's for its networks) or with those of a model
            file of this package, whose averaged weights are then taken; or "timm": the weights that timm names for
            the network, from the Hugging Face cache, else fetched.
        architecture: the name that `model` was built from.

    A file for three channels fits a network for one: the first convolution is summed over channels, as timm does. A
    final layer for another number of classes is not taken. A model file of this package brings its normalisation.

    Raises:
        NsfastError: the file is missing, damaged, a pickle, or does not fit (with the first key that does not).
    """
    notes = []
    if str(source) == "timm":
        name = timm_weights_name(architecture)
        path = _timm_file(architecture, name)
        if architecture.endswith(SMALL_PICTURES):
            notes.append(f"the weights of {name} were trained with stride 2 in stages 2 and 3; here it is 1")
    else:
        name, path = "", Path(source)
    tensors = _read(path)
    normalisation, tensors = _own_layout(tensors)
    if not normalisation:
        tensors = _renamed(model.body, tensors, path)
    fitted, more = _fit(model.body, tensors, path)
    # nothing is changed before everything fits
    model.body.load_state_dict(fitted, strict=False)
    notes += more + _normalise(model, normalisation)
    if any(RELEASED in text for text in (name, architecture, str(path))):
        notes.append(RELEASED_NOTE)
    return notes


def _timm_file(architecture: str, name: str | None) -> Path:
    """The file of weights that timm names, from the Hugging Face cache or fetched into it."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    if name is None:
        raise NsfastError(f"timm has no weights for {architecture!r}; give the path of a .safetensors file")
    settings = timm_settings(name)
    repository, _, revision = settings.hf_hub_id.partition("@")
    file = settings.hf_hub_filename or "model.safetensors"
    file = file.replace("open_clip_pytorch_model.bin", "open_clip_model.safetensors")
    _refuse_pickle(Path(file))
    cached = try_to_load_from_cache(repository, file, revision=revision or None)
    if isinstance(cached, str):
        return Path(cached)
    try:
        return Path(hf_hub_download(repository, file, revision=revision or None))
    except Exception as error:  # no network, no such file, not allowed: the way out is the same
        raise NsfastError(
            f"the weights of {architecture!r}, {file} of {repository}, are not in the Hugging Face cache and could not "
            f"be fetched ({type(error).__name__}); where there is a network run `hf download {repository} {file}`, or "
            "give the path of that file"
        ) from None


def _refuse_pickle(path: Path) -> None:
    if path.suffix in _PICKLES:
        raise NsfastError(
            f"{path} is a pickle, which can run code when it is read; convert it with "
            "safetensors.torch.save_file(state_dict, 'weights.safetensors') where you trust it"
        )


def _read(path: Path) -> Tensors:
    _refuse_pickle(path)
    if path.suffix != ".safetensors":
        raise NsfastError(f"weights {str(path)!r} are neither 'timm' nor a .safetensors file")
    if not path.is_file():
        raise NsfastError(f"no weights at {path}; give the path of a .safetensors file, or 'timm'")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise NsfastError(f"{path} is damaged ({str(error).splitlines()[0]}); fetch it again") from None


def _own_layout(tensors: Tensors) -> tuple[Tensors, Tensors]:
    """Split a model file of this package into its normalisation and the averaged weights of its body."""
    average = {key[4:]: value for key, value in tensors.items() if key.startswith("ema.")}
    if not average:
        return {}, tensors
    body = {key[5:]: value for key, value in average.items() if key.startswith("body.")}
    return {key: value for key, value in average.items() if key.startswith("normalize.")}, body


def _renamed(body: nn.Module, tensors: Tensors, path: Path) -> Tensors:
    """Bring a published file to the keys and the resolution of timm's network, by timm's own rule for its family."""
    rename = getattr(sys.modules[type(body).__module__], "checkpoint_filter_fn", None)
    if rename is None:
        return tensors
    try:
        return rename(tensors, body)
    except Exception as error:  # the rules expect the keys of their family
        raise NsfastError(
            f"{path} does not fit {type(body).__name__}: {type(error).__name__} {error}"
        ) from None


def _fit(body: nn.Module, tensors: Tensors, path: Path) -> tuple[Tensors, list[str]]:
    """Return the tensors that the body takes, and notes; raise for the first key that does not fit."""
    heads, fitted, notes = _classifiers(body), {}, []
    target = body.state_dict()
    for key, wanted in target.items():
        value = tensors.get(key)
        if value is not None and value.shape == wanted.shape:
            fitted[key] = value
        elif key.rpartition(".")[0] in heads:
            if key.endswith(".weight"):
                classes = "none" if value is None else f"one for {len(value)} classes"
                notes.append(
                    f"the final layer {key[:-7]!r} is fresh, for {len(wanted)} classes; {path} has {classes}"
                )
        elif value is not None and _reads_pictures(body, key, value, wanted):
            fitted[key] = value.float().sum(1, keepdim=True)
            notes.append(f"{key} is summed over the three channels of {path}, for one channel")
        elif value is not None:
            raise NsfastError(
                f"{path} does not fit {type(body).__name__}: {key} is {tuple(value.shape)} in the file and "
                f"{tuple(wanted.shape)} in the network"
            )
        elif not key.endswith("num_batches_tracked"):  # older files do not count batches
            raise NsfastError(f"{path} does not fit {type(body).__name__}: it has no {key}")
    for key in tensors:
        if key not in target:
            raise NsfastError(f"{path} does not fit {type(body).__name__}, which has no {key}")
    return fitted, notes


def _classifiers(body: nn.Module) -> tuple[str, ...]:
    """The names of the final layers: what timm says, else the last layer that has weights."""
    settings = getattr(body, "pretrained_cfg", None) or {}
    named = (
        settings.get("classifier")
        or [name for name, module in body.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    )
    return (named,) if isinstance(named, str) else tuple(named)


def _reads_pictures(body: nn.Module, key: str, value: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Whether a weight is that of a convolution over three channels in the file, and over one in the network."""
    layer = body.get_submodule(key.rpartition(".")[0])
    if not isinstance(layer, nn.Conv2d) or layer.groups != 1 or value.ndim != 4:
        return False
    return (value.shape[1], wanted.shape[1]) == (3, 1) and value[:, :1].shape == wanted.shape


def _normalise(model: Network, normalisation: Tensors) -> list[str]:
    """Take the normalisation that the weights were trained with, where it is for as many channels."""
    if not normalisation:
        return []
    mine = model.normalize.state_dict()
    theirs = {key.removeprefix("normalize."): value for key, value in normalisation.items()}
    if any(theirs[key].shape != mine[key].shape for key in mine):
        return ["the normalisation stays that of the network: the file's is for another number of channels"]
    if all(torch.equal(theirs[key].to(mine[key]), mine[key]) for key in mine):
        return []
    model.normalize.load_state_dict(theirs)
    return ["the normalisation (mean and std) is the file's, not that of the pictures"]
