"""Cross-entropy of soft targets over a joint batch, in the three normalisations that paper and code use."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from nsfast.errors import choice

NORMALISATIONS = ("concat", "per_stream", "official")


class SoftTargetCrossEntropy(nn.Module):
    """-sum p log q per picture, averaged over a batch whose first `labeled` pictures are the labeled ones.

    Args:
        normalisation: "concat", the average over all pictures (paper, training details); "per_stream", the mean of
            the labeled plus the mean of the pseudo-labeled pictures (paper, Algorithm 1); "official", labeled mean
            plus ratio times pseudo-labeled mean (released code, main.py).
        labeled: labeled pictures in a batch; None where there is one stream only.

    Targets are class indices (n,) or distributions (n, classes); the whole distribution counts, never its argmax.
    The attributes that fastai expects of a loss (`reduction`, `activation`, `decodes`) are here.
    """

    y_int = True

    def __init__(self, normalisation: str = "concat", labeled: int | None = None):
        super().__init__()
        self.normalisation = choice("loss normalisation", normalisation, NORMALISATIONS)
        self.labeled, self.reduction = labeled, "mean"

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        logits, target = logits.as_subclass(torch.Tensor), target.as_subclass(torch.Tensor)
        each = F.cross_entropy(logits, target, reduction="none")
        if self.reduction != "mean":
            return each if self.reduction == "none" else each.sum()
        n = self.labeled
        if self.normalisation == "concat" or not n or len(each) <= n or not target.is_floating_point():
            return each.mean()
        labeled, pseudo = each[:n].mean(), each[n:].mean()
        return labeled + pseudo * (1 if self.normalisation == "per_stream" else (len(each) - n) / n)

    def activation(self, logits: torch.Tensor) -> torch.Tensor:
        return F.softmax(logits, dim=-1)

    def decodes(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.argmax(dim=-1)


def soft_targets(labels: torch.Tensor, classes: int, smoothing: float = 0.0) -> torch.Tensor:
    """Turn class indices (n,) into distributions (n, classes), with label smoothing 0..1 (Szegedy et al., 2016)."""
    return F.one_hot(labels, classes).float().mul_(1 - smoothing).add_(smoothing / classes)
