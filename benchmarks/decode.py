"""Random crops decoded from JPEG files, pictures a second, over torchvision's on PIL; at least 1; 1.3 and 1.5 scaled.

    python benchmarks/decode.py

nsfast: `PictureFiles.crops`, batches of 64, one thread, mirrored half of the time. A JPEG is decoded at the smallest
scale (1/2, 1/4, 1/8) that still holds the crop at its size: never for 224 pixels out of 500 x 375, as no crop of that
is twice as large; often for 112 pixels, or for a photograph of 1500 x 1125.

Alternative: what torchvision's ImageFolder and training references do: PIL's `open` and `convert("RGB")`, then
`v2.RandomResizedCrop` (bicubic), `v2.RandomHorizontalFlip` and `v2.PILToTensor`. Both draw 8 to 100 % of the area and
give uint8; each draws its own crops, of the same distribution.

The pictures are cut from scikit-learn's two photographs, the large ones enlarged, at quality 95.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images
from table import show
from timing import Result, interleaved, ratios, timed
from torchvision.transforms import v2

from nsfast.images.files import PictureFiles

QUALITY, BATCH, SMALL, LARGE = 95, 64, (500, 375), (1500, 1125)


def write_photographs(folder: Path, count: int, size: tuple[int, int]) -> list[str]:
    """Write JPEGs cut from photographs; return their names.

    Args:
        size: width and height in pixels.
    """
    random, names = np.random.default_rng(0), []
    sources = [Image.fromarray(image) for image in load_sample_images().images]
    for number in range(count):
        source = sources[number % 2]
        left, top = (
            random.integers(source.width - SMALL[0] + 1),
            random.integers(source.height - SMALL[1] + 1),
        )
        image = source.crop((left, top, left + SMALL[0], top + SMALL[1]))
        names.append(f"{size[0]}-{number:04d}.jpg")
        image.resize(size, Image.Resampling.BICUBIC).save(folder / names[-1], quality=QUALITY)
    return names


def ours(folder: Path, names: list[str], pixels: int) -> Callable[[], None]:
    """Return what crops every picture once."""
    files, seeds = PictureFiles(folder, names, pixels, workers=1), iter(range(10**9))

    def crop() -> None:
        for rows in np.array_split(np.arange(len(names)), -(-len(names) // BATCH)):
            files.crops(rows, next(seeds))

    return crop


def theirs(folder: Path, names: list[str], pixels: int) -> Callable[[], None]:
    """Return what does the same with torchvision's transforms."""
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(pixels, interpolation=v2.InterpolationMode.BICUBIC),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
        ]
    )

    def crop() -> None:
        for name in names:
            with open(folder / name, "rb") as file:
                transform(Image.open(file).convert("RGB"))

    return crop


def results(small: int = 96, large: int = 16) -> list[Result]:
    """Measure; return the lines of the table.

    Args:
        small, large: how many pictures of each size.
    """
    lines = []
    with TemporaryDirectory() as place:
        folder = Path(place)
        cases = [(small, SMALL, 224, 1.0), (small, SMALL, 112, 1.3), (large, LARGE, 224, 1.5)]
        for count, size, pixels, gate in cases:
            names = write_photographs(folder, count, size)
            sides = [timed(side(folder, names, pixels)) for side in (ours, theirs)]
            seconds, other = interleaved(*sides)
            name = f"decoding {size[0]} x {size[1]} to {pixels}"
            lines.append(Result(f"{name}, throughput / torchvision", ratios(other, seconds), at_least=gate))
            lines.append(Result(f"  {name}", [count / each for each in seconds], "/s"))
    return lines


if __name__ == "__main__":
    sys.exit(show(results()))
