"""The table of RandAugment's operations (Cubuk et al., arXiv 1909.13719): which there are, and what a magnitude means.

Two scales, by name:

"official", of the released Noisy Student code (randaugment.py). Magnitudes are levels of 10 and may go beyond (the
    paper uses 27); enhancement factors are one-sided (1.8 * m / 10 + 0.1, the identity at m = 5); translation, cutout
    have a constant, 100 and 40 pixels at ImageNet's sizes and an eighth of the picture below 64 pixels; pixels from
    outside are grey (128). What leaves its valid range there is undefined (posterize with more than 8 bits, solarize
    with a threshold above 256, an addition above 128); here it is clamped. Posterize and solarize get weaker as m
    grows. The original's contrast blends with pixels / 256 where the mean is meant; here it is the mean, as in PIL.
"torchvision", of `torchvision.transforms.v2.RandAugment`. Magnitudes are 31 bins, 0..30; factors are 1 +- 0.9 * m / 30;
    translation is relative to the size; pixels from outside are black. Much milder: m = 27 turns by 27 degrees, not 81.

With `increasing`, the operations of "official" that are not monotone become so, as timm's "inc" variants do it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from nsfast.errors import NsfastError, choice, nearest, within


@dataclass(frozen=True)
class Operation:
    """One row of the table.

    Args:
        name: of the operation, one of `nsfast.noise.operations.POINT` or `MOVES`, or "Identity".
        value: (m, height, width) -> the argument before its sign; m is a float64 tensor of any shape, sizes in pixels.
        signed: whether half of the pictures get the negative argument.
        middle: what the signed value is added to; 1 for the factors of enhancements, which stay at 0.1 or above.
    """

    name: str
    value: Callable[[torch.Tensor, int, int], torch.Tensor] = lambda m, height, width: torch.zeros_like(m)
    signed: bool = False
    middle: float = 0.0

    def argument(self, m: torch.Tensor, sign: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Return the arguments for magnitudes `m` (float64) and signs -1 or 1, of one shape."""
        value = self.value(m, height, width)
        if not self.signed:
            return value
        value = self.middle + sign * value
        return value.clamp(min=0.1) if self.middle else value


def _constant(large: int, size: int) -> int:
    return large if size >= 64 else size // 8


def _whole(most: int, at_ten: int) -> Callable[[torch.Tensor, int, int], torch.Tensor]:
    return lambda m, height, width: (m * at_ten / 10).floor().clamp(max=most)


def _per_level(at_ten: float) -> Callable[[torch.Tensor, int, int], torch.Tensor]:
    return lambda m, height, width: m * at_ten / 10


LARGEST = 30  # magnitude
ENHANCEMENTS = ("Color", "Contrast", "Brightness", "Sharpness")

_OFFICIAL = (
    *(Operation(name) for name in ("AutoContrast", "Equalize", "Invert")),
    Operation("Rotate", _per_level(30), signed=True),
    Operation("Posterize", _whole(8, 4)),
    Operation("Solarize", _whole(256, 256)),
    *(Operation(name, lambda m, height, width: m * 1.8 / 10 + 0.1) for name in ENHANCEMENTS),
    Operation("ShearX", _per_level(0.3), signed=True),
    Operation("ShearY", _per_level(0.3), signed=True),
    Operation("TranslateX", lambda m, height, width: m * _constant(100, width) / 10, signed=True),
    Operation("TranslateY", lambda m, height, width: m * _constant(100, height) / 10, signed=True),
    Operation("Cutout", lambda m, height, width: (m * _constant(40, width) / 10).floor()),
    Operation("SolarizeAdd", _whole(128, 110)),
)
_INCREASING = (
    Operation("Posterize", lambda m, height, width: 4 - (m * 4 / 10).floor().clamp(max=4)),
    Operation("Solarize", lambda m, height, width: 256 - (m * 256 / 10).floor().clamp(max=256)),
    *(Operation(name, _per_level(0.9), signed=True, middle=1) for name in ENHANCEMENTS),
)


