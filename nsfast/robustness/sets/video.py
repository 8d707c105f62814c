"""Frames of a short film, read by whichever video package is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np

from nsfast.errors import NsfastError

Read = Callable[[Path], np.ndarray]
"""From a film to its frames, (frames, height, width, 3) uint8 in red, green, blue."""


def with_cv2(path: Path) -> np.ndarray:
    import cv2

    film, frames = cv2.VideoCapture(str(path)), []
    try:
        while True:
            there, frame = film.read()
            if not there:
                break
            frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    finally:
        film.release()
    return np.stack(frames) if frames else np.empty((0, 0, 0, 3), np.uint8)


def with_av(path: Path) -> np.ndarray:
    import av

    with av.open(str(path)) as film:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])


def with_imageio(path: Path) -> np.ndarray:
    import imageio.v3

    return np.asarray(imageio.v3.imread(path))


READERS: dict[str, Read] = {
    "cv2": with_cv2,
    "av": with_av,
    "imageio.v3": with_imageio,
}
"""By the module that each needs, in the order in which they are tried; the published figures were made with cv2."""


def video_reader() -> Read:
    """Return what reads a film.

    Raises:
        NsfastError: no package is installed that could, or none that can be imported.
    """
    for module, read in READERS.items():
        try:
            import_module(module)
        except Exception:  # not there, or without the libraries that it needs
            continue
        return read
    raise NsfastError(
        "imagenet-p: its films (.mp4) need a video package, and none can be imported; run pip install "
        '"nsfast[video]" (OpenCV; av and imageio[pyav] will do, too)'
    )


def read_film(path: Path, read: Read, size: int | None, frames: int = 0) -> np.ndarray:
    """Return the frames of a film, (frames, size, size, 3) uint8; resized (bicubic, antialiased) if need be.

    Args:
        size: height and width in pixels; None for those of the film.
        frames: how many it has to have; 0 for any number.

    Raises:
        NsfastError: it is damaged, not square, or has another number of frames.
    """
    from PIL import Image

    try:
        film = np.asarray(read(path), np.uint8)
    except Exception as error:  # decoders of damaged films raise nearly everything
        said = " ".join(str(error).split()) or type(error).__name__
        raise NsfastError(f"{path} cannot be read ({said}); unpack it again") from None
    found, height, width = film.shape[:3]
    if found < 2 or height != width or (frames and found != frames):
        wanted = f"{frames} square frames" if frames else "square frames, at least 2"
        raise NsfastError(
            f"{path} has {found} frames of {width}x{height}, not {wanted}; it is cut short: unpack it again"
        )
    if size in (None, height):
        return film
    small = [Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC) for frame in film]
    return np.stack([np.asarray(frame) for frame in small])
