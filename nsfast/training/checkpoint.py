"""A checkpoint of a training, from which it continues to the bit."""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch
from fastai.callback.core import Callback, CancelEpochException
from safetensors.torch import load_file, safe_open, save_file

from nsfast.errors import NsfastError
from nsfast.files import atomic
from nsfast.progress import Progress
from nsfast.streams import seed_everything, stream_seed
from nsfast.training.average import WeightAverage


class Checkpoint(Callback):
    """Writes a checkpoint after every epoch and continues from it, on one CPU thread to the bit.

    Every epoch begins by seeding all generators from (seed, epoch), so that weights, average, optimizer and history
    are the whole state. The file is one safetensors file, replaced atomically.

    Args:
        path: of the checkpoint.
        fingerprint: of everything that went in; a checkpoint with another one is not continued.
        seed: of the training.
        average: the `WeightAverage` of the same fit.

    Raises:
        NsfastError: the file is damaged.
    """

    order = 99

    def __init__(self, path: str | Path, fingerprint: str, seed: int, average: WeightAverage):
        super().__init__()
        self.path, self.fingerprint, self.seed, self.average = Path(path), fingerprint, seed, average
        self.history: list[dict] = []
        # read here: fastai rewords what an event raises
        self.found = self._read() if self.path.is_file() else None

    def before_fit(self):
        self.start = self._restore(*self.found) if self.found else 0
        self.found = None
        self.progress = Progress("epoch", self.n_epoch, self.start)
        if self.start:
            self.progress.update(self.start, "continued from the checkpoint")

    def before_epoch(self):
        if self.epoch < self.start:
            raise CancelEpochException
        seed_everything(self.seed, "epoch", self.epoch)
        for loader in self.dls.loaders:
            loader.rng = random.Random(stream_seed(self.seed, "batches", self.epoch))
        self.losses = []

    def after_batch(self):
        if self.training:
            self.losses.append(self.loss.detach())

    def after_epoch(self):
        if self.epoch < self.start:
            return
        loss, accuracy = self._scores()
        row = {"epoch": self.epoch + 1, "train_loss": float(torch.stack(self.losses).mean())}
        self.history.append({**row, "validation_loss": loss, "validation_accuracy": accuracy})
        self._save()
        self.progress.update(self.epoch + 1, f"validation accuracy {accuracy:.1%}")

    def _scores(self) -> tuple[float, float]:
        """Validation loss and accuracy of this epoch, as the Recorder has them."""
        loss, accuracy = self.recorder.final_record[1:3]
        return float(loss), float(accuracy)

    def _save(self):
        tensors = {f"raw.{k}": v for k, v in self.learn.model.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.average.average.state_dict().items()}
        for index, state in self.opt.opt.state_dict()["state"].items():
            tensors |= {f"opt.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
        about = {"fingerprint": self.fingerprint, "epoch": self.epoch + 1, "updates": self.average.updates}
        about["history"] = self.history
        with atomic(self.path) as temporary:
            save_file(
                {k: v.contiguous() for k, v in tensors.items()}, temporary, {"nsfast": json.dumps(about)}
            )

    def _read(self) -> tuple[dict, dict[str, torch.Tensor]] | None:
        """Return what the checkpoint says and its tensors, None if it is of another training."""
        try:
            with safe_open(self.path, "pt") as file:
                about = json.loads(file.metadata()["nsfast"])
            if about["fingerprint"] != self.fingerprint:
                return None
            return about, load_file(self.path)
        except Exception as error:
            raise NsfastError(
                f"checkpoint {self.path} is damaged ({error}); delete it to train anew"
            ) from None

    def _restore(self, about: dict, tensors: dict[str, torch.Tensor]) -> int:
        """Take up a checkpoint's state; return the epochs it has behind it."""
        parts: dict[str, dict] = {"raw": {}, "ema": {}, "opt": {}}
        for name, value in tensors.items():
            kind, _, rest = name.partition(".")
            parts[kind][rest] = value
        self.learn.model.load_state_dict(parts["raw"])
        self.average.install()
        self.average.average.load_state_dict(parts["ema"])
        self.average.updates, self.history = about["updates"], about["history"]
        state: dict[int, dict] = {}
        for name, value in parts["opt"].items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        groups = self.opt.opt.state_dict()["param_groups"]
        self.opt.opt.load_state_dict({"state": state, "param_groups": groups})
        return about["epoch"]
