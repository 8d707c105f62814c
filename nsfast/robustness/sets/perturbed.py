"""ImageNet-P and CIFAR-10-P as they were released: films, or arrays of frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from nsfast.files import fingerprint
from nsfast.images.records import numbered
from nsfast.robustness.names import EXTRA_PERTURBATIONS, PERTURBATIONS
from nsfast.robustness.sequences import Chunk, Sequences
from nsfast.robustness.sets.about import as_released, find_root, not_unpacked
from nsfast.robustness.sets.arrays import known_size, open_array
from nsfast.robustness.sets.classes import (
    WNID,
    known_classes,
    left_out,
    numbered_labels,
    official_classes,
)
from nsfast.robustness.sets.released import limited, list_files, opening, same_file
from nsfast.robustness.sets.video import Read, read_film, video_reader

NAMES = (*PERTURBATIONS, *EXTRA_PERTURBATIONS)
CHUNK = 64 << 20
"""Bytes of pixels in a chunk, at most, but one sequence."""


def in_films(
    path: str | Path, classes: Sequence[str], size: int | None, limit: int, seed: int, difficulty: int
) -> list[Sequences]:
    """Return the sequences of ImageNet-P; arguments and errors as of `open_sequences`."""
    name = "imagenet-p"
    root = find_root(name, path, lambda folder: any((folder / one).is_dir() for one in NAMES))
    read = video_reader()
    present = [one for one in NAMES if (root / _stored(one, difficulty)).is_dir()]
    if not present:
        raise not_unpacked(name, root, f"no perturbation of difficulty {difficulty}")
    sequences = []
    for one in present:
        files = list_files(name, root, (".mp4",), below=_stored(one, difficulty))
        names = [folder if WNID.fullmatch(folder) else "" for folder in files.folders]
        known = known_classes(name, root, filter(None, names), classes)
        labels = numbered_labels(names, known)
        rows = np.flatnonzero(labels >= 0)
        ids = np.array([files.paths[row] for row in rows], dtype=str)
        ids = ids[limited(ids, limit, seed)]
        frames, *shape = read_film(files.root / ids[0], read, size).shape
        said = [
            opening(name, len(ids)),
            *_missing(present, difficulty),
            *left_out(filter(None, names), known, sum(map(bool, names)) - int((labels >= 0).sum())),
            *as_released(name, len(files.paths), "films of each perturbation"),
        ]
        key = fingerprint([name, one, difficulty, files.digest, fingerprint(ids.tolist()), size])
        at_once = max(1, CHUNK // (frames * int(np.prod(shape))))
        chunks = partial(_films, files.root, ids, read, shape[0], frames, at_once)
        noise = "noise" in one
        sequences.append(
            Sequences(one, name, key, len(ids), chunks, noise, difficulty, description=" ".join(said))
        )
    return sequences


def in_arrays(
    path: str | Path, classes: Sequence[str], size: int | None, limit: int, seed: int, difficulty: int
) -> list[Sequences]:
    """Return the sequences of CIFAR-10-P; arguments and errors as of `open_sequences`.

    Its rows are CIFAR-10's test pictures in their order, whose ids they have; it has no labels, and needs none.
    """
    name = "cifar10-p"
    root = find_root(name, path, lambda folder: any((folder / f"{one}.npy").is_file() for one in NAMES))
    known_classes(name, root, official_classes(name), classes)
    present = [one for one in NAMES if (root / f"{_stored(one, difficulty)}.npy").is_file()]
    if not present:
        raise not_unpacked(name, root, f"no perturbation of difficulty {difficulty}")
    sequences = []
    for one in present:
        file = root / f"{_stored(one, difficulty)}.npy"
        total, frames, side, *_ = known_size(name, root, file, open_array(name, root, file, 5), size)
        if frames < 2:
            raise not_unpacked(name, root, f"{file.name} has sequences of {frames} frame")
        rows = limited(numbered("test", total), limit, seed)
        said = [
            opening(name, len(rows)),
            *_missing(present, difficulty),
            *as_released(name, total, "sequences of each perturbation"),
        ]
        key = fingerprint([name, one, difficulty, same_file(file), rows.tolist()])
        at_once = max(1, CHUNK // (frames * side * side * 3))
        chunks = partial(_rows, file, numbered("test", total), rows, at_once)
        noise = "noise" in one
        sequences.append(
            Sequences(one, name, key, len(rows), chunks, noise, difficulty, description=" ".join(said))
        )
    return sequences


def _stored(perturbation: str, difficulty: int) -> str:
    """Return the name of what holds a perturbation: harder noise was made anew, of others the steps are longer."""
    return f"{perturbation}_{difficulty}" if difficulty > 1 and "noise" in perturbation else perturbation


def _films(root: Path, ids: np.ndarray, read: Read, size: int, frames: int, at_once: int) -> Iterator[Chunk]:
    def film(id: str) -> np.ndarray:
        return read_film(root / id, read, size, frames)

    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(ids), at_once):
            some = ids[start : start + at_once]
            yield some, np.stack(list(pool.map(film, some)))


def _rows(file: Path, ids: np.ndarray, rows: np.ndarray, at_once: int) -> Iterator[Chunk]:
    pixels = np.load(file, mmap_mode="r", allow_pickle=False)
    for start in range(0, len(rows), at_once):
        some = rows[start : start + at_once]
        yield ids[some], np.asarray(pixels[some])


def _missing(present: Sequence[str], difficulty: int) -> list[str]:
    """Return the sentence on what the published score needs and is not there, if there is anything."""
    lacking = [_stored(one, difficulty) for one in PERTURBATIONS if one not in present]
    return [f"Not there: {', '.join(lacking)}; so there is no mean over all 10."] if lacking else []
