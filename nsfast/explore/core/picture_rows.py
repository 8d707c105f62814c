"""The picture of each pseudo-label, wherever pictures lie, and its name: found when a page asks for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nsfast.errors import NsfastError
from nsfast.images.files import PictureFiles, taken
from nsfast.images.listing import ENDINGS, walk

SIZE = 192
"""Pixels of a side that pictures in files are decoded to."""

GREY = 200
"""What is shown where there is no picture."""

NOT_THERE = ".no-such-picture"
"""The path of a picture of which no file is known."""

PLAIN = rf"(?i)^[ -.0-~][ -~]*\.({'|'.join(ending[1:] for ending in ENDINGS)})$"
"""Names that are taken for a file's path as they are: not absolute, ASCII, with a picture's ending."""


class PictureNames:
    """Names of pictures by their rows, and rows by their names.

    Args:
        read: gives all names (n,); called once, when the first is asked for.
    """

    def __init__(self, read: Callable[[], pa.Array]):
        self._read, self._names = read, None

    @property
    def every(self) -> pa.Array:
        """All names (n,)."""
        if self._names is None:
            self._names = self._read()
        return self._names

    def of(self, rows: np.ndarray) -> list[str]:
        """Return the names of some rows (k,)."""
        return self.every.take(pa.array(np.asarray(rows, np.int64))).to_pylist()

    def find(self, names: Sequence[str]) -> list[np.ndarray]:
        """Return the rows int64, rising, of each name; none where there is no such picture."""
        wanted = pa.array([str(name) for name in names], self.every.type)
        rows = np.flatnonzero(pc.is_in(self.every, wanted).to_numpy(zero_copy_only=False))
        found: dict[str, list[int]] = {str(name): [] for name in names}
        for row, name in zip(rows.tolist(), self.of(rows), strict=True):
            found[name].append(row)
        return [np.array(found[str(name)], np.int64) for name in names]


class PictureRows:
    """Pictures of an array or of files, in the order of the pseudo-labels; for some there may be none.

    Args:
        pictures: uint8 (m, height, width, channels), or `PictureFiles`.
        places: int64 (n,), which of them belongs to each pseudo-label; those outside 0 to m - 1 are not there.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, pictures: Any, places: np.ndarray):
        self.pictures = pictures
        self.places = np.where((places >= 0) & (places < len(pictures)), places, -1)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the array that all of them make."""
        return (len(self), *self.pictures.shape[1:])

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return one picture (height, width, channels) or several (k, height, width, channels); grey for none."""
        if isinstance(rows, (int, np.integer)):
            return self[[rows]][0]
        places = self.places[rows]
        found = np.full((len(places), *self.shape[1:]), GREY, np.uint8)
        pixels, there, _ = self._read(places)
        found[there] = pixels
        return found

    def read(self, rows: Any) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
        """Return pixels of those that are there, their places in `rows`, and what is wrong with the others.

        As `PictureFiles.read`.
        """
        return self._read(self.places[rows])

    def _read(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
        there = np.flatnonzero(places >= 0)
        if hasattr(self.pictures, "read"):
            pixels, good, problems = self.pictures.read(places[there])
        else:
            pixels, good, problems = np.asarray(self.pictures[places[there]]), np.arange(len(there)), {}
        reasons = dict.fromkeys(np.flatnonzero(places < 0).tolist(), "there is no picture with this id")
        reasons |= {int(there[place]): why for place, why in problems.items()}
        return pixels, there[good], dict(sorted(reasons.items()))


def pictures_of(images: Any, places: np.ndarray, paths: Callable[[str], dict[str, Any]]) -> Any:
    """Return the picture of each pseudo-label.

    Args:
        images: a folder, a `.npy` of uint8 (m, height, width[, channels]), such an array, `PictureFiles`, or None.
        places: int64 (n,), which of them belongs to each pseudo-label, where they are no folder.
        paths: gives, for a folder, `paths` (n,) below it, and perhaps `offsets` and `lengths`, as `PictureFiles` takes.

    Raises:
        NsfastError: pictures that are none of these.
    """
    if images is None:
        return None
    if isinstance(images, (str, os.PathLike)):
        source = Path(images).expanduser()
        if source.is_dir():
            return PictureFiles(source, **paths(os.path.abspath(source)), size=SIZE, whole=True)
        images = _mapped(source)
    elif not isinstance(images, PictureFiles):
        images = _as_pictures(images, "images")
    if len(images) < len(places) or not np.array_equal(places, np.arange(len(places))):
        return PictureRows(images, places)
    return taken(images, slice(0, len(places)))


def paths_below(root: str, names: pa.Array) -> list[str]:
    """Return the path below a folder of each picture's file, as far as names tell.

    A name is a path below the folder, or an absolute one that leads there; its ending may be missing where only one
    picture has that name. No name leads out of the folder.

    Args:
        root: the folder, an absolute path.
        names: (n,) text.
    """
    paths = names.to_pylist()
    plain = pc.and_not(pc.match_substring_regex(names, PLAIN), pc.match_substring(names, ".."))
    odd = np.flatnonzero(~plain.to_numpy(zero_copy_only=False)).tolist()
    by_name = _listed(root) if odd else {}
    for row in odd:
        name = paths[row]
        if os.path.isabs(name):
            name = os.path.relpath(os.path.normpath(name), root)
        paths[row] = by_name.get(name) or NOT_THERE
    return paths


def _listed(root: str) -> dict[str, str]:
    """The path below a folder of each file by its name, and without its ending where no other picture has it."""
    prefix = os.path.join(root, "")
    by_name: dict[str, str] = {}
    short: dict[str, str] = {}
    for file in walk(Path(root)):
        if file.id.endswith("/"):
            continue
        by_name[file.id] = path = file.path.removeprefix(prefix)
        stem, ending = os.path.splitext(file.id)
        if ending.lower() in ENDINGS:
            short[stem] = "" if stem in short else path
    return {**short, **by_name}


def _mapped(source: Path) -> np.ndarray:
    """The pictures of a .npy, which stay in the file."""
    if source.suffix.lower() != ".npy" or not source.is_file():
        raise NsfastError(
            f"no pictures at {str(source)!r}; give a folder of pictures or a .npy of uint8 pictures"
        )
    try:
        return _as_pictures(np.lib.format.open_memmap(source, "r"), str(source))
    except (OSError, ValueError, EOFError) as error:
        if isinstance(error, NsfastError):
            raise
        raise NsfastError(f"{source} is no array of pictures: {' '.join(str(error).split())}") from None


def _as_pictures(images: Any, what: str) -> np.ndarray:
    found = images if isinstance(images, np.ndarray) else np.asarray(images)
    found = found[..., None] if found.ndim == 3 else found
    if found.dtype != np.uint8 or found.ndim != 4 or found.shape[3] not in (1, 3):
        raise NsfastError(
            f"{what} holds {found.dtype} {found.shape}; give uint8 (n, height, width, 1 or 3) or (n, height, width)"
        )
    return found
