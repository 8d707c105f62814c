"""Pictures that stay in their files and are decoded when they are asked for: large pictures, and very many."""

from __future__ import annotations

import copy
import operator
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from io import BufferedReader
from pathlib import Path

import numpy as np

from nsfast.errors import within
from nsfast.images.crop import Choice, centre_square, random_box, random_draws
from nsfast.images.decode import decode_part, quiet, reason, verify
from nsfast.images.problem import ImageProblem
from nsfast.images.window import Window

MARGIN = 2.0
"""Twice what is kept is decoded, as of the pictures of a folder, so that a JPEG's scale costs no sharpness."""


class PictureFiles:
    """An array of pictures, (n, size, size, channels) uint8, each decoded from its file when it is asked for.

    `pictures[3]`, `pictures[2:9]` and `pictures[rows]` are real arrays: the centre square of fraction
    size / (size + 32) of the short side (all of it for sizes below 64, or if `whole`), upright, resized (bicubic,
    antialiased), as the released code evaluates and labels. `crops` draws random parts for training. What is kept of a
    picture is a few numbers in numpy arrays, so a million of them may be sent to the workers of a DataLoader.

    Args:
        root: folder that the paths lie below.
        paths: (n,) paths below `root`, with forward slashes.
        size: height and width in pixels, 1..4096.
        channels: 1 (grey) or 3 (colour).
        offsets, lengths: (n,) first byte and number of bytes of each picture in its file (a tar); None for files that
            are one picture each. An offset of -1 is the whole file.
        workers: threads that decode.
        whole: whether the whole centre square is kept, without ImageNet's border, as of a folder's pictures.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self,
        root: str | Path,
        paths: Sequence[str],
        size: int,
        channels: int = 3,
        offsets: np.ndarray | None = None,
        lengths: np.ndarray | None = None,
        workers: int = 2,
        whole: bool = False,
    ):
        if channels not in (1, 3):
            raise ImageProblem(f"channels is {channels!r}; give 1 (grey) or 3 (colour)")
        self.root = os.path.abspath(root)
        self.size = within("size", size, 1, 4096)
        self.channels = channels
        self.workers = within("workers", workers, 1)
        self.whole = whole
        names = np.array([os.fsencode(path) for path in paths], dtype=np.bytes_)
        n = len(names)
        self._offsets = np.full(n, -1) if offsets is None else np.array(offsets, np.int64)
        self._lengths = np.full(n, -1) if lengths is None else np.array(lengths, np.int64)
        # Shards hold many pictures each: their names are kept once, and each picture's place among them.
        self._names, self._file = (
            np.unique(names, return_inverse=True) if offsets is not None else (names, np.arange(n))
        )
        self._file = self._file.reshape(-1).astype(np.int32)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the array that all pictures make."""
        return len(self), self.size, self.size, self.channels

    @property
    def paths(self) -> list[str]:
        """The path below the root of each picture's file."""
        return [os.fsdecode(self._names[i]) for i in self._file]

    @property
    def offsets(self) -> np.ndarray:
        """(n,) first byte of each picture in its file, -1 for a whole file."""
        return self._offsets

    @property
    def lengths(self) -> np.ndarray:
        """(n,) number of bytes of each picture in its file, -1 for a whole file."""
        return self._lengths

    def stamps(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (n,) size in bytes and (n,) time of the last change in nanoseconds of the file of each picture.

        They are looked up now, once for each file, and are -1 where it is gone.
        """
        found = np.full((2, len(self._names)), -1, np.int64)
        for number, name in enumerate(self._names):
            try:
                info = os.stat(os.path.join(self.root, os.fsdecode(name)))
            except OSError:  # the one who decodes it is told
                continue
            found[:, number] = info.st_size, info.st_mtime_ns
        return found[0][self._file], found[1][self._file]

    def __len__(self) -> int:
        return len(self._file)

    def __repr__(self) -> str:
        return (
            f"PictureFiles({len(self)} pictures of {self.size}x{self.size}x{self.channels} below {self.root})"
        )

    def __getitem__(self, key: int | slice | np.ndarray) -> np.ndarray:
        """Decode one picture (size, size, channels) or several (k, size, size, channels)."""
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            return self[[key]][0]
        rows = self._rows(key)
        return self._all_right(rows, *self._decode_all(rows, [self._square] * len(rows), MARGIN))

    def read(self, rows: slice | Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
        """Decode those of several pictures that can be decoded; what is wrong with the others is told, not raised.

        A picture of more pixels than PIL takes for harmless (`Image.MAX_IMAGE_PIXELS`) is not decoded either.

        Args:
            rows: (k,) which pictures, as an index of the array.

        Returns:
            Pixels (good, size, size, channels) uint8; their places in `rows` (good,) int64, rising; and place and
            reason of each of the others.
        """
        rows = self._rows(rows)
        pixels, problems = self._decode_all(rows, [self._square] * len(rows), MARGIN, cautious=True)
        places = np.array([place for place in range(len(rows)) if place not in problems], np.int64)
        return pixels[places] if problems else pixels, places, problems

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)

    def crops(
        self,
        rows: np.ndarray,
        seed: int,
        area: tuple[float, float] = (0.08, 1.0),
        aspect: tuple[float, float] = (3 / 4, 4 / 3),
        flip: bool = True,
    ) -> np.ndarray:
        """Return a random part of each picture in `rows`, mirrored half of the time: Inception's crops.

        A picture's draw depends on `seed` and its position in `rows` alone, so no number of workers changes a bit.

        Args:
            rows: (k,) which pictures; one may stand there many times.
            seed: 0 or more; give every batch its own.
            area: lowest and highest share of a picture's area, 0..1.
            aspect: lowest and highest width divided by height.
            flip: mirror left and right with probability 0.5.

        Returns:
            (k, size, size, channels) uint8.

        Raises:
            ImageProblem: a picture is missing or damaged; names it.
        """
        rows = self._rows(rows)
        draws = random_draws(len(rows), seed)
        parts = [
            (
                partial(random_box, size=self.size, draws=draw, area=area, aspect=aspect, whole=self.whole),
                flip and draw[-1] < 0.5,
            )
            for draw in draws
        ]
        return self._all_right(rows, *self._decode_all(rows, parts, margin=1.0))

    def take(self, rows: np.ndarray) -> PictureFiles:
        """Return these pictures, in this order, without decoding one."""
        rows, taken = self._rows(rows), copy.copy(self)
        used, place = np.unique(self._file[rows], return_inverse=True)
        taken._names, taken._file = self._names[used], place.reshape(-1).astype(np.int32)
        taken._offsets, taken._lengths = self._offsets[rows], self._lengths[rows]
        return taken

    def at(self, size: int) -> PictureFiles:
        """Return the same pictures at another size."""
        other = copy.copy(self)
        other.size = within("size", size, 1, 4096)
        return other

    def problems(self, advance: Callable[[], None] = lambda: None) -> dict[int, str]:
        """Read every picture to its end (`verify`); return row and reason of those that cannot be decoded.

        Args:
            advance: called once for each picture.
        """

        def look(row: int) -> str:
            try:
                with self._open(row) as source:
                    verify(source)
            except Exception as error:  # decoders of damaged files raise nearly everything
                return reason(error)
            return ""

        found: dict[int, str] = {}
        with quiet(), ThreadPoolExecutor(self.workers) as pool:
            for start in range(0, len(self), 4096):  # a pool keeps an object for every picture that waits
                rows = range(start, min(start + 4096, len(self)))
                for row, why in zip(rows, pool.map(look, rows), strict=True):
                    if why:
                        found[row] = why
                    advance()
        return found

    def _rows(self, key: int | slice | Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the rows that an index names, as numpy understands it."""
        n = len(self)
        if isinstance(key, slice):
            return np.arange(n)[key]
        rows = np.asarray(key)
        if rows.ndim == 1 and not len(rows):
            return np.empty(0, np.int64)
        if rows.ndim == 1 and rows.dtype == bool:
            return np.arange(n)[rows]
        if isinstance(key, tuple) or rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise IndexError(f"cannot index {n} picture files with {key!r}; give an int, a slice or 1-d rows")
        rows = rows.astype(np.int64)
        if rows.min() < -n or rows.max() >= n:
            raise IndexError(f"row {rows.min() if rows.min() < -n else rows.max()} of {n} picture files")
        return np.where(rows < 0, rows + n, rows)

    def _open(self, row: int):
        """Return a context that gives what PIL opens: the path, or the range of a shard."""
        path = os.path.join(self.root, os.fsdecode(self._names[self._file[row]]))
        if self._offsets[row] < 0:
            return nullcontext(path)
        return BufferedReader(Window(path, int(self._offsets[row]), int(self._lengths[row])), 1 << 16)

    @property
    def _square(self) -> tuple[Choice, bool]:
        """The part of a picture that is kept when nothing is drawn, and that it is not mirrored."""
        return partial(centre_square, size=self.size, whole=self.whole), False

    def _decode_all(
        self, rows: np.ndarray, parts: list[tuple[Choice, bool]], margin: float, cautious: bool = False
    ) -> tuple[np.ndarray, dict[int, str]]:
        """Decode a part of each row's picture; `parts` says which and whether it is mirrored.

        Returns the pixels, and place and reason of those that are not there because they cannot be decoded.
        """
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)

        def fill(place: int) -> str:
            row, (choose, flip) = operator.index(rows[place]), parts[place]
            try:
                with self._open(row) as source:
                    out[place] = decode_part(source, self.size, self.channels, choose, margin, flip, cautious)
            except Exception as error:  # decoders of damaged files raise nearly everything
                return reason(error)
            return ""

        with quiet():
            if self.workers == 1 or len(rows) < 2:
                reasons = [fill(place) for place in range(len(rows))]
            else:  # made for each call: the threads of a pool would not survive the fork of a DataLoader worker
                with ThreadPoolExecutor(min(self.workers, len(rows))) as pool:
                    reasons = list(pool.map(fill, range(len(rows))))
        return out, {place: why for place, why in enumerate(reasons) if why}

    def _all_right(self, rows: np.ndarray, pixels: np.ndarray, problems: dict[int, str]) -> np.ndarray:
        """Return the pixels; raise `ImageProblem` for the first picture that could not be decoded."""
        if not problems:
            return pixels
        place, why = next(iter(problems.items()))
        row = rows[place]
        path = os.path.join(self.root, os.fsdecode(self._names[self._file[row]]))
        where = "" if self._offsets[row] < 0 else f" (bytes from {self._offsets[row]} on)"
        raise ImageProblem(f"{path}{where}: {why}; restore it, or prepare the pictures again without it")


def taken(pixels: np.ndarray | PictureFiles, rows: np.ndarray | slice) -> np.ndarray | PictureFiles:
    """Return some pictures, in this order; of pictures kept as files none is decoded."""
    return pixels.take(rows) if isinstance(pixels, PictureFiles) else pixels[rows]
