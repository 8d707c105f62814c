"""RandAugment of one picture with PIL, for large pictures on CPU workers: the same table and draws as the batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from fastai.vision.core import PILImage
from fasttransform import DisplayedTransform
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from nsfast.errors import NsfastError
from nsfast.noise.operations import MOVES, matrices
from nsfast.noise.randaugment import Draw, RandAugmentSettings

_WITHOUT_ARGUMENT = {
    "Identity": lambda image: image,
    "AutoContrast": ImageOps.autocontrast,
    "Equalize": ImageOps.equalize,
    "Invert": ImageOps.invert,
}


def _solarize_add(image: Image.Image, argument: float) -> Image.Image:
    table = [min(level + int(argument), 255) if level < 128 else level for level in range(256)]
    return image.point(table * len(image.getbands()))


def _cutout(image: Image.Image, half: float, centre: Sequence[float], grey: int) -> Image.Image:
    row, column = (int(share * size) for share, size in zip(centre, (image.height, image.width), strict=True))
    box = (column - half, row - half, column + half - 1, row + half - 1)
    out = image.copy()
    if half:
        ImageDraw.Draw(out).rectangle(box, fill=(grey,) * len(image.getbands()))
    return out


def apply_to_item(image: Image.Image, draw: Draw, grey: int, index: int = 0) -> Image.Image:
    """Return what was drawn for picture `index`, done to a PIL image of mode "L" or "RGB".

    Args:
        grey: level 0..255 of pixels from outside.

    Raises:
        NsfastError: another mode.
    """
    if image.mode not in ("L", "RGB"):
        raise NsfastError(f"RandAugment got a PIL image of mode {image.mode!r}; convert it to 'L' or 'RGB'")
    for turn, which in enumerate(draw.which[:, index].tolist()):
        if which == len(draw.operations):
            continue
        name, argument = draw.operations[which].name, float(draw.argument[turn, index])
        if name in _WITHOUT_ARGUMENT:
            image = _WITHOUT_ARGUMENT[name](image)
        elif name in MOVES:
            data = matrices(name, np.array([argument]), image.height, image.width).ravel().tolist()
            colour = grey if image.mode == "L" else (grey,) * 3
            image = image.transform(image.size, Image.Transform.AFFINE, data, fillcolor=colour)
        elif name == "Cutout":
            image = _cutout(image, argument, draw.centre[turn, index].tolist(), grey)
        elif name == "SolarizeAdd":
            image = _solarize_add(image, argument)
        elif name == "Solarize":
            image = ImageOps.solarize(image, argument)
        elif name == "Posterize":
            # PIL takes 1 to 8 bits
            image = ImageOps.posterize(image, int(argument)) if argument else image.point(lambda level: 0)
        else:
            image = getattr(ImageEnhance, name)(image).enhance(argument)
    return image


class RandAugmentItem(DisplayedTransform):
    """RandAugment as an item transform of the training split, after resizing (1) and before ToTensor (5).

    It draws from torch's global generator, which fastai seeds in every worker.

    Args:
        n, m, options: see `RandAugmentSettings`.
    """

    order, split_idx = 2, 0

    def __init__(self, n: int = 2, m: float = 9, **options):
        super().__init__()
        self.settings = RandAugmentSettings(n, m, **options)

    def encodes(self, x: PILImage):
        return apply_to_item(x, self.settings.draw(1, x.height, x.width), self.settings.grey)
