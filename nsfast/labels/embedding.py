"""Pictures on a map: what a network makes of them before it classifies, laid out in the plane."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from nsfast.errors import NsfastError
from nsfast.labels.predict import predict
from nsfast.streams import numpy_stream

COMPONENTS = 50
"""Principal components that UMAP is given; distances in more dimensions say little and cost much."""

MOST = 20_000
"""Pictures on a map."""

FEWEST = 16
"""Pictures that UMAP is asked for; it compares each with 15 others."""


def penultimate(model: nn.Module, pixels: np.ndarray, batch: int = 0) -> np.ndarray:
    """Return what the last layer of a network is given of each picture, as (n, features) float32.

    Args:
        model: the network; its last linear layer (where it has none, its last convolution, averaged over the places) is
            the one that classifies.
        pixels: uint8 (n, height, width, channels), n at least 1, or `PictureFiles`.
        batch: pictures in a forward pass, 0 for as many as `predict` takes.
    """
    found: list[np.ndarray] = []

    def keep(_: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        features = given[0].detach().float()
        found.append((features.mean((2, 3)) if features.ndim == 4 else features).cpu().numpy())

    hook = _classifier(model).register_forward_pre_hook(keep)
    try:
        predict(model, pixels, batch)
    finally:
        hook.remove()
    return np.concatenate(found)


def _classifier(model: nn.Module) -> nn.Module:
    """The layer that classifies."""
    body = getattr(model, "body", model)
    if hasattr(body, "get_classifier"):  # timm's
        head = body.get_classifier()
        return head[0] if isinstance(head, (tuple, nn.ModuleList)) else head
    for kind in (nn.Linear, nn.Conv2d):
        if layers := [module for module in body.modules() if isinstance(module, kind)]:
            return layers[-1]
    raise NsfastError(
        "the network has no linear layer and no convolution; there is nothing before a classifier"
    )


def flat_map(features: np.ndarray, seed: int = 0, most: int = MOST) -> np.ndarray:
    """Return where pictures lie on a map, float32 (n, 2); nan for those that are not on it.

    Their first 50 principal components are laid out by UMAP (McInnes et al., arXiv 1802.03426) if it is installed; else
    the first two are the map.

    Args:
        features: (n, features); a picture of which one is not finite is not on the map.
        seed: of UMAP, and of the choice of pictures where there are more than `most`.
        most: pictures that are laid out.
    """
    found = np.full((len(features), 2), np.nan, np.float32)
    rows = np.flatnonzero(np.isfinite(features).all(1))
    if len(rows) > most:
        rows = np.sort(numpy_stream(seed, "map").choice(rows, most, replace=False))
    if not len(rows):
        return found
    components = _components(np.asarray(features[rows], np.float32), seed)
    neighbours = _umap() if len(rows) >= FEWEST else None
    if neighbours is not None:
        found[rows] = neighbours(n_components=2, random_state=seed, n_jobs=1).fit_transform(components)
    else:
        shown = components[:, :2]
        found[rows] = np.pad(shown, ((0, 0), (0, 2 - shown.shape[1])))
    return found


def _components(features: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.decomposition import PCA

    count = min(COMPONENTS, *features.shape)
    with np.errstate(invalid="ignore"):  # of pictures that are all alike, whose variance is 0
        return PCA(count, random_state=seed).fit_transform(features)


def _umap() -> Callable | None:
    """UMAP's class, if it is installed."""
    try:
        from umap import UMAP
    except ImportError:
        return None
    return UMAP
