"""The pictures of a released set, described without opening one, and the questions that they make."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nsfast.files import fingerprint
from nsfast.images import PictureFiles
from nsfast.images.listing import ENDINGS, walk_files
from nsfast.robustness.answers import Question, Version
from nsfast.robustness.sets.about import SETS, not_unpacked
from nsfast.streams import hash_order

SIDE = 224
"""Height and width of pictures that are not cropped yet, where the model does not say."""


@dataclass(frozen=True)
class DescribedQuestion(Question):
    """A question, and what a reader of its figures has to know, in whole sentences."""

    description: str = ""


@dataclass(frozen=True)
class Files:
    """The pictures or films below a folder, sorted by path.

    Args:
        root: the folder.
        paths: (n,) below it, with forward slashes.
        digest: of their paths, sizes and times; while it stands, so do the pictures.
    """

    root: Path
    paths: tuple[str, ...]
    digest: str

    @property
    def folders(self) -> list[str]:
        """The first folder of each path: its class."""
        return [path.split("/", 1)[0] for path in self.paths]


def list_files(name: str, root: Path, endings: Sequence[str] = ENDINGS, below: str = "") -> Files:
    """Describe the pictures of a set, or of one version of it, wherever they lie below a folder.

    Args:
        name: of the set.
        root: its folder.
        endings: of what is listed.
        below: part of the set that is listed, such as "fog/3"; paths are below it.

    Raises:
        NsfastError: there are none, or one is empty, as where unpacking was cut short.
    """
    folder = root / below
    found = [
        (path.split("/", 1)[1], size, modified)
        for path, size, modified in walk_files(folder.parent, folder.name)
        if path.lower().endswith(tuple(endings))
    ]
    if not found:
        raise not_unpacked(name, root, f"nothing that ends in {endings[0]} below {folder}")
    empty = next((path for path, size, _ in found if not size), None)
    if empty:
        raise not_unpacked(name, root, f"{folder / empty} is empty, so the set is half unpacked")
    return Files(folder, tuple(path for path, _, _ in found), fingerprint(found))


def side_of(name: str, root: Path, files: Files) -> tuple[int, int]:
    """Return height and width of the first picture; its header alone is read.

    Raises:
        NsfastError: it is no picture.
    """
    try:
        with Image.open(files.root / files.paths[0]) as image:
            return image.height, image.width
    except Exception:  # readers of damaged files raise nearly everything
        raise not_unpacked(name, root, f"{files.root / files.paths[0]} is no picture") from None


def limited(ids: Sequence[str], limit: int, seed: int) -> np.ndarray:
    """Return rows (k,), rising: all, or `limit` that the hash of the ids draws, the same whatever else there is."""
    if not limit or limit >= len(ids):
        return np.arange(len(ids))
    return np.sort(np.argsort(hash_order(ids, seed, "limit"))[:limit])


def decoded_as_needed(
    files: Files, rows: np.ndarray, size: int, channels: int, whole: bool
) -> Callable[[], PictureFiles]:
    """Return a function that gives pictures which are decoded batch by batch, at the model's resolution.

    With `whole` nothing is cut off, as of pictures that are cropped already; without it they lose the border that
    ImageNet's test pictures lose: 224 pixels are what is left of 256.
    """
    return lambda: PictureFiles(files.root, [files.paths[row] for row in rows], size, channels, whole=whole)


def read_rows(path: Path, first: int, rows: np.ndarray) -> Callable[[], np.ndarray]:
    """Return a function that gives rows of a .npy, counted from its row `first`; all of them stay in the file."""

    def read() -> np.ndarray:
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)[first:]
        return pixels[: len(rows)] if np.array_equal(rows, np.arange(len(rows))) else pixels[rows]

    return read


def question(
    version: Version,
    ids: np.ndarray,
    labels: np.ndarray,
    digest: str,
    pictures: Callable[[], np.ndarray],
    description: Sequence[str],
    asked_as: object = None,
    classes: np.ndarray | None = None,
    accepted: Sequence[Sequence[int]] | None = None,
) -> DescribedQuestion:
    """Return a question whose key stands for its pictures, its labels and how they are asked.

    Args:
        digest: of the pictures' files.
        description: sentences.
        asked_as: what else the answers depend on, such as the crop; JSON-able.
        others: as of `Question`.
    """
    counted = None if classes is None else np.asarray(classes).tolist()
    right = None if accepted is None else [list(several) for several in accepted]
    content = [list(version), digest, fingerprint([ids.tolist(), labels.tolist(), counted, right]), asked_as]
    return DescribedQuestion(
        version,
        ids,
        labels,
        fingerprint(content),
        pictures,
        classes=classes,
        accepted=accepted,
        description=" ".join(description),
    )


def opening(name: str, asked: int) -> str:
    """Return the first sentence of a description."""
    return f"{name}: {SETS[name].what}; {asked:,} pictures."


def same_file(path: Path) -> list[object]:
    """Return what tells that a file is still the same: name, size in bytes, time of the last change."""
    info = os.stat(path)
    return [path.name, info.st_size, info.st_mtime_ns]
