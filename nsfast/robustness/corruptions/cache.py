"""Questions about corrupted pictures, and the files that keep the pictures so that they are made once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from nsfast.files import atomic, fingerprint
from nsfast.images import Split
from nsfast.robustness.answers import Question, Version
from nsfast.robustness.content import content_of
from nsfast.robustness.corruptions.apply import constants_of, corrupt
from nsfast.robustness.corruptions.table import table_for

PROTOCOL = 1
"""Counts up whenever the same call gives other pictures; what was kept before is then made again."""


def corruption_questions(
    split: Split,
    names: Sequence[str],
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    seed: int = 0,
    table: str = "auto",
    cache: str | Path | None = None,
) -> list[Question]:
    """Return a question for each corruption and severity of a split's pictures, version ("corrupted", name, severity).

    Args:
        split: pictures with labels; their ids decide what is drawn.
        names, severities, seed, table: as for `corrupt`.
        cache: folder that keeps the corrupted pictures, a file a question; what is damaged is made again.

    Raises:
        NsfastError: as `corrupt`, before any picture is corrupted.
    """
    pixels = split.pixels
    shape = pixels.shape
    for name in names:
        for severity in severities:
            constants_of(name, severity, table, pixels.dtype == np.uint8, pixels.dtype, shape)
    table = table_for(*shape[1:3]) if table == "auto" else table
    content = content_of(split)
    questions = []
    for name in names:
        for severity in severities:
            key = fingerprint([PROTOCOL, content, name, int(severity), int(seed), table])
            make = partial(_corrupted, split, name, severity, seed, table)
            if cache is not None:
                make = partial(_kept, Path(cache) / f"{key}.npy", make, shape)
            version = Version("corrupted", name, severity)
            questions.append(Question(version, split.ids, split.labels, key, make))
    return questions


def _corrupted(split: Split, name: str, severity: int, seed: int, table: str) -> np.ndarray:
    return corrupt(split.pixels[:], name, severity, seed, split.ids, table)


def _kept(path: Path, make: Callable[[], np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Return the pictures in a file, or make them and write it."""
    found = _read(path)
    if found is not None and found.shape == tuple(shape):
        return found
    pixels = make()
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.save(file, pixels, allow_pickle=False)
        # behind the array, where numpy does not look: tells a file whose bits have turned
        file.write(_digest(pixels))
    return pixels


def _read(path: Path) -> np.ndarray | None:
    """Return the pictures in a file; None where it is absent or damaged."""
    try:
        with open(path, "rb") as file:
            pixels = np.load(file, allow_pickle=False)
            mark = file.read()
    except (OSError, ValueError, EOFError):
        return None
    return pixels if pixels.dtype == np.uint8 and mark == _digest(pixels) else None


def _digest(pixels: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(pixels).tobytes(), digest_size=16).digest()
