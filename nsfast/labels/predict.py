"""What a teacher says of pictures: plain forward passes of the un-noised network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from nsfast.errors import NsfastError
from nsfast.images import Split
from nsfast.models.network import pictures_at_once

Job, Read = TypeVar("Job"), TypeVar("Read")


def predict(model: nn.Module, pixels: np.ndarray, batch: int = 0, compile: bool = False) -> torch.Tensor:
    """Return logits (n, classes) float32 of uint8 pixels (n, height, width, channels).

    The model runs in eval mode (no dropout, no stochastic depth, batch-norm statistics fixed), without any noise on
    the pictures; its mode is put back afterwards. Pictures kept as files are decoded at the network's own resolution.

    Args:
        batch: pictures in a forward pass; 0 for 256 of up to 224 pixels, fewer in proportion to the area above.
        compile: compile the network first (torch.compile); the last batch is filled up, so that it is done once.
    """
    if hasattr(pixels, "at") and getattr(model, "pixels", None):
        pixels = pixels.at(model.pixels)
    batch = batch or pictures_at_once(getattr(model, "pixels", None) or pixels.shape[1])
    device, starts = next(model.parameters()).device, range(0, len(pixels), batch)
    forward, out = forward_of(model, batch, compile), []
    with evaluating(model):
        for several in ahead(lambda start: np.array(pixels[start : start + batch]), starts):
            out.append(forward(torch.from_numpy(several).to(device)).cpu())
    return torch.cat(out)


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Let networks run in eval mode and without gradients; the mode of each part is put back afterwards."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    try:
        for model in models:
            model.eval()
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training


def forward_of(
    model: nn.Module, batch: int, compile: bool = False, flip: bool = False
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function from pixels (n, height, width, channels) uint8, n at most `batch`, to logits (n, classes).

    Args:
        compile: compile the network; batches that are not full are filled up with their first picture.
        flip: show the mirror images.
    """
    run = torch.compile(model, dynamic=False) if compile else model

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        count = len(pixels)
        if compile and count < batch:
            pixels = torch.cat([pixels, pixels[:1].expand(batch - count, *pixels.shape[1:])])
        x = pixels.permute(0, 3, 1, 2).float().div_(255)
        return run(x.flip(3) if flip else x)[:count].float()

    return forward


def ahead(read: Callable[[Job], Read], jobs: Iterable[Job]) -> Iterator[Read]:
    """Yield what is read for each job, in order; one thread reads for the next job meanwhile."""
    waiting: deque = deque()
    with ThreadPoolExecutor(1) as pool:
        for job in jobs:
            waiting.append(pool.submit(read, job))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def require_better_than_chance(
    model: nn.Module, validation: Split, allow: bool = False, level: float = 0.05
) -> str:
    """Return a sentence on the teacher's validation accuracy, if it is better than chance.

    Chance is the share of the most frequent class; the test is one-sided and exact (binomial), at `level`.

    Raises:
        NsfastError: the teacher is not better than chance and `allow` is False.
    """
    from scipy.stats import binomtest

    right = int((predict(model, validation.pixels).argmax(1).numpy() == validation.labels).sum())
    chance = float(np.bincount(validation.labels).max() / len(validation))
    said = f"the teacher is right on {right} of {len(validation)} validation pictures ({right / len(validation):.1%})"
    if binomtest(right, len(validation), chance, alternative="greater").pvalue < level:
        return f"{said}; chance is {chance:.1%}"
    if chance ** len(validation) >= level:
        return f"warning: {said}, too few to tell it from chance ({chance:.1%}); give it more validation pictures"
    if allow:
        return f"warning: {said}, no better than chance ({chance:.1%}); going on because allow_chance is set"
    raise NsfastError(
        f"{said}, no better than chance ({chance:.1%}): its labels would teach nothing; train it longer or give it "
        "more labels, or set labeling.allow_chance=true"
    )
