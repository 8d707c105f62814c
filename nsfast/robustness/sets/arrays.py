"""Pictures that were released as .npy files: mapped, never unpickled, and checked before one is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nsfast.errors import NsfastError
from nsfast.robustness.sets.about import not_unpacked


def open_array(name: str, root: Path, file: Path, dimensions: int) -> np.ndarray:
    """Return the array of a .npy as a read-only map.

    Args:
        name: of the set.
        root: its folder.
        file: the .npy.
        dimensions: that it has to have.

    Raises:
        NsfastError: it is missing, cut short, holds Python objects or has another number of dimensions.
    """
    if not file.is_file():
        raise not_unpacked(name, root, f"no {file.name}")
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        said = " ".join(str(error).split())
        raise not_unpacked(name, root, f"{file.name} is damaged or half unpacked ({said})") from None
    if not isinstance(array, np.ndarray) or array.ndim != dimensions:
        raise not_unpacked(name, root, f"{file.name} is no array of {dimensions} dimension(s)")
    return array


def known_size(name: str, root: Path, file: Path, pixels: np.ndarray, size: int | None) -> tuple[int, ...]:
    """Return the shape of pictures or films (..., height, width, 3) uint8; `size` is what the model wants, if it says.

    Raises:
        NsfastError: they are not square and in colour, or of another size than the model's.
    """
    *_, height, width, channels = pixels.shape
    if pixels.dtype != np.uint8 or channels != 3 or height != width or not all(pixels.shape):
        problem = f"{file.name} is {pixels.dtype} {pixels.shape}, which are no square pictures in colour"
        raise not_unpacked(name, root, problem)
    if size is not None and size != height:
        raise NsfastError(
            f"{name}: its pictures have {height} pixels a side and the model takes {size}; they are shown as they were "
            f"released, so give a model of {height} pixels"
        )
    return pixels.shape
