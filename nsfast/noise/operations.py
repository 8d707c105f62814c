"""The 14 operations of RandAugment on batches, every picture with its own argument (Cubuk et al., arXiv 1909.13719).

Pictures are float tensors (n, channels, height, width) on 0..1 that stand for 8-bit pixels; `argument` is (n,).
Arguments follow the released Noisy Student code (randaugment.py): levels of 10, one-sided enhancement factors, a
constant translation, one fill value. Arguments that leave their valid range there (posterize above 8 bits, solarize
above 256) are clamped here, where the original is undefined.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def _levels(x: torch.Tensor) -> torch.Tensor:
    """0..1 floats as 8-bit levels 0..255."""
    return (x * 255).round().long()


def _blend(other: torch.Tensor, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """other + factor * (x - other), clamped: 0 gives `other`, 1 gives `x`, above 1 goes beyond."""
    return torch.lerp(other, x, factor.view(-1, 1, 1, 1)).clamp_(0, 1)


def _grey(x: torch.Tensor) -> torch.Tensor:
    """ITU-R 601 luma (n, 1, height, width), as PIL converts to "L"."""
    if x.shape[1] == 1:
        return x
    return (x * x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def auto_contrast(x, argument):
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    flat = high - low < 0.5 / 255
    return torch.where(flat, x, (x - low) / (high - low).clamp(min=1 / 255)).clamp_(0, 1)


def equalize(x, argument):
    """PIL's histogram equalisation: the cumulated histogram becomes the lookup table, per channel."""
    n, channels, height, width = x.shape
    levels = _levels(x).reshape(n * channels, -1)
    histogram = levels.new_zeros(n * channels, 256).scatter_add_(1, levels, torch.ones_like(levels))
    last = histogram.gather(1, levels.amax(1, keepdim=True))
    step = (height * width - last) // 255
    table = ((histogram.cumsum(1) - histogram + step // 2) // step.clamp(min=1)).clamp_(0, 255)
    table = torch.where(step == 0, torch.arange(256, device=x.device), table)
    return (table.gather(1, levels).view_as(x) / 255).to(x.dtype)


def invert(x, argument):
    return 1 - x


def posterize(x, argument):
    """Keep `argument` bits, 0..8."""
    shift = (8 - argument.long().clamp(0, 8)).view(-1, 1, 1, 1)
    return (((_levels(x) >> shift) << shift) / 255).to(x.dtype)


def solarize(x, argument):
    """Invert pixels at or above the threshold `argument`, 0..256."""
    return torch.where(_levels(x) < argument.view(-1, 1, 1, 1), x, 1 - x)


def color(x, argument):
    return _blend(_grey(x).expand_as(x), x, argument)


def contrast(x, argument):
    mean = ((_grey(x) * 255).mean((1, 2, 3), keepdim=True) + 0.5).floor() / 255
    return _blend(mean.expand_as(x), x, argument)


def brightness(x, argument):
    return _blend(torch.zeros_like(x), x, argument)


def sharpness(x, argument):
    """Blend with PIL's SMOOTH filter; the outermost pixels stay as they are."""
    kernel = x.new_tensor([[1, 1, 1], [1, 5, 1], [1, 1, 1]]).div_(13).expand(x.shape[1], 1, 3, 3)
    smooth = x.clone()
    smooth[:, :, 1:-1, 1:-1] = (F.conv2d(x, kernel, groups=x.shape[1]) * 255).round() / 255
    return _blend(smooth, x, argument)


def affine(x: torch.Tensor, matrix: torch.Tensor, fill: float) -> torch.Tensor:
    """Sample each picture at `matrix` (n, 2, 3), which maps output to input pixels about the centre; nearest pixel.

    Pixels from outside the picture are `fill`, 0..1.
    """
    n, _, height, width = x.shape
    scale = x.new_tensor([[1, height / width, 2 / width], [width / height, 1, 2 / height]])
    # grid_sample rounds halves to even, which repeats every other pixel; PIL rounds them up
    to_one_side = matrix.new_tensor([0, 0, 1e-3])
    grid = F.affine_grid((matrix + to_one_side) * scale, list(x.shape), align_corners=False)
    return F.grid_sample(x - fill, grid, mode="nearest", align_corners=False) + fill


def _matrix(a, b, c, d, e, f) -> torch.Tensor:
    return torch.stack([torch.stack([a, b, c], -1), torch.stack([d, e, f], -1)], 1)


def rotate(argument):
    """Degrees, counter-clockwise."""
    radians, zero = torch.deg2rad(argument), torch.zeros_like(argument)
    cos, sin = radians.cos(), radians.sin()
    return _matrix(cos, -sin, zero, sin, cos, zero)


def shear_x(argument):
    one, zero = torch.ones_like(argument), torch.zeros_like(argument)
    return _matrix(one, argument, zero, zero, one, zero)


def shear_y(argument):
    one, zero = torch.ones_like(argument), torch.zeros_like(argument)
    return _matrix(one, zero, zero, argument, one, zero)


def translate_x(argument):
    """Pixels."""
    one, zero = torch.ones_like(argument), torch.zeros_like(argument)
    return _matrix(one, zero, argument, zero, one, zero)


def translate_y(argument):
    """Pixels."""
    one, zero = torch.ones_like(argument), torch.zeros_like(argument)
    return _matrix(one, zero, zero, zero, one, argument)


POINT = {
    "AutoContrast": auto_contrast,
    "Equalize": equalize,
    "Invert": invert,
    "Posterize": posterize,
    "Solarize": solarize,
    "Color": color,
    "Contrast": contrast,
    "Brightness": brightness,
    "Sharpness": sharpness,
}
GEOMETRIC = {
    "Rotate": rotate,
    "ShearX": shear_x,
    "ShearY": shear_y,
    "TranslateX": translate_x,
    "TranslateY": translate_y,
}


def argument_at(name: str, magnitude: float, size: int) -> float:
    """Return the argument of an operation at `magnitude` (levels of 10) for pictures `size` pixels wide.

    At 10 levels, translation is 100 pixels at ImageNet's sizes and size // 8 pixels below 64 pixels, as released.
    """
    level = magnitude / 10
    if name in ("Color", "Contrast", "Brightness", "Sharpness"):
        return 1.8 * level + 0.1
    return {
        "Rotate": 30 * level,
        "ShearX": 0.3 * level,
        "ShearY": 0.3 * level,
        "TranslateX": level * (100 if size >= 64 else size // 8),
        "TranslateY": level * (100 if size >= 64 else size // 8),
        "Posterize": min(int(4 * level), 8),
        "Solarize": min(int(256 * level), 256),
    }.get(name, 0.0)
