"""Make sequences by name: `sequences` for arrays, `perturbation_sequences` for what models are asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from nsfast.errors import NsfastError, choice
from nsfast.files import fingerprint
from nsfast.images import Split
from nsfast.robustness.content import content_of
from nsfast.robustness.corruptions.apply import CUT_OFF, SMALLEST
from nsfast.robustness.corruptions.table import table_for
from nsfast.robustness.names import EXTRA_PERTURBATIONS, PERTURBATIONS
from nsfast.robustness.perturbations.frames import MADE
from nsfast.robustness.perturbations.table import (
    CONSTANTS,
    DIFFICULTIES,
    MARGIN,
    STEPS,
    frames_of,
    is_noise,
    steps_of,
)
from nsfast.robustness.sequences import Chunk, Sequences
from nsfast.streams import numpy_stream

PROTOCOL = 1
"""Counts up whenever the same call gives other frames; answers kept before are then asked again."""

VALUES_AT_ONCE = 1 << 18
"""Sequences are made in blocks of about so many values a frame; the result does not depend on it."""

CHUNK_VALUES = 1 << 26
"""Models are asked about chunks of about so many values: 64 MiB of pixels."""


def sequences(
    pixels: np.ndarray,
    name: str,
    seed: int = 0,
    ids: Sequence | None = None,
    table: str = "auto",
    difficulty: int = 1,
) -> np.ndarray:
    """Return the sequence of every picture, the same whatever pictures stand beside it.

    Args:
        pixels: uint8 (n, height, width, channels), 1 or 3 channels, at least 8 pixels high and wide.
        name: one of `PERTURBATIONS` or `EXTRA_PERTURBATIONS`.
        seed: the run's seed; what is drawn depends on it, the name, the difficulty and the picture's id alone.
        ids: (n,) the stable id of each picture, strings or integers; its position when left out.
        table: "small" (CIFAR-10-P), "imagenet", or "auto": small when the shorter side is below 64 pixels.
        difficulty: 1 to 3, how strong noise is; other perturbations do not depend on it, there it is the step between
            frames that are compared.

    Returns:
        uint8 (n, frames, height, width, channels), `frames_of` frames. The first of a noise is the picture itself.

    Raises:
        NsfastError: unknown name or table; difficulty, dtype, shape or number of ids that does not fit.

    Source: Hendrycks & Dietterich 2019, section 4, and github.com/hendrycks/robustness; `DEVIATIONS` says what differs.
    """
    pixels = np.asarray(pixels)
    table = _checked(pixels.dtype, pixels.shape, name, table, difficulty)
    ids = range(len(pixels)) if ids is None else ids
    if len(ids) != len(pixels):
        raise NsfastError(f"{len(ids)} ids for {len(pixels)} pictures; give one id for each picture")
    steps = steps_of(name, table)
    constants = CONSTANTS[table].get(name, MARGIN[table])
    if is_noise(name):
        constants = constants[difficulty - 1]
    made = np.empty((len(pixels), len(steps), *pixels.shape[1:]), np.uint8)
    at_once = max(1, VALUES_AT_ONCE // int(np.prod(pixels.shape[1:])))
    for start in range(0, len(pixels), at_once):
        block = slice(start, start + at_once)
        stream = [numpy_stream(seed, "perturbation", name, difficulty, identity) for identity in ids[block]]
        for number, frame in enumerate(MADE[name](pixels[block] / 255.0, steps, constants, stream)):
            made[block, number] = np.clip(frame, 0, 1) * 255 + CUT_OFF
    return made


def perturbation_sequences(
    split: Split,
    names: Sequence[str],
    seed: int = 0,
    table: str = "auto",
    difficulty: int = 1,
) -> list[Sequences]:
    """Return the sequences of a split's pictures for each perturbation, made chunk by chunk when they are asked for.

    Args:
        split: pictures; their ids decide what is drawn.
        names, seed, table, difficulty: as for `sequences`.

    Raises:
        NsfastError: as `sequences`, before any picture is perturbed.
    """
    shape, kind = split.pixels.shape, split.pixels.dtype
    tables = {name: _checked(kind, shape, name, table, difficulty) for name in names}
    content = content_of(split)

    def chunks(name: str) -> Iterator[Chunk]:
        frames = frames_of(name, tables[name])
        step = max(1, CHUNK_VALUES // (frames * int(np.prod(shape[1:]))))
        for start in range(0, len(split), step):
            ids = split.ids[start : start + step]
            yield (
                ids,
                sequences(split.pixels[start : start + step], name, seed, ids, tables[name], difficulty),
            )

    return [
        Sequences(
            name=name,
            set="perturbed",
            key=fingerprint([PROTOCOL, content, name, int(seed), tables[name], int(difficulty)]),
            total=len(split),
            chunks=partial(chunks, name),
            noise=is_noise(name),
            difficulty=int(difficulty),
        )
        for name in names
    ]


def _checked(kind: np.dtype, shape: tuple[int, ...], name: str, table: str, difficulty: int) -> str:
    """Return the table to take; raise `NsfastError` for what cannot be perturbed."""
    choice("perturbation", name, PERTURBATIONS + EXTRA_PERTURBATIONS)
    choice("table", table, ("auto", *STEPS))
    if isinstance(difficulty, bool) or difficulty not in DIFFICULTIES:
        raise NsfastError(f"difficulty of {name} is {difficulty!r}; it must be 1, 2 or 3")
    if kind != np.uint8:
        raise NsfastError(f"pixels are {kind}; scale them to 0..255 and turn them into uint8")
    if len(shape) != 4 or shape[3] not in (1, 3):
        raise NsfastError(
            f"pixels have shape {shape}; they must be (n, height, width, channels), 1 or 3 channels"
        )
    if min(shape[1:3]) < SMALLEST:
        raise NsfastError(
            f"pictures of {shape[1]} x {shape[2]} pixels are too small to perturb; "
            f"give at least {SMALLEST} x {SMALLEST}"
        )
    return table_for(*shape[1:3]) if table == "auto" else table
