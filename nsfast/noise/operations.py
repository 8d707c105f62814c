"""RandAugment's operations on batches of 8-bit pictures, every picture with its own argument.

Pictures are uint8 tensors (n, 1 or 3 channels, height, width) on any device; `argument` is (n,) float64. The results
are PIL's, as `nsfast.noise.items` computes them: point operations to the grey level but for PIL's single-precision
rounding, moves exactly.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch


def _column(argument: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return argument.to(dtype).view(-1, 1, 1, 1)


def _cut(x: torch.Tensor) -> torch.Tensor:
    """Numbers as levels 0..255, cut off and truncated as PIL does; by way of int16, much faster on a CPU."""
    return x.clamp_(0, 255).to(torch.int16).to(torch.uint8)


def _blend(other: torch.Tensor, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """other + factor * (x - other) as levels: 0 gives `other`, 1 gives `x`, above 1 goes beyond."""
    return _cut(x.float().sub_(other).mul_(_column(factor, torch.float32)).add_(other))


def _grey(x: torch.Tensor) -> torch.Tensor:
    """ITU-R 601 luma (n, 1, height, width) int32, to the level as PIL converts to "L"."""
    if x.shape[1] == 1:
        return x.int()
    red, green, blue = x.int().split(1, 1)
    return (red * 19595).add_(green * 38470).add_(blue * 7471).add_(0x8000) >> 16


def _below(x: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    """255 where a level is below the threshold (n,), else 0; on a CPU much faster than a comparison and `where`."""
    return ((x.to(torch.int16) - _column(threshold, torch.int16)) >> 15).to(torch.uint8)


def auto_contrast(x, argument):
    low, high = (value.double() for value in (x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)))
    spread = high - low
    # `255 / spread` would be 255 * (1 / spread), a level off at times
    scale = torch.full_like(spread, 255).div_(spread)
    flat = scale.isinf()
    scale = scale.masked_fill(flat, 1)
    return _cut((x * scale).sub_((low * scale).masked_fill(flat, 0)))


def equalize(x, argument):
    """PIL's histogram equalisation: the cumulated histogram becomes the lookup table, per channel."""
    pixels = x.shape[2] * x.shape[3]
    levels = x.reshape(-1, pixels).long()
    one = torch.ones((), dtype=torch.int32, device=x.device).expand_as(levels)
    histogram = one.new_zeros(len(levels), 256).scatter_add_(1, levels, one)
    last = histogram.gather(1, x.flatten(2).flatten(0, 1).amax(1, keepdim=True).long())
    step = (pixels - last) // 255
    flat = step == 0
    before = histogram.cumsum(1, dtype=torch.int32).sub_(histogram).double()
    table = before.add_(step // 2).div_(step.clamp(min=1)).floor_().mul_(~flat)
    table = _cut(table.add_(torch.arange(256, device=x.device) * flat))
    return table.gather(1, levels).view_as(x)


def invert(x, argument):
    return ~x


def posterize(x, argument):
    """Keep `argument` bits, 0..8."""
    return x & _column(256 - 2 ** (8 - argument), torch.uint8)


def solarize(x, argument):
    """Invert pixels at or above the threshold `argument`, 0..256."""
    return ~x ^ _below(x, argument)


def solarize_add(x, argument):
    """Add `argument`, 0..128, to pixels below 128."""
    return x + (_below(x, torch.full_like(argument, 128)) & _column(argument, torch.uint8))


def color(x, argument):
    return x if x.shape[1] == 1 else _blend(_grey(x).float(), x, argument)


def contrast(x, argument):
    mean = (_grey(x).sum((1, 2, 3), keepdim=True).double() / (x.shape[2] * x.shape[3]) + 0.5).floor()
    return _blend(mean.float(), x, argument)


def brightness(x, argument):
    return _cut(x.float().mul_(_column(argument, torch.float32)))


def sharpness(x, argument):
    """Blend with PIL's SMOOTH filter; the outermost pixels stay as they are."""
    width = x.shape[3]
    # rows one behind the other, so that every sum runs over contiguous memory; what crosses an edge is put back
    wide = x.flatten(2).to(torch.int16)
    inside = slice(width + 1, -width - 1)
    total = (wide[..., :-2] + wide[..., 1:-1]).add_(wide[..., 2:])
    total = (total[..., : -2 * width] + total[..., width:-width]).add_(total[..., 2 * width :])
    smooth = total.add_(wide[..., inside], alpha=4).float().div_(13).add_(0.5).floor_()
    factor = argument.float().view(-1, 1, 1)
    out = x.clone(memory_format=torch.contiguous_format)  # `flatten` has to be a view of it
    out.flatten(2)[..., inside] = _cut(wide[..., inside].float().sub_(smooth).mul_(factor).add_(smooth))
    out[..., 0], out[..., -1] = x[..., 0], x[..., -1]
    return out


def cutout(x: torch.Tensor, half: torch.Tensor, centre: torch.Tensor, fill: int) -> torch.Tensor:
    """Fill a square of `half` pixels (n,) to each side of `centre`, (n, 2) row and column on 0..1."""
    inside = []
    for axis, size in enumerate(x.shape[2:]):
        at = torch.arange(size, device=x.device)
        middle = (centre[:, axis] * size).floor()
        inside.append((at >= (middle - half)[:, None]) & (at < (middle + half)[:, None]))
    box = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return x.masked_fill(box, fill)


def move(x: torch.Tensor, matrix: torch.Tensor, fill: int) -> torch.Tensor:
    """Sample each picture at `matrix` (n, 2, 3) float64, nearest pixel; pixels from outside are `fill`, 0..255.

    A matrix maps an output point to an input point, (column, row) in pixels from the upper left corner, as PIL's
    `Image.transform` with AFFINE; no point may come from farther away than 32767 pixels.
    """
    n, channels, height, width = x.shape
    pixel = x[:, 0].int()
    for channel in range(1, channels):  # one gather for all channels
        pixel.add_(x[:, channel].int() << 8 * channel)
    # a frame of `fill` around the picture, to which all that lies outside is clamped
    framed = pixel.new_full((n, height + 2, width + 2), fill * sum(256**c for c in range(channels)))
    framed[:, 1:-1, 1:-1] = pixel
    # in 65536ths of a pixel, as in PIL: whole numbers, which round alike on every device
    start = matrix[:, :, 2] + matrix[:, :, 0] * 0.5 + matrix[:, :, 1] * 0.5 + 1
    fixed = torch.stack([matrix[:, :, 0], matrix[:, :, 1], start]).mul_(65536).add_(0.5).floor_().int()
    axes = []
    for axis, size in enumerate((width, height)):
        along, down, start = fixed[:, :, axis, None]
        # every coordinate is the sum of a part of its column and one of its row
        column = along * torch.arange(width, dtype=torch.int32, device=x.device)
        row = down * torch.arange(height, dtype=torch.int32, device=x.device) + start
        axes.append((row[:, :, None] + column[:, None, :]).bitwise_right_shift_(16).clamp_(0, size + 1))
    source = axes[1].mul_(width + 2).add_(axes[0]).view(n, -1).long()
    pixel = framed.view(n, -1).gather(1, source)
    planes = [pixel if channel == 0 else pixel >> 8 * channel for channel in range(channels)]
    return torch.stack([plane.to(torch.uint8) for plane in planes], 1).view_as(x)


def rotate(degrees, height, width):
    """Counter-clockwise about the centre."""
    radians, x, y = np.deg2rad(degrees), width / 2, height / 2
    cos, sin = np.cos(radians), np.sin(radians)
    return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y


POINT: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "AutoContrast": auto_contrast,
    "Equalize": equalize,
    "Invert": invert,
    "Posterize": posterize,
    "Solarize": solarize,
    "SolarizeAdd": solarize_add,
    "Color": color,
    "Contrast": contrast,
    "Brightness": brightness,
    "Sharpness": sharpness,
}
# argument (n,), height, width -> the six coefficients; shears are about the upper left corner, as in TensorFlow and PIL
MOVES: dict[str, Callable[[np.ndarray, int, int], tuple]] = {
    "Rotate": rotate,
    "ShearX": lambda v, height, width: (1, v, 0, 0, 1, 0),
    "ShearY": lambda v, height, width: (1, 0, 0, v, 1, 0),
    "TranslateX": lambda v, height, width: (1, 0, v, 0, 1, 0),
    "TranslateY": lambda v, height, width: (1, 0, 0, 0, 1, v),
}


def matrices(name: str, argument: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the matrices (n, 2, 3) float64 of a move with arguments (n,)."""
    out = np.empty((len(argument), 6))
    for column, value in enumerate(MOVES[name](argument, height, width)):
        out[:, column] = value
    return out.reshape(-1, 2, 3)
