"""Model files: `model.safetensors` (raw and averaged weights) and `model.json` (all that rebuilds and names them)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from nsfast.errors import NsfastError, choice
from nsfast.files import atomic, checksum, read_json, write_json
from nsfast.models import Network, build_model, default_device
from nsfast.training.recipe import Recipe

if TYPE_CHECKING:
    from nsfast.training.train import Trained

NEEDED = {"architecture", "size", "classes", "channels", "pixels", "mean", "std", "fingerprint"}


def save_model(
    folder: str | Path,
    trained: Trained,
    recipe: Recipe,
    classes: tuple[str, ...],
    size: int,
    teacher: str | None = None,
    whole: bool = True,
) -> str:
    """Write a trained network into `folder`.

    Args:
        recipe: it was trained with.
        classes: class names.
        size: height and width in pixels at which it is tested and labels.
        teacher: fingerprint of the model whose pseudo-labels it learned from, if any.
        whole: whether it is tested on whole centre squares, and not on ImageNet's smaller ones.

    Returns:
        The model's fingerprint: the checksum of its weights.
    """
    folder, network = Path(folder), trained.average
    tensors = {f"raw.{name}": value.contiguous() for name, value in trained.model.state_dict().items()}
    tensors |= {f"ema.{name}": value.contiguous() for name, value in network.state_dict().items()}
    with atomic(folder / "model.safetensors") as temporary:
        save_file(tensors, temporary)
    fingerprint = checksum(folder / "model.safetensors")
    about = {
        "architecture": recipe.architecture,
        "size": recipe.size,
        "parameters": sum(p.numel() for p in network.parameters()),
        "classes": list(classes),
        "channels": network.normalize.mean.shape[1],
        "mean": network.normalize.mean.ravel().tolist(),
        "std": network.normalize.std.ravel().tolist(),
        "pixels": size,
        "whole": whole,
        "recipe": recipe.to_dict(),
        "teacher": teacher,
        "fingerprint": fingerprint,
    }
    write_json(folder / "model.json", about)
    return fingerprint


def read_about(folder: str | Path) -> dict:
    """Return what `model.json` says; raise `NsfastError` where there is no model."""
    path = Path(folder) / "model.json"
    if Path(folder).is_file():
        raise NsfastError(f"{folder} is a file; give the folder that holds it and model.json")
    if not path.is_file():
        below = [str(found.parent) for found in sorted(Path(folder).glob("*/model.json"))]
        way_out = f"did you mean {' or '.join(below[:3])}?" if below else "train it first"
        raise NsfastError(f"no model in {folder} (model.json is missing); {way_out}")
    about = read_json(path)
    if not isinstance(about, dict) or not NEEDED <= about.keys():
        raise NsfastError(f"{path} is damaged (no description of a model); delete it to have it trained anew")
    return about


def load_model(folder: str | Path, weights: str = "ema") -> Network:
    """Rebuild a network in eval mode.

    Args:
        folder: of the model file.
        weights: "ema" for the averaged weights (what labels and is measured) or "raw".

    Raises:
        NsfastError: a file is missing, damaged, or does not fit the other.
    """
    choice("weights", weights, ("ema", "raw"))
    folder, about = Path(folder), read_about(folder)
    path = folder / "model.safetensors"
    if not path.is_file() or checksum(path) != about["fingerprint"]:
        raise NsfastError(
            f"{path} is missing or not the file that model.json describes; restore it, or delete {folder} to have it "
            "trained anew"
        )
    model = build_model(
        about["architecture"],
        len(about["classes"]),
        about["channels"],
        about["size"],
        mean=about["mean"],
        std=about["std"],
        pixels=about["pixels"],
    )
    try:
        tensors = load_file(path)
        model.load_state_dict(
            {k.split(".", 1)[1]: v for k, v in tensors.items() if k.startswith(f"{weights}.")}
        )
    except (SafetensorError, OSError, RuntimeError) as error:
        raise NsfastError(
            f"{path} is damaged ({str(error).splitlines()[0]}); delete it to have it trained anew"
        ) from None
    model.pixels = about["pixels"]
    device, recipe = default_device(), about.get("recipe", {})
    model.lay_out(device, recipe.get("precision", "float32") if device.type == "cuda" else "float32")
    return model.eval()
