"""Tiny folders in the layouts in which the benchmarks were released."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

WNIDS = ("n01440764", "n02102040", "n03000684")
"""Of the thousand: numbers 0, 217 and 491; of Imagenette: tench, English springer and chain saw."""
NUMBERS = (0, 217, 491)


def write_picture(path: Path, shade: int, width: int = 40, height: int = 32) -> None:
    """Write a JPEG of one grey; its shade tells the pictures apart after decoding."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (shade, shade, shade)).save(path, "JPEG", quality=95)


def write_classes(folder: Path, names, each: int = 2, ending: str = "jpg", side: tuple[int, int] = (40, 32)):
    """Write `each` pictures of every class; the shade of the k-th class is 10 + 40 k, plus the picture's number."""
    for place, name in enumerate(names):
        for number in range(each):
            write_picture(folder / name / f"{number}.{ending}", 10 + 40 * place + number, *side)
    return folder


def write_c(folder: Path, corruptions, severities=(1, 2, 3, 4, 5), side: int = 16) -> Path:
    """Write ImageNet-C's layout; `corruptions` may name a family, as "noise/shot_noise"."""
    for corruption in corruptions:
        for severity in severities:
            for place, wnid in enumerate(WNIDS):
                for number in range(2):
                    path = (
                        folder
                        / corruption
                        / str(severity)
                        / wnid
                        / f"ILSVRC2012_val_{3 * number + place:08}.JPEG"
                    )
                    write_picture(path, 20 * severity + 40 * place + number, side, side)
    return folder


def write_cifar_c(folder: Path, corruptions, n: int = 20, classes: int = 10) -> tuple[np.ndarray, dict]:
    """Write CIFAR-C's layout; return the numbers of the first severity, and the pixels of each corruption."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    numbers = random.permutation(np.arange(n) % classes)
    np.save(folder / "labels.npy", np.tile(numbers, 5))
    pixels = {}
    for corruption in corruptions:
        pixels[corruption] = random.integers(0, 256, (5 * n, 32, 32, 3), dtype=np.uint8)
        np.save(folder / f"{corruption}.npy", pixels[corruption])
    return numbers, pixels
