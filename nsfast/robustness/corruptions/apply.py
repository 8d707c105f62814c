"""Corrupt pictures by name: `corrupt` for arrays, `corrupt_tensor` for what a device holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from nsfast.errors import NsfastError, choice
from nsfast.robustness.corruptions.batched import BATCHED
from nsfast.robustness.corruptions.blur import glass_blur, motion_blur
from nsfast.robustness.corruptions.digital import elastic_transform
from nsfast.robustness.corruptions.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from nsfast.robustness.corruptions.table import SEVERITIES, table_for
from nsfast.robustness.corruptions.weather import fog, frost, snow, spatter
from nsfast.robustness.names import CORRUPTIONS, EXTRA_CORRUPTIONS
from nsfast.streams import numpy_stream

SMALLEST = 8
"""Pictures with a shorter side than this, in pixels, are refused: nothing would be left of them."""

VALUES_AT_ONCE = 1 << 20
"""Pictures are corrupted in blocks of about so many values: 8 MiB a copy, and the result does not depend on it."""

AT_ONCE_ELSEWHERE = 16
"""How many times as many are in a block on another device than the processor."""

CUT_OFF = 1e-6
"""In grey levels: what floating point loses must not decide where a value is cut off."""

DRAWN: dict[str, Callable[..., np.ndarray]] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "elastic_transform": elastic_transform,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "speckle_noise": speckle_noise,
    "spatter": spatter,
}
"""The corruptions that draw for every picture, by name."""


def corrupt(
    pixels: np.ndarray,
    name: str,
    severity: int,
    seed: int = 0,
    ids: Sequence | None = None,
    table: str = "auto",
    device: torch.device | None = None,
) -> np.ndarray:
    """Return every picture corrupted by `name` at `severity`, the same whatever pictures stand beside it.

    Args:
        pixels: uint8 (n, height, width, channels), 1 or 3 channels, at least 8 pixels high and wide.
        name: one of `CORRUPTIONS` or `EXTRA_CORRUPTIONS`.
        severity: 1 (mild) to 5.
        seed: the run's seed; what is drawn depends on it, the name, the severity and the picture's id alone.
        ids: (n,) the stable id of each picture, strings or integers; its position when left out.
        table: "small" (CIFAR-C), "imagenet", or "auto": small when the shorter side is below 64 pixels.
        device: where those that draw nothing (`BATCHED`) are computed, batched; the processor by default.

    Returns:
        A new uint8 array of the same shape, cut off (not rounded) to whole grey levels as the reference does.

    Raises:
        NsfastError: unknown name, severity or table; wrong dtype or shape; a number of ids that does not fit.

    Source: Hendrycks & Dietterich 2019, section 4, and github.com/hendrycks/robustness; `DEVIATIONS` says what differs.
    """
    pixels = np.asarray(pixels)
    constants = constants_of(name, severity, table, pixels.dtype == np.uint8, pixels.dtype, pixels.shape)
    ids = range(len(pixels)) if ids is None else ids
    if len(ids) != len(pixels):
        raise NsfastError(f"{len(ids)} ids for {len(pixels)} pictures; give one id for each picture")
    corrupted = np.empty_like(pixels)
    if name in BATCHED:
        elsewhere = device is not None and device.type != "cpu"
        for block in blocks(pixels.shape, AT_ONCE_ELSEWHERE if elsewhere else 1):
            images = torch.from_numpy(np.array(pixels[block])).to(device)
            corrupted[block] = _corrupted(images, name, constants).cpu().numpy()
        return corrupted
    for block in blocks(pixels.shape):
        generators = [numpy_stream(seed, name, severity, identity) for identity in ids[block]]
        images = DRAWN[name](pixels[block] / 255.0, constants, generators)
        corrupted[block] = np.clip(images, 0, 1) * 255 + CUT_OFF
    return corrupted


def corrupt_tensor(pixels: torch.Tensor, name: str, severity: int, table: str = "auto") -> torch.Tensor:
    """Return pictures corrupted on the device that holds them, equal to what `corrupt` makes of them.

    Args:
        pixels: uint8 (n, height, width, channels), 1 or 3 channels, on any device that knows float64.
        name: one of `BATCHED`, the corruptions that draw nothing.
        severity, table: as for `corrupt`.

    Raises:
        NsfastError: as `corrupt`; a corruption that draws.
    """
    if name in DRAWN:
        raise NsfastError(
            f"{name} draws for each picture, on the processor; use corrupt, or one of {', '.join(BATCHED)}"
        )
    constants = constants_of(name, severity, table, pixels.dtype == torch.uint8, pixels.dtype, pixels.shape)
    parts = [_corrupted(pixels[block], name, constants) for block in blocks(pixels.shape, AT_ONCE_ELSEWHERE)]
    return torch.cat(parts) if parts else pixels.clone()


def constants_of(
    name: str, severity: int, table: str, whole: bool, kind: object, shape: Sequence[int]
) -> float | tuple:
    """Return the constants of a corruption for pictures of a shape; raise `NsfastError` if they cannot be corrupted.

    Args:
        whole: whether the pixels are uint8.
        kind, shape: their data type, for the message, and their shape.
    """
    choice("corruption", name, (*CORRUPTIONS, *EXTRA_CORRUPTIONS))
    choice("table", table, ("auto", *SEVERITIES))
    if isinstance(severity, bool) or severity not in (1, 2, 3, 4, 5):
        raise NsfastError(f"severity of {name} is {severity!r}; it must be 1, 2, 3, 4 or 5")
    if not whole:
        raise NsfastError(f"pixels are {kind}; scale them to 0..255 and turn them into uint8")
    shape = tuple(shape)
    if len(shape) != 4 or shape[3] not in (1, 3):
        raise NsfastError(
            f"pixels have shape {shape}; they must be (n, height, width, channels), 1 or 3 channels"
        )
    if min(shape[1:3]) < SMALLEST:
        raise NsfastError(
            f"pictures of {shape[1]} x {shape[2]} pixels are too small to corrupt; "
            f"give at least {SMALLEST} x {SMALLEST}"
        )
    table = table_for(*shape[1:3]) if table == "auto" else table
    return SEVERITIES[table][name][int(severity) - 1]


def blocks(shape: Sequence[int], factor: int = 1) -> list[slice]:
    """Return slices of pictures that together have about `VALUES_AT_ONCE` times `factor` values."""
    step = max(1, VALUES_AT_ONCE * factor // max(1, int(np.prod(shape[1:]))))
    return [slice(start, start + step) for start in range(0, shape[0], step)]


def _corrupted(pixels: torch.Tensor, name: str, constants: float | tuple) -> torch.Tensor:
    images = pixels.permute(0, 3, 1, 2).contiguous().double() / 255
    images = BATCHED[name](images, constants).clamp(0, 1) * 255 + CUT_OFF
    return images.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
