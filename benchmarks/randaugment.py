"""Throughput of RandAugment on batches, over that of torchvision's picture by picture; at least 6 and 4.

    python benchmarks/randaugment.py

nsfast: `rand_augment(x, 2, 9)`, the paper's 14 operations on the official scale, on uint8 batches of 3 x 32 x 32 in
memory; the gates are for batches of 256.

Alternative: torchvision's `v2.RandAugment(2, 9)`, also 14 operations (Identity where the paper has Invert), on PIL
images (at least 6 x) and on uint8 tensors (at least 4 x), one after the other as a dataset's transform gets them. It is
given images that are ready: neither decoding nor ToTensor is counted. A line has nsfast with torchvision's operations
and magnitudes, so that both draw from the same table.

The pictures are crops of scikit-learn's two photographs, 64 to 400 pixels wide, reduced to 32: on random pixels the
operations that look at the histogram would do other work.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from table import show
from timing import Result, interleaved, ratios, timed
from torchvision.transforms import v2

from nsfast.noise import rand_augment

COUNT, GATED, REPEAT = 2048, 256, 4


def photographs(count: int, pixels: int) -> list[Image.Image]:
    """Return crops of photographs, reduced or enlarged to one size."""
    random, sources = (
        np.random.default_rng(0),
        [Image.fromarray(image) for image in load_sample_images().images],
    )
    crops = []
    for number in range(count):
        source, side = sources[number % 2], int(random.integers(64, 401))
        left, top = random.integers(source.width - side + 1), random.integers(source.height - side + 1)
        box = (int(left), int(top), int(left) + side, int(top) + side)
        crops.append(source.resize((pixels, pixels), Image.Resampling.BILINEAR, box))
    return crops


def as_tensor(images: list[Image.Image]) -> torch.Tensor:
    """Stack images as uint8 (n, 3, height, width)."""
    return (
        torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2).contiguous()
    )


def results() -> list[Result]:
    """Measure; return the lines of the table."""
    images, per_item = photographs(COUNT, 32), v2.RandAugment(2, 9)
    pictures = as_tensor(images)
    tensors = list(pictures)

    def batched(size: int, **options):
        return timed(lambda: [rand_augment(x, 2, 9, **options) for x in pictures.split(size)], times=REPEAT)

    pil, tensor, *ours = interleaved(
        timed(lambda: [per_item(image) for image in images]),
        timed(lambda: [per_item(x) for x in tensors]),
        *(batched(size) for size in (GATED, 128, 512)),
        batched(GATED, scale="torchvision"),
    )
    gated, *others = f"batch {GATED}", "batch 128", "batch 512", f"batch {GATED}, same scale"
    names = (f"RandAugment, {gated}", *(f"  RandAugment, {other}" for other in others))
    lines = []
    for name, seconds in zip(names, ours, strict=True):
        for against, other, gate in (("PIL", pil, 6), ("tensors", tensor, 4)):
            words = f"{name} / torchvision, {against}"
            times = ratios(other, seconds, factor=REPEAT)
            lines.append(Result(words, times, at_least=None if name.startswith(" ") else gate))
    return lines


if __name__ == "__main__":
    sys.exit(show(results()))
