"""What fastai's Recorder has logged, kept over a break of a training."""

from __future__ import annotations

from typing import Any

import torch
from fastai.callback.core import Callback
from fastai.learner import Recorder
from fastcore.foundation import L


def recorded(recorder: Recorder, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Return what a Recorder has logged as plain data; its long rows go to `tensors`, under "recorder."."""
    for name in ("lrs", "losses"):
        tensors[f"recorder.{name}"] = torch.tensor([float(value) for value in getattr(recorder, name)])
    smooth = recorder.smooth_loss
    tensors["recorder.smooth"] = torch.as_tensor(smooth.val, dtype=torch.float32)
    values = [list(map(_plain, row)) for row in recorder.values]
    return {"values": values, "iters": list(recorder.iters), "count": smooth.count}


def record(recorder: Recorder, about: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Put back what `recorded` returned; `tensors` by their names without "recorder."."""
    recorder.lrs, recorder.losses = tensors["lrs"].tolist(), list(tensors["losses"])
    recorder.values, recorder.iters = [L(row) for row in about["values"]], list(about["iters"])
    recorder.smooth_loss.val, recorder.smooth_loss.count = tensors["smooth"], about["count"]


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int | str) else float(value)


class SkippedEpochs(Callback):
    """Gives the Recorder what it had logged of epochs that are skipped, before fastai's trackers look for it."""

    order = 55

    def __init__(self, rows: list[list], count: int):
        super().__init__()
        self.rows, self.count = rows, count

    def after_epoch(self):
        if self.epoch < self.count:
            self.recorder.values[-1] = self.rows[self.epoch]
