"""A teacher that is noised while it labels: what the paper's ablation does, and Noisy Student does not."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import torch
from torch import nn

from nsfast.models.network import Network
from nsfast.noise.depth import StochasticDepth
from nsfast.noise.dropout import FinalDropout
from nsfast.noise.randaugment import RandAugmentSettings, rand_augment
from nsfast.streams import stream_seed
from nsfast.training.learner import rand_augment_options
from nsfast.training.recipe import Recipe


class Noised(nn.Module):
    """A network under the noise that it was trained with: RandAugment, dropout, stochastic depth, whatever its mode.

    Batch normalisation keeps its running statistics. What is drawn depends on the pictures of a batch alone, so that
    labeling gives the same labels in any order and by any number of processes, but not with another size of batches.

    Args:
        network: the teacher, which is changed for good: take one that does nothing else.
        recipe: of its training.

    Source: the paper's noise ablation, "teacher with Aug, SD, Dropout" (arXiv 1911.04252).
    """

    def __init__(self, network: Network, recipe: Recipe):
        super().__init__()
        self.network = network
        self.settings = RandAugmentSettings(**rand_augment_options(recipe))
        noise = [FinalDropout(recipe.dropout)]
        if recipe.stochastic_depth:
            noise.append(StochasticDepth(recipe.stochastic_depth, subset=False))
        for callback in noise:
            callback.learn = SimpleNamespace(model=network)
            callback.install()

    def __getattr__(self, name: str):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("network"), name)  # pixels, normalize, autocast

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes) of pictures (n, channels, height, width) on 0..1."""
        levels = (x * 255).round().to(torch.uint8).cpu().contiguous()
        digest = hashlib.blake2b(levels.numpy().tobytes(), digest_size=8).hexdigest()
        devices = [x.device] if x.is_cuda else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(stream_seed(0, "noised teacher", digest) % 2**63)
            for module in self.network.modules():
                module.training = not isinstance(module, nn.modules.batchnorm._BatchNorm)
            try:
                return self.network(rand_augment(x, settings=self.settings))
            finally:
                self.network.eval()
