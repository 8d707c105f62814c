"""Cross-entropy of soft targets over a joint batch, in the three normalisations that paper and code use."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from fastai.learner import ValueMetric
from torch import nn

from nsfast.errors import NsfastError, choice, within
from nsfast.while_training import WhileTraining

NORMALISATIONS = ("concat", "per_stream", "official")
TARGETS = ("soft", "hard")


class SoftTargetCrossEntropy(nn.Module):
    """-sum p log q per picture, averaged over a batch whose first `labeled` pictures are the labeled ones.

    Args:
        normalisation: "concat", the average over all pictures (paper, training details); "per_stream", the mean of
            the labeled plus the mean of the pseudo-labeled pictures (paper, Algorithm 1); "official", labeled mean
            plus ratio times pseudo-labeled mean (released code, main.py).
        labeled: labeled pictures in a batch; None where there is one stream only.

    Targets are class indices (n,) or distributions (n, classes); the whole distribution counts, never its argmax.
    What fastai expects of a loss is here (`reduction`, `activation`, `decodes`, `y_int`), so MixUp, CutMix,
    Interpretation and `get_preds(with_loss=True)` work. While gradients are recorded and with reduction "none", every
    picture's loss is weighted so that their mean is the normalised loss, which is what MixUp reduces to; under
    `torch.no_grad`, as in validation, and for class indices nothing is weighted.
    """

    y_int = True

    def __init__(self, normalisation: str = "concat", labeled: int | None = None):
        super().__init__()
        self.normalisation = choice("loss normalisation", normalisation, NORMALISATIONS)
        self.labeled, self.reduction, self.each = labeled, "mean", None

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        logits, target = logits.as_subclass(torch.Tensor), target.as_subclass(torch.Tensor)
        each = F.cross_entropy(logits, target, reduction="none")
        self.each = each.detach()  # of each picture, unweighted; for those who report streams
        n, count = self.labeled, len(each)
        weighted = torch.is_grad_enabled() and target.is_floating_point() and self.normalisation != "concat"
        if weighted and n and count > n:
            if self.normalisation == "official":
                each = each * (count / n)
            else:
                each = torch.cat([each[:n] * (count / n), each[n:] * (count / (count - n))])
        return each if self.reduction == "none" else each.mean() if self.reduction == "mean" else each.sum()

    def activation(self, logits: torch.Tensor) -> torch.Tensor:
        return F.softmax(logits, dim=-1)

    def decodes(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.argmax(dim=-1)


def soft_targets(labels: torch.Tensor, classes: int, smoothing: float = 0.0) -> torch.Tensor:
    """Turn class indices (n,) into distributions (n, classes), with label smoothing 0..1 (Szegedy et al., 2016)."""
    return F.one_hot(labels.long(), classes).float().mul_(1 - smoothing).add_(smoothing / classes)


def training_targets(
    target: torch.Tensor,
    classes: int,
    labeled: int = 0,
    targets: str = "soft",
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Return the distributions (n, classes) that a batch is trained towards, as the released code makes them (main.py).

    Class indices and the first `labeled` distributions are labels: smoothed. The other distributions are
    pseudo-labels: "soft" ones are taken at a temperature and never smoothed, "hard" ones are their argmax, smoothed.

    Args:
        target: (n,) class indices, or (n, classes) distributions.
        temperature: soft pseudo-labels become p ** (1 / temperature), renormalised; 1 leaves them.
        label_smoothing: 0..1.
    """
    target = target.as_subclass(torch.Tensor)
    if not target.is_floating_point():
        return soft_targets(target, classes, label_smoothing)
    known, pseudo = target[:labeled].float(), target[labeled:].float()
    known = known * (1 - label_smoothing) + label_smoothing / classes
    if targets == "hard":
        pseudo = soft_targets(pseudo.argmax(1), classes, label_smoothing)
    elif temperature != 1:
        pseudo = (pseudo.clamp(min=0).log() / temperature).softmax(1)
    return torch.cat([known, pseudo])


def soft_accuracy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Share of pictures whose largest logit is at the target: a class index, or the largest of a distribution."""
    target = target.argmax(1) if target.is_floating_point() else target
    return (logits.argmax(1) == target).float().mean()


class SoftTargets(WhileTraining):
    """Train any Learner on soft targets: for the training part of a fit, it takes the place of the loss.

    Targets may be class indices or distributions. With `labeled`, the loss of either stream is logged to the recorder,
    as `labeled_loss` and `pseudo_loss` (under MixUp, each picture's against its own target).

    Args:
        labeled: how many pictures of each batch, the first ones, are labeled; 0 where distributions are pseudo-labels
            throughout.
        normalisation: of the loss over both streams, see `SoftTargetCrossEntropy`.
        targets, temperature, label_smoothing: see `training_targets`.

    Raises:
        NsfastError: a value outside its range, when the callback is made.
    """

    order = -3  # before MixUp wraps the loss

    def __init__(
        self,
        labeled: int = 0,
        normalisation: str = "concat",
        targets: str = "soft",
        temperature: float = 1.0,
        label_smoothing: float = 0.1,
    ):
        super().__init__()
        within("labeled", labeled, 0)
        within("label_smoothing", label_smoothing, 0, 1)
        choice("targets", targets, TARGETS)
        if not temperature > 0:
            raise NsfastError(f"temperature is {temperature!r}; it must be above 0")
        self.labeled = labeled
        self.options = {"targets": targets, "temperature": temperature, "label_smoothing": label_smoothing}
        self.loss_of_streams = SoftTargetCrossEntropy(normalisation, labeled or None)
        self.original, self.rows = None, []
        self.trained = self.active = False
        self.columns = [
            ValueMetric(partial(self._mean, i), name)
            for i, name in enumerate(("labeled_loss", "pseudo_loss"))
        ]

    def before_fit(self):
        self.trained = False
        if self.labeled and not hasattr(self.learn, "gather_preds"):
            self._drop_columns()
            self.learn.metrics = [*self.learn.metrics, *self.columns]

    def before_validate(self):
        super().before_validate()
        if not self.trained:  # `Learner.validate`
            self._drop_columns()

    def after_fit(self):
        super().after_fit()
        self._drop_columns()
        self.active = False

    def _drop_columns(self) -> None:
        self.learn.metrics = [metric for metric in self.learn.metrics if metric not in self.columns]

    def install(self):
        self.rows = []
        self.trained = self.active = True
        self.original, self.learn.loss_func = self.learn.loss_func, self.loss_of_streams

    def undo(self):
        if self.active:  # until the fit ends, since MixUp may put back what it found
            self.learn.loss_func = self.original

    def before_batch(self):
        if self.training:
            classes = self.learn.dls.c
            self.learn.yb = (training_targets(self.learn.yb[0], classes, self.labeled, **self.options),)

    def after_loss(self):
        if self.training and self.labeled:
            self.rows.append(self.loss_of_streams.each)

    def _mean(self, stream: int) -> float | None:
        n = self.labeled
        rows = [each[n:] if stream else each[:n] for each in self.rows]
        rows = torch.cat(rows) if rows else torch.empty(0)
        return float(rows.mean()) if len(rows) else None
