"""The state of every random generator that a training draws from, as tensors and back."""

from __future__ import annotations

import random

import numpy as np
import torch
from fasttransform import Transform


def random_states() -> dict[str, torch.Tensor]:
    """Return the states of Python's, numpy's and torch's global generators, the current GPU's included."""
    version, python, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()
    states = {
        "python": torch.tensor([version, *python]),
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.from_numpy(np.array([*keys, position, has_gauss], np.int64)),
        "numpy_gauss": torch.tensor([cached], dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random_states(states: dict[str, torch.Tensor]) -> None:
    """Put back what `random_states` returned; a GPU's state is left out on a machine without one."""
    version, *python = states["python"].tolist()
    gauss = states["python_gauss"].tolist()
    random.setstate((version, tuple(python), gauss[0] if gauss else None))
    *keys, position, has_gauss = states["numpy"].tolist()
    cached = states["numpy_gauss"].item()
    np.random.set_state(("MT19937", np.array(keys, np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


class AtFirstBatch(Transform):
    """Calls a function before the first batch that a loader transforms."""

    order = -100

    def __init__(self, function):
        super().__init__()
        self.function = function

    def __call__(self, b, **kwargs):
        if self.function is not None:
            self.function()
            self.function = None
        return b