def _bins(first: float, last: float, size: str = "") -> Callable[[torch.Tensor, int, int], torch.Tensor]:
    """The 31 bins in single precision as torchvision has them, between which broken magnitudes lie."""

    def value(m, height, width):
        whole = {"width": width, "height": height}.get(size, 1)
        bins = torch.linspace(first * whole, last * whole, LARGEST + 1).double()
        below = m.floor().long()
        return bins[below].lerp(bins[(below + 1).clamp(max=LARGEST)], m - below)

    return value


def _rounded(value, rounding):
    return lambda m, height, width: rounding(value(m, height, width))


_TORCHVISION = (
    Operation("Identity"),
    Operation("ShearX", _bins(0, 0.3), signed=True),
    Operation("ShearY", _bins(0, 0.3), signed=True),
    Operation("TranslateX", _rounded(_bins(0, 150 / 331, "width"), torch.floor), signed=True),
    Operation("TranslateY", _rounded(_bins(0, 150 / 331, "height"), torch.floor), signed=True),
    Operation("Rotate", _bins(0, 30), signed=True),
    *(Operation(name, _bins(0, 0.9), signed=True, middle=1) for name in ENHANCEMENTS),
    Operation("Posterize", lambda m, height, width: (8 - m * 4 / 30).round()),
    Operation("Solarize", _rounded(_bins(1, 0), lambda share: (255 * share).ceil())),
    Operation("AutoContrast"),
    Operation("Equalize"),
)

SCALES: dict[str, dict[str, Operation]] = {
    "official": {operation.name: operation for operation in _OFFICIAL},
    "torchvision": {operation.name: operation for operation in _TORCHVISION},
}
FILL = {"official": 128 / 255, "torchvision": 0.0}
EXTRA = ("Cutout", "SolarizeAdd")  # in the released code, not in the paper's list of 14


def choose(
    operations: str | Sequence[str] = "paper", scale: str = "official", increasing: bool = False
) -> tuple[Operation, ...]:
    """Return the rows of the table that RandAugment draws from.

    Args:
        operations: "paper", the 14 of the paper's list (of torchvision's for that scale); "all", those and "Cutout"
            and "SolarizeAdd" of the released code; or names, as a sequence or in one string between commas. A name
            with a minus before it is left out: "paper, -Invert".
        scale: "official" or "torchvision".
        increasing: make every operation of "official" more severe as the magnitude grows; "torchvision" is so already.

    Raises:
        NsfastError: a name that this scale does not have, or none is left.
    """
    table = dict(SCALES[choice("RandAugment scale", scale, SCALES)])
    if increasing and scale == "official":
        table |= {operation.name: operation for operation in _INCREASING}
    sets = {"all": tuple(table), "paper": tuple(name for name in table if name not in EXTRA)}
    words = operations.split(",") if isinstance(operations, str) else operations
    words = [word.strip() for word in words if word.strip()]
    chosen: list[str] = []
    if words and all(word.startswith("-") for word in words):
        words = ["paper", *words]
    for word in words:
        name = word.removeprefix("-").strip()
        if name not in sets and name not in table:
            raise NsfastError(
                f"unknown operation {name!r} of scale {scale!r}{nearest(name, [*sets, *table])}"
            )
        names = sets.get(name, (name,))
        chosen = [c for c in chosen if c not in names] + ([] if word.startswith("-") else list(names))
    if not chosen:
        raise NsfastError(
            f"operations are {operations!r}, which leaves none; give 'paper', or set n to 0 for no RandAugment"
        )
    return tuple(table[name] for name in chosen)


def check(n: int, m: float, fill: float, probability: float, magnitude_std: float) -> None:
    """Raise `NsfastError` for a setting of RandAugment outside its range."""
    within("randaugment_n", n, 0, 16)
    within("randaugment_m", m, 0, LARGEST)
    within("randaugment_fill", fill, 0, 1)
    within("randaugment_probability", probability, 0, 1)
    within("randaugment_magnitude_std", magnitude_std, 0)
