"""The alternative to nsfast's training: a plain PyTorch loop that does the same work."""

from __future__ import annotations

import math
from copy import deepcopy

import torch
import torch.nn.functional as F
from fastai.learner import Learner
from student import RATE, SMOOTHING, WARMUP, WEIGHT_DECAY


class BareLoop:
    """The same training as a plain loop: the same network, pictures, batches, targets, loss, optimizer and schedule.

    Args:
        learner: whose network is copied and whose pictures are used.
        bfloat16: whether the forward pass is in mixed precision.
    """

    def __init__(self, learner: Learner, bfloat16: bool = False):
        self.model, loader = deepcopy(learner.model), learner.dls.train
        self.data, self.groups, self.sizes = loader.dataset, loader.groups, (loader.labeled, loader.pseudo)
        self.steps, self.bfloat16 = len(loader), bfloat16
        parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, fused=True)

    def draw(self) -> torch.Tensor:
        """Return the rows of an epoch's batches, (steps, batch): each group in random order, anew at every wrap."""
        parts = []
        for rows, size in zip(map(torch.from_numpy, self.groups), self.sizes, strict=True):
            wraps = -(-self.steps * size // len(rows))
            order = torch.cat([rows[torch.randperm(len(rows))] for _ in range(wraps)])
            parts.append(order[: self.steps * size].view(self.steps, size))
        return torch.cat(parts, 1)

    def rate(self, done: float) -> float:
        """Return the learning rate, half a cosine up and one down, at a share of the epoch."""
        if done < WARMUP:
            start, end, at = RATE / 25, RATE, done / WARMUP
        else:
            start, end, at = RATE, RATE / 1e3, (done - WARMUP) / (1 - WARMUP)
        return start + (1 + math.cos(math.pi * (1 - at))) * (end - start) / 2

    def epoch(self, order: torch.Tensor | None = None) -> None:
        """Train for one epoch, on batches of these rows if they are given."""
        order = self.draw() if order is None else order
        pixels, targets, labeled = self.data.pixels, self.data.targets, self.sizes[0]
        self.model.train()
        for step, rows in enumerate(order.to(pixels.device)):
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(step / self.steps)
            x = pixels.index_select(0, rows).float().div_(255)
            y = targets.index_select(0, rows)
            y[:labeled] = y[:labeled] * (1 - SMOOTHING) + SMOOTHING / y.shape[1]
            with torch.autocast(pixels.device.type, torch.bfloat16, enabled=self.bfloat16):
                loss = F.cross_entropy(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
