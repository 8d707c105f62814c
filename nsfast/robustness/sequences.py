"""Perturbation sequences as models are asked: pictures that change a little from frame to frame, in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

Chunk = tuple[np.ndarray, np.ndarray]
"""Ids (k,) strings, and pixels uint8 (k, frames, height, width, channels); frames are the same in all chunks."""


@dataclass(frozen=True)
class Sequences:
    """Every sequence of one perturbation, whether made here or released.

    Args:
        name: of the perturbation, such as "gaussian_noise", without its difficulty.
        set: where they come from: "perturbed" (made here), "imagenet-p" or "cifar10-p".
        key: says what the frames are made of, by content; the same key is not asked a second time.
        total: number of sequences in all chunks together.
        chunks: starts from the first sequence each time it is called; a chunk is read or made when it is asked for.
        noise: whether frames are compared with the first, the clean one, and not with the one before: the official
            rule, true where "noise" is part of the name (hendrycks/robustness, ImageNet-P/test.py).
        difficulty: 1 to 3; of noise it chose the pictures, else it is the step between frames that are compared.
        description: what a reader of the figures has to know, in whole sentences.
    """

    name: str
    set: str
    key: str
    total: int
    chunks: Callable[[], Iterator[Chunk]]
    noise: bool
    difficulty: int = 1
    description: str = ""
