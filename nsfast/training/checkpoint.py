"""A checkpoint of a training, from which it continues to the bit."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import torch
from fastai.callback.core import Callback, CancelEpochException
from fastai.torch_core import get_model
from fastcore.foundation import L
from safetensors.torch import save_file

from nsfast.errors import NsfastError
from nsfast.files import atomic
from nsfast.progress import Progress
from nsfast.streams import seed_everything, stream_seed
from nsfast.training.average import WeightAverage
from nsfast.training.batches import JointDL
from nsfast.training.checkpoint_file import previous, read_checkpoint
from nsfast.training.processes import Processes
from nsfast.training.random_state import AtFirstBatch, random_states, restore_random_states
from nsfast.training.recorded import SkippedEpochs, record, recorded

SHOW_EVERY = 2.0  # seconds between two signs of life within an epoch
CHECK_EVERY = 20  # batches between two looks at the loss, each of which waits for a GPU


class Checkpoint(Callback):
    """Writes a checkpoint after every epoch and every few minutes, and continues from it, on a CPU to the bit.

    Every epoch begins by seeding all generators from (seed, epoch); within an epoch their states are saved. The file is
    one safetensors file, replaced atomically; the one before it is kept beside it and taken when it is damaged.

    Args:
        path: of the checkpoint.
        identity: plain data, all that makes this training what it is; a checkpoint of another one is refused.
        seed: of the training.
        average: the `WeightAverage` of the same fit.
        minutes: between two checkpoints within an epoch; needs a loader that can begin in the middle (`JointDL`).
        processes: the processes that train together; the first one writes.
        name: of an epoch, where its progress is shown.

    Raises:
        NsfastError: the file is of another training (it says in what they differ), or damaged like the one before it;
            in a fit, a loss that is not a number.
    """

    order = 99
    problem: NsfastError | None = None  # what stopped the fit, as fastai rewords what an event raises

    def __init__(
        self,
        path: str | Path,
        identity: dict[str, Any],
        seed: int,
        average: WeightAverage,
        minutes: float = 10.0,
        processes: Processes | None = None,
        name: str = "epoch",
    ):
        super().__init__()
        self.path, self.identity, self.seed, self.average = Path(path), identity, seed, average
        self.minutes, self.processes, self.name_of_epoch = minutes, processes or Processes(), name
        self.history: list[dict] = []
        # here: fastai rewords what an event raises
        self.found = self.processes.first_read(lambda: read_checkpoint(self.path, identity))
        self.start, self.middle, self.recorded, self.skipped = 0, None, None, None

    def before_fit(self):
        if hasattr(self.learn, "lr_finder") or hasattr(self.learn, "gather_preds"):
            return
        if not hasattr(self.opt, "opt") or not len(self.learn.metrics):
            raise NsfastError(
                "Checkpoint needs a torch optimizer and a metric; give the Learner opt_func=partial(OptimWrapper, "
                "opt=torch.optim.AdamW) and metrics=accuracy"
            )
        if self.found:
            self._restore(*self.found)
            self.found = None
        if not self.processes.rank:
            self.progress = Progress(self.name_of_epoch, self.n_epoch, self.start)
            again = "continued from the checkpoint" if self.start or self.middle else ""
            if self.start < self.n_epoch:
                self.progress.update(self.start, again)

    def before_epoch(self):
        if self.epoch < self.start:
            raise CancelEpochException
        if self.recorded:
            record(self.recorder, *self.recorded)
            self.recorded = None
        names = ("epoch", self.epoch, *([self.processes.rank] if self.processes.rank else []))
        seed_everything(self.seed, *names)
        for loader in self.dls.loaders:
            loader.rng = random.Random(stream_seed(self.seed, "batches", self.epoch))
        middle = self.middle or {}
        self.first = middle.get("batches", 0)
        if isinstance(self.dls.train, JointDL):
            self.dls.train.epoch, self.dls.train.skip = self.epoch, self.first
        self.losses = list(middle.get("losses", ()))
        self.done, self.began, self.per_save = self.first, time.monotonic(), None
        self.written, self.shown, self.checked = self.began, self.began, len(self.losses)

    def before_train(self):
        if not self.middle:
            return
        self.learn.pct_train, states = self.middle["fraction"], self.middle["states"]
        if states:
            # a loader draws when it starts its workers; the states are of after that, before the first batch
            pipeline = self.dls.train.after_batch
            pipeline.fs = L(AtFirstBatch(lambda: restore_random_states(states))) + pipeline.fs
        self.middle = None

    def after_batch(self):
        if not self.training:
            return
        self.losses.append(self.loss.detach())
        self.done += 1
        if self.done % CHECK_EVERY == 0:
            self._require_finite()
        if not self.processes.rank and (now := time.monotonic()) - self.shown >= SHOW_EVERY:
            self.shown = now
            self.progress.update(self.epoch, f"batch {self.done}/{self.n_iter}", self.done / self.n_iter)
        if isinstance(self.dls.train, JointDL) and self.done % self.dls.train.accumulate == 0 and self._due():
            self._save(self.epoch, batches=self.done)

    def _require_finite(self):
        fresh = torch.stack(self.losses[self.checked :] or [torch.zeros(())])
        self.checked = len(self.losses)
        if not len(bad := (~fresh.isfinite()).nonzero()):
            return
        batch = self.checked - len(fresh) + int(bad[0]) + 1
        self._stop(f"the loss is {float(fresh[bad[0]]):g} at batch {batch} of epoch {self.epoch + 1}")

    def _stop(self, why: str):
        there = self.path.is_file()
        kept = f"the last good checkpoint is {self.path}" if there else "no checkpoint is there yet"
        self.problem = NsfastError(
            f"{why}; {kept}. Lower learning_rate or lengthen the warm-up; with precision bfloat16 try float32"
        )
        raise self.problem

    def _due(self) -> bool:
        """Whether it is time to write within the epoch; all processes answer alike."""
        if self.done >= self.n_iter:
            return False
        if self.processes.count == 1:
            return time.monotonic() - self.written >= 60 * self.minutes
        steps = (self.done - self.first) // self.dls.train.accumulate
        if self.per_save is None:
            if steps < 10:
                return False
            each = (time.monotonic() - self.began) / steps
            self.per_save = self.processes.first(max(1, round(60 * self.minutes / max(each, 1e-6))))
        return steps % self.per_save == 0

    def after_train(self):
        if isinstance(self.dls.train, JointDL):
            self.dls.train.skip = 0
        pipeline = self.dls.train.after_batch
        pipeline.fs = pipeline.fs.filter(lambda transform: not isinstance(transform, AtFirstBatch))

    def after_fit(self):
        if self.skipped:
            self.learn.remove_cb(self.skipped)
            self.skipped = None

    def after_epoch(self):
        if self.epoch < self.start:
            return
        loss, accuracy = self._scores()
        train_loss = self.processes.mean(float(torch.stack(self.losses).mean()))
        row = {"epoch": self.epoch + 1, "train_loss": train_loss}
        self.history.append({**row, "validation_loss": loss, "validation_accuracy": accuracy})
        self._save(self.epoch + 1)
        if not self.processes.rank:
            self.progress.update(self.epoch + 1, f"validation accuracy {accuracy:.1%}")

    def _scores(self) -> tuple[float, float]:
        """Validation loss and accuracy of this epoch, as the Recorder has them, over all processes."""
        loss, accuracy = self.recorder.final_record[1:3]
        share = len(range(self.processes.rank, len(self.dls.valid_ds), self.processes.count))
        # a process without a share has None
        return tuple(self.processes.mean(float(value or 0), share) for value in (loss, accuracy))

    def _save(self, epoch: int, batches: int = 0):
        self._require_finite()
        states = []
        if batches:
            states = self.processes.gather((torch.stack(self.losses).cpu(), random_states()))
        self.written = time.monotonic()
        if self.processes.rank:
            return
        tensors = {f"raw.{k}": v for k, v in get_model(self.learn.model).state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.average.average.state_dict().items()}
        for index, state in self.opt.opt.state_dict()["state"].items():
            tensors |= {f"opt.{index}.{k}": torch.as_tensor(v) for k, v in state.items() if v is not None}
        if not all(bool(v.isfinite().all()) for v in tensors.values() if v.is_floating_point()):
            self._stop(f"the weights are not all numbers after batch {self.done} of epoch {self.epoch + 1}")
        for rank, (losses, each) in enumerate(states):
            tensors |= {f"losses.{rank}": losses, **{f"random.{rank}.{k}": v for k, v in each.items()}}
        about = {"identity": self.identity, "epoch": epoch, "updates": self.average.updates}
        about |= {"batches": batches // self.dls.train.accumulate if batches else 0}
        about |= {"fraction": self.pct_train, "history": self.history, "processes": self.processes.count}
        about |= {"step": self.learn.schedule.step} if hasattr(self.learn, "schedule") else {}
        about |= {"finished": epoch == self.n_epoch, "trackers": self._trackers()}
        about |= {"recorder": recorded(self.recorder, tensors)}
        if scaler := getattr(getattr(self.learn, "mixed_precision", None), "scaler", None):
            about["scaler"] = scaler.state_dict()
        with atomic(self.path) as temporary:
            save_file(
                {k: v.contiguous() for k, v in tensors.items()}, temporary, {"nsfast": json.dumps(about)}
            )
            if self.path.is_file():
                os.replace(self.path, previous(self.path))

    def _trackers(self) -> dict[str, dict]:
        """What fastai's trackers (SaveModelCallback, EarlyStoppingCallback, ...) have seen."""
        found = {}
        for callback in self.learn.cbs:
            values = {name: vars(callback)[name] for name in ("best", "wait") if name in vars(callback)}
            found |= {callback.name: {name: float(value) for name, value in values.items()}} if values else {}
        return found

    def _restore(self, about: dict, tensors: dict[str, torch.Tensor]) -> None:
        """Take up a checkpoint's state."""
        parts: dict[str, dict] = {"raw": {}, "ema": {}, "opt": {}, "random": {}, "losses": {}, "recorder": {}}
        for name, value in tensors.items():
            kind, _, rest = name.partition(".")
            parts[kind][rest] = value
        get_model(self.learn.model).load_state_dict(parts["raw"])
        self.average.install()
        self.average.average.load_state_dict(parts["ema"])
        self.average.updates, self.history = about["updates"], about["history"]
        state: dict[int, dict] = {}
        for name, value in parts["opt"].items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        groups = self.opt.opt.state_dict()["param_groups"]
        parameters = [p for group in self.opt.opt.param_groups for p in group["params"]]
        for index, values in state.items():
            for (
                key,
                value,
            ) in values.items():  # fused steps walk through memory: a state lies as its weights do
                if value.shape == parameters[index].shape:
                    values[key] = torch.empty_like(parameters[index]).copy_(value)
        self.opt.opt.load_state_dict({"state": state, "param_groups": groups})
        if "step" in about and hasattr(self.learn, "schedule"):
            self.learn.schedule.step = about["step"]
        if scaler := getattr(getattr(self.learn, "mixed_precision", None), "scaler", None):
            scaler.load_state_dict(about.get("scaler", {}))
        self.start = about["epoch"]
        for callback in self.learn.cbs:
            vars(callback).update(about["trackers"].get(callback.name, {}))
        self.recorded = about["recorder"], parts["recorder"]
        self.skipped = SkippedEpochs([list(row) for row in about["recorder"]["values"]], self.start)
        self.learn.add_cb(self.skipped)
        if about["batches"]:
            batches = about["batches"] * self.dls.train.accumulate
            self.middle = {"batches": batches, "fraction": about["fraction"], "states": {}}
            losses = torch.stack(list(parts["losses"].values())).mean(0)
            if about["processes"] == self.processes.count:
                losses, prefix = parts["losses"][f"{self.processes.rank}"], f"{self.processes.rank}."
                mine = {k[len(prefix) :]: v for k, v in parts["random"].items() if k.startswith(prefix)}
                self.middle["states"] = mine
            elif not self.processes.rank:
                print("the number of processes has changed within an epoch: not the same noise to the bit")
            device = next(self.learn.model.parameters()).device
            self.middle["losses"] = losses.to(device) if len(losses) == batches else []
