"""Labeling's throughput over a forward pass alone, at least 0.90; its memory; the bytes of a label, at most 40.

    python benchmarks/labeling.py

nsfast: `label` with a ResNet-18 of 1000 classes (torchvision's, fresh weights) on uint8 pictures in memory, to the
finished table: ten classes of each distribution, content codes, names, histogram and manifest.

Alternative: the same network in eval mode on the same batches of 256, of which nothing is kept.

Memory: the peak of a process that labels a million generated pictures of 8 x 8, over one that labels ten thousand, with
a network of one layer and shards of 65,536. It counts what the two hold themselves (VmHWM), torch included.

Bytes: of the million labels' shards, ids included; beside them lie the content codes, which tell whether a picture is
tested on, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from table import show
from timing import Result, interleaved, ratios, timed
from torch import nn

from nsfast.images import Split
from nsfast.labels import Origin
from nsfast.labels.labeling.label import label
from nsfast.models import build_model

BATCH, CLASSES, TOP = 256, 1000, 10
ORIGIN = Origin(tuple(f"class {number}" for number in range(CLASSES)), "teacher", top=TOP)
FEW, MANY = 10_000, 1_000_000
SURE = 16  # with weights of this size confidences lie all over 0..1, which are the hardest to compress


def labeled(model: nn.Module, pictures: Split) -> Callable[[], None]:
    """Return what labels pictures into a new folder."""

    def work() -> None:
        with TemporaryDirectory() as folder, redirect_stdout(StringIO()):
            label(model, pictures, ORIGIN, folder, batch=BATCH)

    return work


def looked_at(model: nn.Module, pictures: Split) -> Callable[[], None]:
    """Return what shows a network in eval mode the same batches."""

    def work() -> None:
        with torch.inference_mode():
            for start in range(0, len(pictures), BATCH):
                pixels = torch.from_numpy(pictures.pixels[start : start + BATCH])
                model(pixels.permute(0, 3, 1, 2).float().div_(255))

    return work


def throughput(
    pixels: int, count: int, rounds: int = 5, architecture: str = "torchvision/resnet18"
) -> list[Result]:
    """Measure both sides on `count` pictures of pixels x pixels."""
    model, random = build_model(architecture, CLASSES).eval(), np.random.default_rng(0)
    pictures = Split(
        np.arange(count).astype(str), random.integers(0, 256, (count, pixels, pixels, 3), np.uint8)
    )
    ours, plain = interleaved(*(timed(side(model, pictures)) for side in (labeled, looked_at)), rounds=rounds)
    return [
        Result(f"labeling, {pixels} pixels, throughput / forward pass", ratios(plain, ours), at_least=0.90),
        Result("  forward pass itself, pictures", [count / each for each in plain], "/s"),
    ]


class Generated:
    """Pictures of 8 x 8 that are drawn when they are asked for: none is held.

    Args:
        numbers: of the pictures.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, numbers: range):
        self.numbers, self.shape = numbers, (len(numbers), 8, 8, 3)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: slice) -> np.ndarray | Generated:
        """Draw them; a shard's are drawn batch by batch."""
        numbers = self.numbers[rows]
        if len(numbers) > BATCH:
            return Generated(numbers)
        random = np.random.default_rng(numbers.start)
        return random.integers(0, 256, (len(numbers), *self.shape[1:]), np.uint8)


class Numbers:
    """Their names.

    Args:
        numbers: of the pictures.
    """

    def __init__(self, numbers: range):
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: slice) -> list[str]:
        return [str(number) for number in self.numbers[rows]]

    def __iter__(self):
        return map(str, self.numbers)


def label_generated(count: int) -> dict[str, float]:
    """Label so many pictures here; return the peak of memory in MB, and the bytes of a label and of its codes."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    network[1].weight.data *= SURE
    with TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        label(network, Split(Numbers(range(count)), Generated(range(count))), ORIGIN, folder, batch=BATCH)
        sizes = {
            kind: sum(path.stat().st_size for path in Path(folder).glob(f"{kind}-*.parquet")) / count
            for kind in ("part", "contents")
        }
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return {"peak": peak / 1024, **sizes}


def memory(few: int = FEW, many: int = MANY, rounds: int = 3) -> list[Result]:
    """Measure in processes of their own."""
    found: dict[int, list[dict]] = {few: [], many: []}
    for _ in range(rounds):
        for count, measured in found.items():
            command = [sys.executable, __file__, str(count)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            measured.append(json.loads(done.stdout))
    small, large = ([each["peak"] for each in measured] for measured in found.values())
    return [
        Result(f"labeling, memory, {many:,} / {few:,} pictures", ratios(large, small), at_most=1.1),
        Result(f"  peak, {many:,} pictures", large, "MB"),
        Result(
            f"a label, {CLASSES} classes, top {TOP}",
            [each["part"] for each in found[many]],
            "bytes",
            at_most=40,
        ),
        Result("  its content codes", [each["contents"] for each in found[many]], "bytes"),
    ]


def results() -> list[Result]:
    """Measure; return the lines of the table."""
    return [*throughput(64, 1024), *throughput(224, 192), *memory()]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(label_generated(int(sys.argv[1]))))
        sys.exit()
    sys.exit(show(results()))
