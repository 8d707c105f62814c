"""The exponential moving average of a network's weights (Polyak and Juditsky, 1992; as the released code keeps it)."""

from __future__ import annotations

from copy import deepcopy

import torch
from fastai.torch_core import get_model

from nsfast.errors import within
from nsfast.while_training import WhileTraining


class WeightAverage(WhileTraining):
    """Exponential moving average of weights and batch-norm statistics; validation, `get_preds` and `tta` run on it.

    It moves after real optimizer steps only: not while gradients accumulate, nor when mixed precision skips a step.
    The decay warms up as min(decay, (1 + t) / (10 + t)), TensorFlow's form with `num_updates` (released code).

    Args:
        decay: 0..1; 0 keeps the average equal to the weights.

    `average` is the averaged network, in eval mode, once a fit trains; the learner's own model keeps the raw weights.
    `lr_find` does not move it.
    """

    order = 5

    def __init__(self, decay: float = 0.999):
        super().__init__()
        self.decay, self.updates, self.average = within("ema", decay, 0, 1), 0, None
        self.swapped = self.skipped = self.idle = False

    def before_fit(self):
        self._back()
        self.idle = hasattr(self.learn, "lr_finder")

    def install(self):
        if self.idle:
            return
        if self.average is None or self.average is self.learn.model:
            self.average = deepcopy(get_model(self.learn.model)).eval()
        self._pair()

    def _pair(self):
        ours, theirs = (m.state_dict(keep_vars=True) for m in (self.average, get_model(self.learn.model)))
        # tied weights stand in a state_dict twice
        self.pairs = list({id(value): (value, theirs[name]) for name, value in ours.items()}.values())
        # collected once an epoch: walking the network at every step costs more than the average itself
        kinds = [
            [pair for pair in self.pairs if pair[0].is_floating_point() is real] for real in (True, False)
        ]
        self.floats, self.counts = ([list(side) for side in zip(*kind, strict=True)] for kind in kinds)

    def after_cancel_step(self):
        self.skipped = True  # fastai calls `after_step` all the same

    @torch.no_grad()
    def after_step(self):
        if self.idle or self.skipped:
            self.skipped = False
            return
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(*self.floats, 1 - decay)
        if self.counts:
            torch._foreach_copy_(*self.counts)

    def _swap(self):
        for ours, theirs in self.pairs:
            ours.data, theirs.data = theirs.data, ours.data
        self.swapped = not self.swapped

    def _back(self):
        if self.swapped:
            self._swap()

    def before_validate(self):
        if not (self.average is None or self.idle or self.average is self.learn.model):
            self._pair()
            self._swap()

    def after_validate(self):
        self._back()

    after_cancel_epoch = after_cancel_fit = after_validate

    def after_fit(self):
        super().after_fit()
        self._back()
