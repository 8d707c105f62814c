"""What pictures are, by content: answers are kept under it, and are asked again when it changes."""

from __future__ import annotations

import hashlib

import numpy as np

from nsfast.images import PictureFiles, Split


def content_of(split: Split) -> str:
    """Return the sha256 of ids, labels and pixels; of pictures that stay in files that of the files' description.

    A file is described by its path, its size in bytes, the time of its last change, and by which of its bytes are the
    picture: none is opened, and one that is replaced under its name is another. Files and an array of the same pixels
    differ in it: a network sees files at its own resolution.
    """
    pixels, labels = split.pixels, split.labels
    labels = None if labels is None else np.asarray(labels, np.int64).tolist()
    about = ([int(side) for side in pixels.shape], [str(name) for name in split.ids], labels)
    digest = hashlib.sha256(repr(about).encode())
    if isinstance(pixels, PictureFiles):
        digest.update(repr((pixels.root, pixels.whole, pixels.paths)).encode())
        for numbers in (pixels.offsets, pixels.lengths, *pixels.stamps()):
            digest.update(np.ascontiguousarray(numbers, np.int64).tobytes())
        return digest.hexdigest()
    for start in range(0, len(split), 256):
        digest.update(np.ascontiguousarray(pixels[start : start + 256]).tobytes())
    return digest.hexdigest()
