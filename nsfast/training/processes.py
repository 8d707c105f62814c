"""The processes that train one network together, as torchrun, accelerate or Ray started them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from fastai.callback.core import Callback
from torch.nn.parallel import DistributedDataParallel

from nsfast.models import default_device

# for what the first process does alone while the others wait: checksums of all pictures, a large checkpoint
PATIENCE = timedelta(hours=1)


@dataclass(frozen=True)
class Processes:
    """Which process this is, of how many; one by default.

    Args:
        rank: 0 for the first, which writes.
        count: of all processes.
    """

    rank: int = 0
    count: int = 1

    def first(self, value: Any) -> Any:
        """Return the first process's value in every process."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def first_read(
        self, read: Callable[[], tuple[dict, dict[str, torch.Tensor]] | None]
    ) -> tuple[dict, dict[str, torch.Tensor]] | None:
        """Return what `read` gives the first process, in every process: plain data and tensors by name, or None.

        So all of them go on from the same state, even where a network drive shows a file to some later than to others.
        """
        if self.count == 1:
            return read()
        about, tensors = (None if self.rank else read()) or (None, {})
        kinds = {name: (value.dtype, tuple(value.shape)) for name, value in tensors.items()}
        about, kinds = self.first((about, kinds))
        if about is None:
            return None
        device, found = own_device(), {}
        for name, (dtype, shape) in kinds.items():
            value = torch.empty(shape, dtype=dtype) if self.rank else tensors[name]
            # as bytes, since gloo and NCCL do not know every type
            data = value.contiguous().view(-1).view(torch.uint8).to(device)
            dist.broadcast(data, src=0)
            found[name] = data.cpu().view(dtype).view(shape)
        return about, found

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, by rank."""
        if self.count == 1:
            return [value]
        box = [None] * self.count
        dist.all_gather_object(box, value)
        return box

    def mean(self, value: float, weight: float = 1.0) -> float:
        """Return the weighted mean of the processes' values."""
        if self.count == 1:
            return value
        both = self.gather((value, weight))
        return sum(v * w for v, w in both) / sum(w for _, w in both)


def join_processes() -> Processes:
    """Join the processes that torchrun, accelerate or Ray started (NCCL on GPUs, gloo on CPUs); else be alone."""
    if not dist.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return Processes()
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    # fastai would exchange the loss of every batch, and wait for ever where one process has a batch more to validate
    os.environ.pop("WORLD_SIZE", None)
    # of 1 x 1 convolutions laid channels-last; it costs a copy of their gradients
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return Processes(dist.get_rank(), dist.get_world_size())


def leave_processes() -> None:
    """Wait for the other processes, and part with them."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def own_device() -> torch.device:
    """Return the device of this process: the GPU that `join_processes` chose, or the CPU."""
    device = default_device()
    return torch.device("cuda", torch.cuda.current_device()) if device.type == "cuda" else device


class Distribute(Callback):
    """Averages the gradients of all processes for the time of a fit (torch's DistributedDataParallel).

    fastai's `distrib_ctx` cannot run on CPUs, since it sends the order of an epoch through a GPU, and gives every
    process consecutive batches; `JointDL` draws one order in all processes and shares out each batch instead.

    Statistics of batch normalisation are the first process's, which are what a checkpoint holds: before validation the
    others take them over, for the averaged weights too. Gradients that only accumulate are not sent.
    """

    order = 6  # after `WeightAverage` has put its weights in place for validation
    whole = wrapped = None

    def before_fit(self):
        if hasattr(self.learn, "gather_preds"):
            return
        device = next(self.learn.model.parameters()).device
        ids = [device.index] if device.type == "cuda" else None
        self.whole = self.learn.model
        self.learn.model = self.wrapped = DistributedDataParallel(self.whole, device_ids=ids)

    def before_batch(self):
        if self.training and self.wrapped is not None:
            parts = getattr(self.dls.train, "accumulate", 1)
            self.wrapped.require_backward_grad_sync = (self.iter + 1) % parts == 0  # what its `no_sync` sets

    def before_validate(self):
        if self.wrapped is None:
            return
        average = getattr(getattr(self.learn, "weight_average", None), "average", None)
        for network in (self.whole, average):
            for buffer in network.buffers() if network is not None else ():
                dist.broadcast(buffer, src=0)
        # the wrapper would send them before every batch, but not all processes have as many of these
        self.learn.model = self.whole

    def after_validate(self):
        if self.wrapped is not None:
            self.learn.model = self.wrapped

    def after_fit(self):
        if self.wrapped is not None:
            self.learn.model, self.whole, self.wrapped = self.whole, None, None
