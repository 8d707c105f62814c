"""RandAugment and the whole noised step on a GPU: at least 20 x the processor's cores, and 0.85 x the bare step.

    python benchmarks/gpu.py

Run by hand where there is a GPU; not part of `make bench`. Wall time, the device synchronised before and after.

RandAugment: `rand_augment(x, 2, 9)` on uint8 batches on the device, against torchvision's `v2.RandAugment(2, 9)` on PIL
images in as many processes as there are cores. Those are given images that are ready and hand none back: decoding,
ToTensor and the copy to the device, which only they would need for RandAugment's sake, are not counted. The gates are
for the larger batches; the smaller ones are a training's.

Step: `student.student` with timm's ResNet-50 at 224 pixels, 32 labeled and 224 pseudo-labeled pictures, 1000 classes,
bfloat16 autocast, channels last, with RandAugment, stochastic depth (the subset form), dropout and the weight average;
against `bare.BareLoop` without any of the four, in the same precision and memory format.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from functools import cache
from time import perf_counter

import torch
from bare import BareLoop
from fastai.callback.channelslast import ChannelsLast
from fastai.callback.fp16 import AMPMode, MixedPrecision
from randaugment import as_tensor, photographs
from student import fit, student
from table import show, write
from timing import Result, interleaved, ratios, timed
from torchvision.transforms import v2

from nsfast.noise import rand_augment
from nsfast.training.average import WeightAverage

DEVICE, PIXELS, BATCH, CLASSES, STEPS, REPEAT = "cuda", 224, 256, 1000, 20, 5
NOISE = dict(randaugment_n=2, randaugment_m=9.0, stochastic_depth=0.2, dropout=0.5)
# pixels: pictures for the device and for each process, and batches
SIZES = {224: (1024, (256, 1024)), 32: (8192, (512, 8192))}


def clock() -> float:
    """Return the time in seconds when the device has done all that was asked of it."""
    torch.cuda.synchronize()
    return perf_counter()


prepared = cache(photographs)  # made once in each process


def ready(count: int, pixels: int, barrier) -> None:
    """Make a process's images, and wait until every process has its own."""
    prepared(count, pixels)
    barrier.wait()


def augment(count: int, pixels: int) -> None:
    """What one process does: RandAugment on every one of its images."""
    transform = v2.RandAugment(2, 9)
    for image in prepared(count, pixels):
        transform(image)


def randaugment(pixels: int, count: int, batches: tuple[int, ...]) -> list[Result]:
    """Measure RandAugment at one size; the last of the batches is gated."""
    cores, x = os.cpu_count(), as_tensor(photographs(count, pixels)).to(DEVICE)

    def batched(size: int) -> Callable[[], float]:
        return timed(lambda: [rand_augment(part, 2, 9) for part in x.split(size)], REPEAT, clock)

    context, tasks = multiprocessing.get_context("spawn"), cores * [(count, pixels)]  # CUDA forbids a fork
    with context.Pool(cores, ready, (count, pixels, context.Barrier(cores))) as pool:
        processes = timed(lambda: pool.starmap(augment, tasks, chunksize=1), clock=perf_counter)
        pil, *ours = interleaved(processes, *map(batched, batches))
    lines = []
    for size, seconds in zip(batches, ours, strict=True):
        name = f"RandAugment, {pixels} pixels, batch {size} / PIL on {cores} cores"
        gate = 20 if size == batches[-1] else None
        lines.append(Result(name, ratios(pil, seconds, REPEAT / cores), at_least=gate))
    return lines


def step() -> list[Result]:
    """Measure the noised step."""
    sizes = dict(architecture="resnet50", pixels=PIXELS, batch=BATCH, classes=CLASSES, device=DEVICE)
    noised, plain = student(STEPS, **sizes, **NOISE), student(STEPS, **sizes)
    bare = BareLoop(plain, bfloat16=True)
    bare.model.to(memory_format=torch.channels_last)
    average, precision = WeightAverage(), (MixedPrecision(amp_mode=AMPMode.BF16), ChannelsLast())
    whole, without, loop = interleaved(
        lambda: fit(noised, average, *precision, clock=clock),
        lambda: fit(plain, *precision, clock=clock),
        timed(bare.epoch, clock=clock),
    )
    return [
        Result(f"noised step, {PIXELS} pixels / plain PyTorch loop", ratios(loop, whole), at_least=0.85),
        Result("  step without noise / plain PyTorch loop", ratios(loop, without)),
        Result("  plain PyTorch loop itself, pictures", [STEPS * BATCH / seconds for seconds in loop], "/s"),
    ]


def main() -> int:
    """Measure, print and write the table; return the exit code."""
    if not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py measures a GPU, and torch finds none; the other ratios: make bench")
    found = [line for pixels, sizes in SIZES.items() for line in randaugment(pixels, *sizes)] + step()
    words = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}. Wall time, the device synchronised."
    write(found, "## GPU", "python benchmarks/gpu.py", words, last=True)
    return show(found)


if __name__ == "__main__":
    sys.exit(main())
