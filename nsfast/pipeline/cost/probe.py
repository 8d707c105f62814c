"""How fast this machine is: a few steps of each training and a few batches of labeling, on random pictures."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from fastai.callback.core import Callback

from nsfast.errors import NsfastError
from nsfast.images import Split
from nsfast.labels.predict import predict
from nsfast.models import build_model, default_device
from nsfast.models.network import pictures_at_once
from nsfast.pipeline.cost.cards import MEMORY
from nsfast.pipeline.cost.footprint import activation_bytes, state_bytes
from nsfast.pipeline.cost.work import FORWARDS_OF_A_STEP, NetworkAt, TrainingWork
from nsfast.training.average import WeightAverage
from nsfast.training.checkpoint import Checkpoint
from nsfast.training.learner import PseudoLabeled, build_learner
from nsfast.training.recipe import Recipe
from nsfast.training.schedule import Schedule, schedule_of

LONGEST = 60.0  # seconds, about, that all is tried for together
MOST_ON_A_CPU = 1e11  # multiply-adds of a picture; a second or two for a core
IMPORTS = "import papermill, ipykernel, fastai.learner, nsfast.training.train, nsfast.analysis.figures"
IMPORT_SECONDS = 7.0  # of IMPORTS where the notebooks were clocked, see `costs.NOTEBOOK_SECONDS`


class Probe:
    """The speed of this machine, measured when it is asked for, once for everything that is the same.

    All of it together takes about a minute, `LONGEST`. Trainings for which that leaves no time are not tried: a step is
    then reckoned as three forward passes, and `sources` says so.

    Args:
        threads: CPU threads of a stage.
        seconds: that each distinct training is tried for; a slow one takes four steps, if there is time for them.
        batch: pictures in a forward pass of labeling.
        device: the first GPU if there is one, else the CPU.
    """

    def __init__(
        self, threads: int = 1, seconds: float = 3.0, batch: int = 256, device: torch.device | None = None
    ):
        self.threads, self.seconds, self.batch = threads, seconds, batch
        self.device = device or default_device()
        cuda = self.device.type == "cuda"
        self.memory = _memory(self.device)
        self.beside = 1 if cuda else max(1, (os.cpu_count() or 1) // threads)
        self.where = torch.cuda.get_device_name(self.device) if cuda else f"this machine, {threads} thread(s)"
        self.sources: dict[str, None] = {}
        self._looks: dict[tuple[NetworkAt, bool], float] = {}
        self._fits: dict[tuple, tuple[float, float]] = {}
        self._slowness: float | None = None
        self._begun: float | None = None

    def _left(self) -> float:
        """Seconds that may still be spent, counted from the first question."""
        now = time.perf_counter()
        self._begun = now if self._begun is None else self._begun
        return LONGEST - (now - self._begun)

    def look(self, network: NetworkAt, precision: str = "float32") -> float:
        """Return the seconds of a forward pass over a picture, as labeling makes it: on a CPU always in float32.

        Raises:
            NsfastError: the network is too large to be tried here.
        """
        key = (network, precision == "bfloat16" and self.device.type == "cuda")
        if key not in self._looks:
            too_much = self.device.type == "cpu" and network.multiply_adds > MOST_ON_A_CPU
            if too_much or 2 * state_bytes(network) > (_free(self.device) or float("inf")):
                raise _too_large(network)
            with self._as_in_a_stage():
                self._looks[key] = self._time_looking(*key)
        return self._looks[key]

    def _time_looking(self, network: NetworkAt, half: bool) -> float:
        model = _model(network).to(self.device)
        model.autocast = torch.bfloat16 if half else None
        batch = min(self.batch, pictures_at_once(network.pixels))
        pixels = _pictures(batch, network.pixels, network.channels)
        seconds = min(self.seconds / 4, self._left() / 8)
        count, each = min(2, batch), 0.0
        while True:
            for _ in range(2):  # the first of a new size warms up
                begun = time.perf_counter()
                predict(model, pixels[:count], batch)
                each = (time.perf_counter() - begun) / count
            if count >= len(pixels) or each * count > seconds:
                break
            count = min(len(pixels), max(2 * count, int(seconds / each)))
        what = f"labeling with {network.name} at {network.pixels} pixels"
        self.sources[f"{what}: measured here, {1 / each:,.0f} pictures per second"] = None
        return each

    def step(self, work: TrainingWork) -> float:
        """Return the seconds of an optimizer step, over all processes: each is taken to be as fast as this device.

        Raises:
            NsfastError: the training is too large to be tried here.
        """
        return self._fit(work)[0] * work.part * work.recipe.accumulate

    def epoch_end(self, work: TrainingWork) -> float:
        """Return the seconds at the end of an epoch beside validation: bookkeeping and the checkpoint."""
        return self._fit(work)[1]

    def slowness(self) -> float:
        """Return how slowly this machine imports, of the one where the notebooks were clocked."""
        if self._slowness is None:
            environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads)}
            # the first reads from the disk what the second finds in memory; a slow one is enough
            seconds, left = [], self._left()
            while not seconds or len(seconds) < 2 and seconds[0] < left / 4:
                begun = time.perf_counter()
                subprocess.run([sys.executable, "-W", "ignore", "-c", IMPORTS], env=environment, check=True)
                seconds.append(time.perf_counter() - begun)
            self._slowness = min(seconds) / IMPORT_SECONDS
        return self._slowness

    def _fit(self, work: TrainingWork) -> tuple[float, float]:
        """Seconds of a step for each labeled picture (or what stands for one), and of the end of an epoch."""
        recipe, key = _tried_recipe(work), tried(work)
        if key not in self._fits:
            looking = self.look(work.network, recipe.precision)
            with self._as_in_a_stage():
                self._fits[key] = self._time_training(work, recipe, looking)
        return self._fits[key]

    def _time_training(self, work: TrainingWork, recipe: Recipe, looking: float) -> tuple[float, float]:
        part, each = recipe.batch, FORWARDS_OF_A_STEP * looking * work.kinds
        what, left = f"training {work.network.name} at {work.network.pixels} pixels", self._left()
        seconds = min(self.seconds, left / 2)
        room = (_free(self.device) or float("inf")) - 6 * state_bytes(work.network)
        while part > 1 and (
            each * part * 4 > seconds or activation_bytes(work.network) * part * work.kinds > 0.8 * room
        ):
            part = part // 2
        if part * work.kinds < 2:
            part = 2
        while True:
            if each * part * 4 > LONGEST or activation_bytes(work.network) * part * work.kinds > room:
                raise _too_large(work.network)
            if each * part * 4 > self._left():
                said = f"reckoned as {FORWARDS_OF_A_STEP} forward passes, for the minute of trying is over"
                self.sources[f"{what}: {said}"] = None
                return each, 0.0
            try:
                learner = self._learner(work, replace(recipe, batch=part))
                _time_fit(learner, recipe, 2, self.device)
                steps = int(min(400, max(2, seconds / (each * part))))
                step, end = _time_fit(learner, recipe, steps, self.device)
                break
            except torch.OutOfMemoryError:
                if part * work.kinds <= 2:
                    raise _too_large(work.network) from None
                part = part // 2
        at_once = f"{part * work.kinds} pictures at once" + (
            f" (the run: {work.part * work.kinds})" if part != work.part else ""
        )
        speed = part * work.kinds / step
        self.sources[f"{what}, {at_once}: measured here, {speed:,.0f} pictures per second"] = None
        return step / part, max(0.0, end - 2 * looking)

    def _learner(self, work: TrainingWork, recipe: Recipe):
        network, classes = work.network, work.network.classes
        statistics = ([0.5] * network.channels, [0.25] * network.channels)
        count = max(2, recipe.batch)

        def split(n: int) -> Split:
            ids = np.array([str(i) for i in range(n)])
            return Split(ids, _pictures(n, network.pixels, network.channels), np.arange(n) % classes)

        pseudo = None
        if recipe.ratio:
            n = count * recipe.ratio
            chances = np.random.default_rng(0).random((n, classes), np.float32)
            shares = chances / chances.sum(1, keepdims=True)
            pseudo = PseudoLabeled(split(n).pixels, shares, np.ones(n, np.int64))
        return build_learner(
            *(recipe, classes, statistics, split(count), split(2), pseudo),
            device=self.device,
            labeled_too=work.phase.labeled,
            frozen=work.phase.frozen,
        )

    @contextmanager
    def _as_in_a_stage(self):
        """With a stage's threads, without a word, and leaving the random numbers as they were."""
        before, state = torch.get_num_threads(), torch.get_rng_state()
        torch.set_num_threads(self.threads)
        try:
            with redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            torch.set_num_threads(before)
            torch.set_rng_state(state)


