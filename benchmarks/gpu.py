"""Training, labeling, RandAugment and the whole noised step on a GPU, each against what else one would run there.

    python benchmarks/gpu.py [training labeling randaugment step]

Run by hand where there is a GPU; not part of `make bench`. Wall time, the device synchronised before and after. All
parts by default, which then go into RESULTS.md; parts that are named are only printed.

Training: ResNet-50 at 224 pixels, 256 labeled pictures in a batch, 1000 classes, SGD, the recipe's bfloat16 (autocast,
channels last), pictures on the device, no noise, through `build_learner`; at least 0.95 x a loop as timm's benchmark.py
has it, which trains timm's ResNet-50 on one batch of numbers again and again, with cudnn's own choice of algorithms
(`cudnn.benchmark`, which nsfast leaves off). On an H200 at least 4,500 pictures a second.

Labeling: `nsfast.labels.predict.predict` of such a network as a trained teacher is loaded, in bfloat16, on pictures in
main memory; compiled at least as fast as not. Compilation itself is in the round that warms up.

RandAugment: `rand_augment(x, 2, 9)` on uint8 batches on the device, against torchvision's `v2.RandAugment(2, 9)` on PIL
images in as many processes as there are cores; at least 20 x. Those are given images that are ready and hand none back:
decoding, ToTensor and the copy to the device, which only they would need for RandAugment's sake, are not counted. The
gates are for the larger batches; the smaller ones are a training's.

Step: `student.student` with timm's ResNet-50 at 224 pixels, 32 labeled and 224 pseudo-labeled pictures, 1000 classes,
the recipe's bfloat16, with RandAugment, stochastic depth (the subset form), dropout and the weight average; at least
0.85 x `bare.BareLoop` without any of the four, on the same network in the same precision and memory format.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F
from bare import BareLoop
from randaugment import as_tensor, photographs
from student import fit, student
from table import show, write
from timing import Result, interleaved, ratios, timed
from timm import create_model
from timm.optim import create_optimizer_v2
from timm_loop import NO_NOISE, Clocked, fit_labeled, labeled_learner
from torchvision.transforms import v2

from nsfast.labels.predict import predict
from nsfast.models import build_model
from nsfast.noise import rand_augment
from nsfast.training import Recipe
from nsfast.training.average import WeightAverage

DEVICE, PIXELS, BATCH, CLASSES, STEPS, REPEAT = "cuda", 224, 256, 1000, 20, 5
NETWORK, FAST, AT_LEAST = "resnet50", "H200", 4500
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


def bare_steps(network: str) -> Callable[[], None]:
    """Return what trains a network of timm for some steps, as timm's benchmark.py does."""
    model = create_model(network, num_classes=CLASSES).to(DEVICE, memory_format=torch.channels_last).train()
    x = torch.randn(BATCH, 3, PIXELS, PIXELS, device=DEVICE).contiguous(memory_format=torch.channels_last)
    y = torch.randint(CLASSES, (BATCH,), device=DEVICE)
    optimizer = create_optimizer_v2(model, opt="sgd", lr=1e-4)

    def steps() -> None:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True):
            for _ in range(STEPS):
                optimizer.zero_grad()
                with torch.autocast(DEVICE, torch.bfloat16):
                    loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()

    return steps


def training() -> list[Result]:
    """Measure the training on labels."""
    recipe = Recipe(
        architecture=NETWORK,
        steps_per_epoch=STEPS,
        batch=BATCH,
        optimizer="sgd",
        learning_rate=1e-4,
        precision="bfloat16",
        **NO_NOISE,
    )
    learner = labeled_learner(recipe, PIXELS, classes=CLASSES, count=4 * BATCH, device=DEVICE)
    clocked = Clocked(recipe, learner, clock)
    ours, bare = interleaved(
        lambda: fit_labeled(learner, recipe, clocked), timed(bare_steps(NETWORK), clock=clock)
    )
    gate = AT_LEAST if DEVICE == "cuda" and FAST in torch.cuda.get_device_name() else None
    speeds = [[STEPS * BATCH / seconds for seconds in side] for side in (ours, bare)]
    return [
        Result(f"training, {NETWORK}, {PIXELS} pixels / timm's benchmark", ratios(bare, ours), at_least=0.95),
        Result("  training, pictures", speeds[0], "/s", at_least=gate),
        Result("  timm's benchmark itself, pictures", speeds[1], "/s"),
    ]


def labeling() -> list[Result]:
    """Measure the teacher's forward pass over pictures."""
    teacher = build_model(NETWORK, CLASSES, pixels=PIXELS).to(DEVICE)
    teacher.autocast = torch.bfloat16
    pictures = np.random.default_rng(0).integers(0, 256, (8 * BATCH, PIXELS, PIXELS, 3), np.uint8)
    eager, compiled = interleaved(
        *(
            timed(lambda compile=compile: predict(teacher, pictures, BATCH, compile), clock=clock)
            for compile in (False, True)
        )
    )
    speeds = [[len(pictures) / seconds for seconds in side] for side in (eager, compiled)]
    return [
        Result(
            f"labeling, {NETWORK}, {PIXELS} pixels, compiled / eager", ratios(eager, compiled), at_least=1
        ),
        Result("  eager, pictures", speeds[0], "/s"),
        Result("  compiled, pictures", speeds[1], "/s"),
    ]


def step() -> list[Result]:
    """Measure the noised step."""
    sizes = dict(architecture=NETWORK, pixels=PIXELS, batch=BATCH, classes=CLASSES, device=DEVICE)
    sizes["precision"] = "bfloat16"
    noised, plain = student(STEPS, **sizes, **NOISE), student(STEPS, **sizes)
    bare, average = BareLoop(plain, bfloat16=True), WeightAverage()
    whole, without, loop = interleaved(
        lambda: fit(noised, average, clock=clock),
        lambda: fit(plain, clock=clock),
        timed(bare.epoch, clock=clock),
    )
    return [
        Result(f"noised step, {PIXELS} pixels / plain PyTorch loop", ratios(loop, whole), at_least=0.85),
        Result("  step without noise / plain PyTorch loop", ratios(loop, without)),
        Result("  plain PyTorch loop itself, pictures", [STEPS * BATCH / seconds for seconds in loop], "/s"),
    ]


PARTS = {
    "training": training,
    "labeling": labeling,
    "randaugment": lambda: [line for pixels, sizes in SIZES.items() for line in randaugment(pixels, *sizes)],
    "step": step,
}


def parts(arguments: Sequence[str] | None = None) -> list[str]:
    """Return the parts that the command line names, all of them by default."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    named = parser.parse_args(arguments).parts
    for name in named:
        if name not in PARTS:
            parser.error(f"no part {name!r}; there are {', '.join(PARTS)}")
    return named or list(PARTS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; write the table if it is whole; return the exit code."""
    names = parts(arguments)
    if not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py measures a GPU, and torch finds none; the other ratios: make bench")
    found = [line for name in names for line in PARTS[name]()]
    if set(names) == set(PARTS):
        words = (
            f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}. Wall time, the device synchronised."
        )
        write(found, "## GPU", "python benchmarks/gpu.py", words, last=True)
    return show(found)


if __name__ == "__main__":
    sys.exit(main())
