"""Questions about corrupted pictures, and the files that keep the pictures so that they are made once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from nsfast.files import atomic, fingerprint
from nsfast.images import Split
from nsfast.robustness.answers import Question, Version
from nsfast.robustness.changed import ChangedPixels, parts_of
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
    device: torch.device | None = None,
) -> list[Question]:
    """Return a question for each corruption and severity of a split's pictures, version ("corrupted", name, severity).

    Args:
        split: pictures with labels; their ids decide what is drawn.
        names, severities, seed, table: as for `corrupt`.
        cache: folder that keeps the corrupted pictures, a file a question; what is damaged is made again.
        device: as for `corrupt`; it is no part of the key, pictures are the same to the grey level but for rounding.

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
            make = partial(_corrupted, split, name, severity, seed, table, device)
            if cache is not None:
                make = partial(_kept, Path(cache) / f"{key}.npy", make, shape)
            version = Version("corrupted", name, severity)
            questions.append(Question(version, split.ids, split.labels, key, make))
    return questions


def _corrupted(
    split: Split, name: str, severity: int, seed: int, table: str, device: torch.device | None
) -> np.ndarray | ChangedPixels:
    def change(part: slice) -> np.ndarray:
        return corrupt(split.pixels[part], name, severity, seed, split.ids[part], table, device)

    changed = ChangedPixels(split.pixels.shape, change)
    return changed if len(parts_of(changed)) > 1 else changed[:]


def _kept(path: Path, make: Callable[[], np.ndarray | ChangedPixels], shape: tuple[int, ...]) -> np.ndarray:
    """Return the pictures in a file as a read-only map, or make them and write it first."""
    found = _read(path)
    if found is not None and found.shape == tuple(shape):
        return found
    pixels = make()
    about = {"descr": "|u1", "fortran_order": False, "shape": tuple(int(side) for side in shape)}
    digest = _digest()
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array_header_1_0(file, about)
        for part in parts_of(pixels):
            block = np.ascontiguousarray(pixels[part])
            file.write(block.data)
            digest.update(block.data)
        # behind the array, where numpy does not look: tells a file whose bits have turned
        file.write(digest.digest())
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _read(path: Path) -> np.ndarray | None:
    """Return the pictures in a file as a read-only map; None where it is absent or damaged."""
    try:
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)
        with open(path, "rb") as file:
            file.seek(-_digest().digest_size, os.SEEK_END)
            mark = file.read()
    except (OSError, ValueError, EOFError):
        return None
    digest = _digest()
    if pixels.dtype != np.uint8 or pixels.ndim != 4:
        return None
    for part in parts_of(ChangedPixels(pixels.shape, pixels.__getitem__)):
        digest.update(np.ascontiguousarray(pixels[part]).data)
    return pixels if mark == digest.digest() else None


def _digest() -> hashlib._Hash:
    return hashlib.blake2b(digest_size=16)
