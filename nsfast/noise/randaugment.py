"""RandAugment (arXiv 1909.13719): what is drawn for each picture, and how it happens to a whole batch on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import torch

from nsfast.errors import NsfastError
from nsfast.noise.operations import MOVES, POINT, cutout, matrices, move
from nsfast.noise.table import FILL, LARGEST, Operation, check, choose


@dataclass(frozen=True)
class Draw:
    """What happens to each of `count` pictures, in `n` turns.

    Args:
        operations: rows of the table.
        which: (n, count) int64 on the CPU, index into `operations`; their number itself for "nothing".
        argument: (n, count) float64 on the CPU.
        centre: (n, count, 2) float64 on 0..1, of cutouts.
    """

    operations: tuple[Operation, ...]
    which: torch.Tensor
    argument: torch.Tensor
    centre: torch.Tensor


@dataclass(frozen=True)
class RandAugmentSettings:
    """How RandAugment draws; `rows` of the table and the `grey` level 0..255 of what comes from outside follow from it.

    Args:
        n: operations per picture, 0..16.
        m: magnitude, 0..30, on the scale.
        operations: "paper", "all" or names (see `nsfast.noise.table.choose`).
        scale: "official" (levels of 10, released Noisy Student code) or "torchvision" (31 bins).
        fill: grey value 0..1 of pixels from outside the picture; None for the scale's own.
        increasing: make every operation more severe as the magnitude grows.
        probability: with which an operation that was drawn is applied, 0..1; the released code always does.
        magnitude_std: standard deviation of the magnitude from picture to picture; the released code has none.

    Raises:
        NsfastError: a value outside its range, an unknown scale or operation.
    """

    n: int = 2
    m: float = 9
    operations: str | Sequence[str] = "paper"
    scale: str = "official"
    fill: float | None = None
    increasing: bool = False
    probability: float = 1.0
    magnitude_std: float = 0.0
    rows: tuple[Operation, ...] = field(init=False, repr=False, compare=False)
    grey: int = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        if not isinstance(self.n, int):
            raise NsfastError(f"n of RandAugment is {self.n!r}; it must be a whole number")
        object.__setattr__(self, "rows", choose(self.operations, self.scale, self.increasing))
        fill = FILL[self.scale] if self.fill is None else self.fill
        check(self.n, self.m, fill, self.probability, self.magnitude_std)
        object.__setattr__(self, "grey", round(fill * 255))

    def __reduce__(self):  # the rows hold functions, which workers that are spawned cannot be sent
        return type(self), tuple(getattr(self, f.name) for f in fields(self) if f.init)

    def draw(self, count: int, height: int, width: int, generator: torch.Generator | None = None) -> Draw:
        """Draw for `count` pictures of a size in pixels, each by itself, from a generator on the CPU."""
        if generator is not None and generator.device.type != "cpu":
            raise NsfastError(f"the generator is on {generator.device}; give a torch.Generator of the CPU")
        shape = (self.n, count)
        which = torch.randint(len(self.rows), shape, generator=generator)
        sign = torch.randint(2, shape, generator=generator).double() * 2 - 1
        m = torch.full(shape, float(self.m), dtype=torch.float64)
        if self.magnitude_std:
            m = (m + self.magnitude_std * torch.randn(shape, generator=generator)).clamp_(0, LARGEST)
        centre = torch.zeros(*shape, 2, dtype=torch.float64)
        if any(row.name == "Cutout" for row in self.rows):
            centre = torch.rand(*shape, 2, generator=generator, dtype=torch.float64)
        argument = torch.stack([row.argument(m, sign, height, width) for row in self.rows])
        argument = argument.gather(0, which[None])[0]
        if self.probability < 1:
            left_out = torch.rand(shape, generator=generator) >= self.probability
            which = which.masked_fill(left_out, len(self.rows))
        return Draw(self.rows, which, argument, centre)


def apply(x: torch.Tensor, draw: Draw, fill: int) -> torch.Tensor:
    """Return a new batch in which what was drawn has happened.

    Each turn, the batch is sorted by operation, so that every operation works on a slice of it and the host never has
    to wait for the device; all moves of a turn are one gather.

    Args:
        x: uint8 (count, 1 or 3, height, width).
        fill: level 0..255 of pixels from outside.
    """
    height, width = x.shape[2:]
    names = [operation.name for operation in draw.operations]
    # the order in a batch: nothing, point operations, moves; so all moves are one slice
    sorted_names = sorted(set(names) - {"Identity"}, key=lambda name: name in MOVES)
    place = {name: number for number, name in enumerate(sorted_names)}
    key = np.array([place.get(name, -1) for name in names] + [-1])
    now = np.arange(len(x))  # which picture stands where
    turns = zip(draw.which.numpy(), draw.argument.numpy(), draw.centre.numpy(), strict=True)
    for which, argument, centre in turns:
        keys = key[which[now]]
        order = np.argsort(keys, kind="stable")
        keys, now = keys[order], now[order]
        x = x.index_select(0, _to(order, x.device))
        argument, on_device = argument[now], _to(argument[now], x.device)
        ends = np.searchsorted(keys, np.arange(len(place)), side="right").tolist()
        first, moved = int(np.searchsorted(keys, 0)), []
        for name, end in zip(place, ends, strict=True):
            here, first = slice(first, end), end
            if here.start == end:
                continue
            if name in MOVES:
                moved.append(matrices(name, argument[here], height, width))
            elif name == "Cutout":
                x[here] = cutout(x[here], on_device[here], _to(centre[now[here]], x.device), fill)
            else:
                x[here] = POINT[name](x[here], on_device[here])
        if moved:
            matrix = np.concatenate(moved)
            x[-len(matrix) :] = move(x[-len(matrix) :], _to(matrix, x.device), fill)
    back = np.empty_like(now)
    back[now] = np.arange(len(now))
    return x.index_select(0, _to(back, x.device))


def _to(array: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(array).to(device, non_blocking=True)


@torch.compiler.disable
def rand_augment(
    x: torch.Tensor,
    n: int = 2,
    m: float = 9,
    *,
    generator: torch.Generator | None = None,
    settings: RandAugmentSettings | None = None,
    **options,
) -> torch.Tensor:
    """Apply `n` operations at magnitude `m` to each picture, drawn for each by itself.

    It runs outside of torch.compile: how many pictures get an operation differs from batch to batch.

    Args:
        x: pictures (batch, 1 or 3 channels, height, width), uint8 or floats on 0..1 that stand for 8-bit levels.
        n, m, options: see `RandAugmentSettings`.
        settings: in place of `n`, `m` and `options`.
        generator: source of randomness on the CPU, whatever device the pictures are on; torch's global one by default.

    Returns:
        A new tensor of the same shape, dtype and device; every operation leaves whole 8-bit levels behind.

    Raises:
        NsfastError: a setting outside its range, or pictures of another shape or dtype.
    """
    settings = settings or RandAugmentSettings(n, m, **options)
    if x.ndim != 4 or x.shape[1] not in (1, 3) or not (x.dtype == torch.uint8 or x.is_floating_point()):
        raise NsfastError(
            f"RandAugment got {x.dtype} of shape {tuple(x.shape)}; give uint8, or floats on 0..1, "
            "of shape (n, 1 or 3, height, width)"
        )
    if not settings.n or not len(x):
        return x.clone()
    draw = settings.draw(len(x), *x.shape[2:], generator=generator)
    if x.dtype == torch.uint8:
        return apply(x, draw, settings.grey)
    levels = (x.float() * 255).round_().clamp_(0, 255).to(torch.int16).to(torch.uint8)
    return apply(levels, draw, settings.grey).to(x.dtype).div_(255)