class _Clock(Callback):
    """Seconds of the steps of an epoch, and from the last of them to its end."""

    order = 200  # after the checkpoint is written

    def __init__(self, device: torch.device):
        super().__init__()
        self.device, self.marks = device, []

    def _mark(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.marks.append(time.perf_counter())

    before_train = after_train = after_epoch = _mark


def _time_fit(learner, recipe: Recipe, steps: int, device: torch.device) -> tuple[float, float]:
    """Fit an epoch as `nsfast.training.train` does; return seconds of a step and of the end of the epoch."""
    learner.dls.train.steps = steps
    average, clock = WeightAverage(recipe.ema), _Clock(device)
    with tempfile.TemporaryDirectory() as folder, learner.no_bar(), learner.no_logging():
        saver = Checkpoint(Path(folder) / "checkpoint.safetensors", {}, 0, average)
        schedule = Schedule(schedule_of(recipe, recipe.batch), steps)
        learner.fit(1, wd=[recipe.weight_decay, 0.0], cbs=[average, saver, schedule, clock])
    begun, trained, ended = clock.marks
    return (trained - begun) / steps, ended - trained


def tried(work: TrainingWork) -> tuple:
    """Return what tells one training from another here: those with the same are tried once."""
    return work.network, _tried_recipe(work), work.phase.labeled, work.phase.frozen


def _tried_recipe(work: TrainingWork) -> Recipe:
    """What of a recipe makes a step fast or slow, the rest as in every other; a part is a step."""
    recipe = work.recipe
    plain = dict(
        start="scratch", epochs=1, steps_per_epoch=1, epoch_by="labeled", order="joint", accumulate=1
    )
    plain |= dict(
        schedule="constant", learning_rate=1e-4, learning_rate_batch=0, final_learning_rate=0.0, seed=0
    )
    plain |= dict(
        finetune_epochs=0.0, sync_batchnorm=False, resolution=0, batch=max(work.part, 2 - work.recipe.ratio)
    )
    plain |= dict(crop="none" if recipe.crop == "inception" else recipe.crop)
    return replace(recipe, **plain)


def _model(network: NetworkAt):
    shape = (network.architecture, network.classes, network.channels, network.size)
    return build_model(*shape, pixels=network.pixels)


def _pictures(count: int, pixels: int, channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, pixels, pixels, channels), np.uint8)


def _memory(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on every system
        return None


def _free(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return _memory(device)


def _too_large(network: NetworkAt) -> NsfastError:
    return NsfastError(
        f"{network.name} at {network.pixels} pixels is too large to be tried on this machine; name the card that it "
        f"will run on, of which there are public figures, with --gpu: {', '.join(MEMORY)}"
    )
